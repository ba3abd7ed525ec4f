import json
import shutil
from dataclasses import replace

import pytest
import torch

from spacy_lgu.decoder import loading
from spacy_lgu.decoder.adapter import save_adapter
from spacy_lgu.decoder.building import base_identity, build_decoder, check_settings
from spacy_lgu.decoder.loading import Source
from spacy_lgu.decoder.settings import LoraSettings

from .conftest import SECOND
from .helpers import BATCH, CPU, build, gradients, make_settings, vectors


def test_decoder_is_described(decoder_folder):
    built = build(decoder_folder)
    # 4 layers; q: 64 x 2 + 2 x 64, v: 64 x 2 + 2 x 32.
    trained = 4 * (256 + 192)
    total = sum(p.numel() for p in built.decoder.parameters())
    first, second, third = built.describe()
    assert first == (
        f"Decoder {decoder_folder} (none, float32, lora): ccbb = layers 0-1 causal, layers 2-3 "
        "bidirectional"
    )
    assert second == (
        f"{trained:,} of {total:,} parameters are trained ({trained / total:.2%}); weights take "
        f"{(total * 4 + 32) / 2**20:,.1f} MiB on cpu"
    )
    assert third == "Subtokens over several tokens are split"


def test_quantized_weights_count_as_what_they_stand_for(decoder_folder):
    plain, nf4, int8 = (
        build(decoder_folder, tuning="frozen", quantization=q).describe()[1]
        for q in ("none", "nf4", "int8")
    )
    counts = {line.split(" parameters")[0] for line in (plain, nf4, int8)}
    assert len(counts) == 1


@pytest.mark.parametrize(("tuning", "trained"), [("frozen", 0), ("lora", 16), ("full", 38)])
def test_what_is_trained(decoder_folder, tuning, trained):
    built = build(decoder_folder, tuning=tuning)
    assert len(built.decoder.trainable()) == trained
    assert not built.decoder.training
    assert (built.shared is None) == (tuning == "full")


def test_identity_is_the_commit_or_the_files_content(hub_name, decoder_folder):
    hub = build(hub_name, tuning="frozen")
    assert hub.files is None
    assert base_identity(hub.source, hub.files) == f"org/tiny@{SECOND}"
    local, other = {"model.safetensors": {"sha256": "a"}}, {"model.safetensors": {"sha256": "b"}}
    source = Source("x", decoder_folder, None)
    assert base_identity(source, local) == base_identity(source, dict(local))
    assert base_identity(source, local) != base_identity(source, other)


def test_unknown_modules_are_found_before_weights(decoder_folder):
    lora = LoraSettings(modules=("c_attn",))
    with pytest.raises(ValueError, match=r"LoRA modules \['c_attn'\] do not exist"):
        check_settings(make_settings(decoder_folder, lora=lora), {})


def test_missing_adapter_is_found_before_weights(decoder_folder, tmp_path):
    lora = LoraSettings(path=str(tmp_path))
    with pytest.raises(ValueError, match="There is no adapter in"):
        check_settings(make_settings(decoder_folder, lora=lora), {})


def test_gradient_checkpointing_is_set(decoder_folder):
    built = build(decoder_folder, gradient_checkpointing=True)
    assert built.decoder.base.is_gradient_checkpointing
    expected = gradients(build(decoder_folder).decoder)
    for name, gradient in gradients(built.decoder).items():
        torch.testing.assert_close(gradient, expected[name])


def test_pattern_decides_what_is_seen(decoder_folder):
    causal, opened = (build(decoder_folder, unmasking=p, tuning="frozen") for p in ("c", "b"))
    firsts = BATCH.cu_seqlens[:-1].long()
    # A causal decoder's first position knows nothing of the rest; that of length 1 has none.
    same = (vectors(causal) - vectors(opened))[firsts].abs().amax(1) < 1e-6
    assert same.tolist() == [False, True, False, False]


def test_build_is_repeatable(decoder_folder):
    built = []
    for _ in range(2):
        loading._shared_bases.clear()
        settings = make_settings(decoder_folder, tuning="frozen")
        built.append(build_decoder(settings, {}, device=CPU))
    assert built[0].shared is not built[1].shared
    assert torch.equal(*map(vectors, built))


def test_bases_with_other_configs_are_others(decoder_folder, tmp_path):
    shutil.copytree(decoder_folder, tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "rope_theta": 10.0}))
    first, other = (build(folder, tuning="frozen") for folder in (decoder_folder, config.parent))
    assert other.decoder.base.config.rope_theta == 10.0
    assert (vectors(first) - vectors(other)).abs().max() > 0.1


