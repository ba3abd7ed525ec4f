import shutil

import pytest
import torch
from transformers import MistralConfig

from spacy_lgu.decoder import loading, weights
from spacy_lgu.decoder.description import Base
from spacy_lgu.decoder.settings import LoraSettings
from spacy_lgu.decoder.versions import rotary_settings

from .conftest import SECOND
from .helpers import (
    BATCH,
    build,
    build_unshaken,
    check,
    edit_json,
    edit_rotary_base,
    gradients,
    vectors,
)


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
    assert third == "Subtokens that span several tokens are split"


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


def test_identity_is_the_commit_or_the_files_content(hub_name):
    hub = build(hub_name, tuning="frozen")
    assert hub.base == Base(name="org/tiny", commit=SECOND, files=None)
    assert hub.base.identity == f"org/tiny@{SECOND}"
    one, copied, other = (
        Base(name=name, commit=None, files={"model.safetensors": {"sha256": digest}}).identity
        for name, digest in (("x", "a"), ("y", "a"), ("x", "b"))
    )
    assert one == copied != other


def test_unknown_modules_are_found_before_weights(decoder_folder):
    lora = LoraSettings(modules=("c_attn",))
    with pytest.raises(ValueError, match=r"LoRA modules \['c_attn'\] do not exist"):
        check(decoder_folder, lora=lora)


def test_missing_adapter_is_found_before_weights(decoder_folder, tmp_path):
    lora = LoraSettings(path=str(tmp_path))
    with pytest.raises(ValueError, match="There is no adapter in"):
        check(decoder_folder, lora=lora)


def test_headers_of_weights_are_read_once(copied_folder, monkeypatch):
    read = []
    for module in (weights, loading):
        original = module.read_headers

        def count(files, original=original):
            files = list(files)
            read.extend(file.name for file in files)
            return original(files)

        monkeypatch.setattr(module, "read_headers", count)
    build(copied_folder, tuning="full")
    assert read == ["model.safetensors"]


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
        built.append(build_unshaken(decoder_folder, tuning="frozen"))
    assert built[0].shared is not built[1].shared
    assert torch.equal(*map(vectors, built))


def test_bases_with_other_configs_are_others(decoder_folder, tmp_path):
    shutil.copytree(decoder_folder, tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    edit_rotary_base(config, 10.0)
    first, other = (build(folder, tuning="frozen") for folder in (decoder_folder, config.parent))
    assert rotary_settings(other.decoder.base.config)[0]["rope_theta"] == 10.0
    assert (vectors(first) - vectors(other)).abs().max() > 0.1


def test_refused_family_is_refused_before_weights(tmp_path, no_weights):
    MistralConfig().save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", index_topk=2048)
    with pytest.raises(ValueError, match="family 'mistral' cannot be unmasked: an indexer"):
        check(tmp_path)


def test_more_groups_than_layers(decoder_folder, no_weights):
    with pytest.raises(ValueError, match="Cannot divide 4 decoder layers into 5 layer groups"):
        check(decoder_folder, unmasking="ccccb")


def test_float16_cannot_train(decoder_folder, no_weights):
    with pytest.raises(ValueError, match="'float16' cannot train: gradients would underflow"):
        check(decoder_folder, dtype="float16")
    check(decoder_folder, dtype="float16", tuning="frozen")


def test_build_of_damaged_folder_leaves_no_base_behind(copied_folder):
    file = copied_folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-8])
    with pytest.raises(ValueError, match="is damaged"):
        build_unshaken(copied_folder)
    file.write_bytes(whole)
    assert vectors(build(copied_folder)).shape == (17, 64)
