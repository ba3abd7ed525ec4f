import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from spacy_lgu.decoder.adapter import check_adapter, save_adapter

from ..conftest import make_decoder
from .helpers import build, edit_json, load_on

A = "base_model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize("n_bytes", [3, 200, -1])
def test_truncated_adapter(adapter_folder, n_bytes):
    file = adapter_folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:n_bytes])
    with pytest.raises(ValueError, match=r"The adapter .* bytes\) is damaged or incomplete"):
        check_adapter(adapter_folder)


@pytest.mark.parametrize(
    ("name", "weight", "message"),
    [
        (A, None, rf"lacks '{A}', but holds other weights of this module"),
        (A, torch.zeros(3, 64), r"have the shapes \[3, 64\] and \[64, 2\]: expected \[2, input"),
        (A, torch.zeros(128), r"have the shapes \[128\] and \[64, 2\]"),
        (A, torch.zeros(2, 64, dtype=torch.int8), r"q_proj' in .* are I8: expected one of F32"),
        ("base_model.model.embed_tokens.weight", torch.zeros(4), "holds '.*embed_tokens.weight'"),
        (A.replace("weight", "default.weight"), torch.zeros(2, 64), "holds '.*default.weight'"),
    ],
)
def test_unfit_weights_are_found_without_the_decoder(adapter_folder, name, weight, message):
    file = adapter_folder / "adapter_model.safetensors"
    weights = {**load_file(file), name: weight}
    save_file({n: w for n, w in weights.items() if w is not None}, file)
    with pytest.raises(ValueError, match=message):
        check_adapter(adapter_folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"target_modules": ["q_proj"]},
            r"4 of its modules, such as 'layers\.0\.self_attn\.v_proj'",
        ),
        ({"target_modules": "all-linear"}, r"lacks the weights of 20 modules, such as .*\.lora_A"),
        ({"layers_to_transform": [0, 1]}, r"4 of its modules, such as 'layers\.2\.self_attn"),
    ],
)
def test_a_config_of_other_modules_than_the_weights(
    adapter_folder, decoder_folder, values, message
):
    edit_json(adapter_folder / "adapter_config.json", **values)
    config = AutoConfig.from_pretrained(decoder_folder)
    with pytest.raises(ValueError, match=f"does not fit this decoder: .*{message}"):
        check_adapter(adapter_folder, decoder=config)
    with pytest.raises(ValueError, match=f"does not fit this decoder: .*{message}"):
        load_on(decoder_folder, adapter_folder)


def test_an_adapter_of_nothing(adapter_folder, decoder_folder):
    edit_json(adapter_folder / "adapter_config.json", target_modules=["qkv_proj"])
    save_file({}, adapter_folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="it has no weights, and names none of its linear modules"):
        load_on(decoder_folder, adapter_folder)


def test_adapter_of_another_shape(adapter_folder, decoder_folder):
    file = adapter_folder / "adapter_model.safetensors"
    save_file({**load_file(file), A: torch.zeros(2, 10)}, file)
    with pytest.raises(
        ValueError, match=r"its weights of 'layers\.0.*' are for 10 input .* module has 64 and 64"
    ):
        load_on(decoder_folder, adapter_folder)


def test_adapter_of_a_deeper_decoder(decoder_folder, tmp_path):
    deeper = build(make_decoder(tmp_path / "deeper", n_layers=5))
    save_adapter(deeper.decoder.adapter, tmp_path / "adapter")
    with pytest.raises(
        ValueError, match=r"not fit this decoder: 2 of its modules, such .*layers\.4"
    ):
        load_on(decoder_folder, tmp_path / "adapter")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_adapter_of_a_training_that_diverged(adapter_folder, decoder_folder, value):
    file = adapter_folder / "adapter_model.safetensors"
    save_file({**load_file(file), A: torch.full((2, 64), value)}, file)
    with pytest.raises(ValueError, match=f"'{A}' in .* is not finite"):
        load_on(decoder_folder, adapter_folder)


def test_pickled_weights_are_not_read(adapter_folder):
    file = adapter_folder / "adapter_model.safetensors"
    torch.save(load_file(file), adapter_folder / "adapter_model.bin")
    file.unlink()
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors is missing"):
        check_adapter(adapter_folder)