def test_an_adapter_keeps_its_settings(decoder_folder, tmp_path, caplog):
    save_adapter(build(decoder_folder).decoder.adapter, tmp_path)
    same = LoraSettings(rank=2, dropout=0.0, path=str(tmp_path))
    check_settings(make_settings(decoder_folder, lora=same), {})
    assert caplog.text == ""
    other = LoraSettings(rank=4, dropout=0.3, modules=("k_proj",), path=str(tmp_path))
    check_settings(make_settings(decoder_folder, lora=other), {})
    assert (
        "keeps its own rank = 2, dropout = 0.0, modules = ['q_proj', 'v_proj']; the config's "
        "[lora] says rank = 4, dropout = 0.3, modules = ['k_proj']."
    ) in caplog.text


def test_an_adapter_keeps_what_the_config_has_no_settings_for(decoder_folder, tmp_path, caplog):
    save_adapter(build(decoder_folder).decoder.adapter, tmp_path)
    file = tmp_path / "adapter_config.json"
    special = {"use_rslora": True, "alpha_pattern": {"q_proj": 2}}
    file.write_text(json.dumps({**json.loads(file.read_text()), **special}))
    lora = LoraSettings(rank=2, dropout=0.0, path=str(tmp_path))
    check_settings(make_settings(decoder_folder, lora=lora), {})
    assert "keeps its own alphas = {'q_proj': 2}, rslora = True; the config's" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('["ccbb"]', "expected a JSON object"),
        ('{"unmasking": 1100}', "expected a string or null in 'unmasking', but found 1100"),
    ],
)
def test_an_adapter_with_a_damaged_record_of_its_training(
    decoder_folder, tmp_path, content, message
):
    save_adapter(build(decoder_folder).decoder.adapter, tmp_path)
    (tmp_path / "training.json").write_text(content)
    with pytest.raises(ValueError, match=rf"training\.json' is damaged: {message}"):
        check_settings(make_settings(decoder_folder, lora=LoraSettings(path=str(tmp_path))), {})


def test_an_adapter_of_all_linear_modules(decoder_folder, tmp_path, caplog):
    every = LoraSettings(rank=2, dropout=0.0, modules="all-linear")
    save_adapter(build(decoder_folder, lora=every).decoder.adapter, tmp_path)
    file = tmp_path / "adapter_config.json"
    every = replace(every, path=str(tmp_path))
    check_settings(make_settings(decoder_folder, lora=every), {})
    # As PEFT takes it; it writes the names.
    file.write_text(json.dumps({**json.loads(file.read_text()), "target_modules": "all-linear"}))
    check_settings(make_settings(decoder_folder, lora=every), {})
    assert caplog.text == ""


def test_an_adapter_of_a_copy_of_the_decoder(decoder_folder, tmp_path):
    shutil.copytree(decoder_folder, tmp_path / "copy")
    save_adapter(build(decoder_folder).decoder.adapter, tmp_path / "adapter")
    lora = LoraSettings(rank=2, dropout=0.0, path=str(tmp_path / "adapter"))
    check_settings(make_settings(tmp_path / "copy", lora=lora), {})


def test_an_adapter_whose_decoder_is_elsewhere(decoder_folder, tmp_path, caplog):
    save_adapter(build(decoder_folder).decoder.adapter, tmp_path)
    config = tmp_path / "adapter_config.json"
    moved = {"base_model_name_or_path": "/another/machine/decoder"}
    config.write_text(json.dumps({**json.loads(config.read_text()), **moved}))
    lora = LoraSettings(rank=2, dropout=0.0, path=str(tmp_path))
    check_settings(make_settings(decoder_folder, lora=lora), {})
    assert "was trained on the decoder in '/another/machine/decoder', which is not" in caplog.text


@pytest.mark.parametrize(("adapted", "warns"), [("ccbb", False), ("cbbb", True), (None, False)])
def test_an_adapter_of_another_pattern(decoder_folder, tmp_path, caplog, adapted, warns):
    save_adapter(build(decoder_folder).decoder.adapter, tmp_path)
    if adapted is not None:
        (tmp_path / "training.json").write_text(json.dumps({"unmasking": adapted}))
    check_settings(make_settings(decoder_folder, lora=LoraSettings(path=str(tmp_path))), {})
    assert ("adapted under the pattern cbbb, but will be" in caplog.text) == warns
