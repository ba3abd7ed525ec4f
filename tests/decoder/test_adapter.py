import json
import shutil
import socket

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from spacy_lgu.decoder.adapter import (
    BaseReference,
    check_adapter,
    find_lora_modules,
    linear_modules,
    load_adapter,
    save_adapter,
)
from spacy_lgu.decoder.attention import ATTENTION
from spacy_lgu.decoder.settings import LoraSettings
from spacy_lgu.unmasking import parse_pattern

from ..conftest import make_decoder
from .helpers import BATCH, build, gradients, make_settings, vectors
from .reference import BY_NAME


@pytest.fixture(scope="module")
def trained(decoder_folder):
    return build(decoder_folder)


@pytest.fixture
def adapter_folder(trained, tmp_path):
    save_adapter(trained.decoder.adapter, tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    ("name", "attention", "linear"),
    [
        (
            "mistral",
            ["q_proj", "v_proj"],
            ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"],
        ),
        ("phi3", ["qkv_proj"], ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"]),
        (
            "gpt_neox",
            ["query_key_value"],
            ["dense", "dense_4h_to_h", "dense_h_to_4h", "query_key_value"],
        ),
    ],
)
def test_modules_by_family(name, attention, linear):
    config = BY_NAME[name].config()
    assert linear_modules(config) == linear
    assert find_lora_modules(LoraSettings(), config) == attention
    assert find_lora_modules(LoraSettings(modules="all-linear"), config) == linear
    chosen = LoraSettings(modules=(linear[0],))
    assert find_lora_modules(chosen, config) == [linear[0]]


def test_unknown_modules_are_listed_with_the_existing_ones():
    message = (
        r"LoRA modules \['qkv'\] do not exist in decoders of the family 'mistral'. Its linear "
        "modules: down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    )
    with pytest.raises(ValueError, match=message):
        find_lora_modules(LoraSettings(modules=("q_proj", "qkv")), BY_NAME["mistral"].config())


def test_new_adapter_is_float32_on_any_base_and_changes_nothing(decoder_folder):
    frozen = build(decoder_folder, dtype="bfloat16", tuning="frozen")
    adapted = build(decoder_folder, dtype="bfloat16")
    with torch.no_grad():
        for name, parameter in adapted.decoder.trainable():
            assert parameter.dtype == torch.float32
            if "lora_B" in name:
                parameter.zero_()
    torch.testing.assert_close(vectors(adapted), vectors(frozen), atol=0.1, rtol=0.1)
    assert len(adapted.decoder.trainable()) == 4 * 2 * 2


def test_folder_is_pefts_own(trained, adapter_folder):
    assert sorted(file.name for file in adapter_folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((adapter_folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == trained.source.name
    assert config["task_type"] == "FEATURE_EXTRACTION"
    assert sorted(config["target_modules"]) == ["q_proj", "v_proj"]


def test_peft_alone_loads_it(trained, adapter_folder, decoder_folder):
    base = AutoModel.from_pretrained(decoder_folder, attn_implementation=ATTENTION)
    model = peft.PeftModel.from_pretrained(base, adapter_folder).eval()
    with torch.no_grad():
        Y = model(
            input_ids=BATCH.ids,
            position_ids=BATCH.positions,
            use_cache=False,
            packed=BATCH,
            unmasked=parse_pattern("ccbb"),
        ).last_hidden_state[0]
    assert torch.equal(Y, vectors(trained))


def test_saving_needs_no_network(trained, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("The network was asked.")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    save_adapter(trained.decoder.adapter, tmp_path / "adapter")
    check_adapter(tmp_path / "adapter")


def test_training_continues_a_saved_adapter(trained, adapter_folder, decoder_folder):
    lora = LoraSettings(rank=7, dropout=0.0, path=str(adapter_folder))
    plain = build(decoder_folder, tuning="frozen")
    continued = build_unshaken(decoder_folder, lora)
    assert torch.equal(vectors(continued), vectors(trained))
    assert not torch.equal(vectors(plain), vectors(trained))
    names = [name for name, _ in continued.decoder.trainable()]
    assert names == [name for name, _ in trained.decoder.trainable()]
    assert list(continued.decoder.adapter.peft_config) == ["default"]
    assert not any(
        isinstance(getattr(module, "base_layer", None), peft.tuners.lora.LoraLayer)
        for module in continued.decoder.modules()
    )
    expected = gradients(trained.decoder)
    for name, gradient in gradients(continued.decoder).items():
        assert torch.equal(gradient, expected[name])


def build_unshaken(folder, lora):
    from spacy_lgu.decoder.building import build_decoder

    return build_decoder(make_settings(folder, lora=lora), {}, device=torch.device("cpu"))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_missing_files(adapter_folder, name):
    (adapter_folder / name).unlink()
    with pytest.raises(ValueError, match=f"There is no adapter in .*: {name} is missing"):
        check_adapter(adapter_folder)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{"])
def test_broken_config(adapter_folder, content):
    (adapter_folder / "adapter_config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"adapter_config\.json' is damaged: .*Copy the adapter"):
        check_adapter(adapter_folder)


def test_other_kind_of_adapter(adapter_folder):
    (adapter_folder / "adapter_config.json").write_text('{"peft_type": "PREFIX_TUNING"}')
    with pytest.raises(ValueError, match="of the kind 'PREFIX_TUNING': expected 'LORA'"):
        check_adapter(adapter_folder)


@pytest.mark.parametrize("n_bytes", [3, 200, -1])
def test_truncated_adapter(adapter_folder, n_bytes):
    file = adapter_folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:n_bytes])
    with pytest.raises(ValueError, match=r"The adapter .* bytes\) is damaged or incomplete"):
        check_adapter(adapter_folder)


def test_adapter_of_a_base_with_another_name(adapter_folder, other_decoder_folder):
    lora = LoraSettings(path=str(adapter_folder))
    with pytest.raises(ValueError, match=r"was trained on '.*decoder0' .*not on '.*other0'"):
        build(other_decoder_folder, lora=lora)


def test_adapter_of_another_revision(adapter_folder):
    config = adapter_folder / "adapter_config.json"
    values = {"base_model_name_or_path": "org/x", "revision": "abc"}
    config.write_text(json.dumps({**json.loads(config.read_text()), **values}))
    check_adapter(adapter_folder, base=BaseReference("org/x", "abc"))
    check_adapter(adapter_folder, base=BaseReference("org/x", None))
    with pytest.raises(ValueError, match=r"trained on 'org/x' \(revision abc\), not on .*def"):
        check_adapter(adapter_folder, base=BaseReference("org/x", "def"))


def test_a_base_is_the_same_under_another_spelling_of_its_folder(adapter_folder, decoder_folder):
    spelling = f"{decoder_folder}/../{decoder_folder.name}/"
    check_adapter(adapter_folder, base=BaseReference(spelling, None))


def load_on(folder, adapter_folder):
    module = AutoModel.from_pretrained(folder, attn_implementation=ATTENTION)
    return load_adapter(module, adapter_folder, trainable=True)


def test_adapter_of_another_shape(adapter_folder, decoder_folder):
    file = adapter_folder / "adapter_model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if "lora_A" in name)
    save_file({**weights, name: torch.zeros(2, 10)}, file)
    with pytest.raises(ValueError, match=r"(?s)does not fit this decoder: .*size mismatch"):
        load_on(decoder_folder, adapter_folder)


def test_adapter_of_a_deeper_decoder(decoder_folder, tmp_path):
    deeper = build(make_decoder(tmp_path / "deeper", n_layers=5))
    save_adapter(deeper.decoder.adapter, tmp_path / "adapter")
    with pytest.raises(ValueError, match=r"not fit this decoder: 4 weights, such as .*layers\.4"):
        load_on(decoder_folder, tmp_path / "adapter")


# PEFT's own warning of missing weights.
@pytest.mark.filterwarnings("ignore:Found missing adapter keys:UserWarning")
def test_adapter_of_a_decoder_with_lm_head(adapter_folder, decoder_folder):
    """As most adapters on the hub are named; PEFT would load nothing of it."""
    file = adapter_folder / "adapter_model.safetensors"
    weights = {
        name.replace("model.layers", "model.model.layers"): value
        for name, value in load_file(file).items()
    }
    save_file(weights, file)
    with pytest.raises(ValueError, match=r"only in one of them.* decoder without LM head"):
        load_on(decoder_folder, adapter_folder)


def test_adapter_is_copied_not_moved(adapter_folder, decoder_folder, tmp_path):
    shutil.copytree(adapter_folder, tmp_path / "copy")
    load_on(decoder_folder, tmp_path / "copy")
    assert (adapter_folder / "adapter_model.safetensors").read_bytes() == (
        tmp_path / "copy" / "adapter_model.safetensors"
    ).read_bytes()
