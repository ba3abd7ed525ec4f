"""LoRA in half precision at inference: what it changes, and what it leaves alone."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from peft.tuners.lora import LoraLayer

from spacy_lgu.decoder.adapter_half import HalfLora
from spacy_lgu.decoder.settings import LoraSettings

from .helpers import BATCH, build, gradients, vectors

ALL = LoraSettings(rank=2, dropout=0.0, modules="all-linear")
DORA = LoraSettings(rank=2, dropout=0.0, variant="dora")


@pytest.fixture
def as_peft(monkeypatch):
    """RETURNS (Callable): build, with PEFT's own layers."""

    def build_otherwise(*args, **options):
        with monkeypatch.context() as patch:
            patch.setattr("spacy_lgu.decoder.adapter_half.use_half_lora", lambda module: None)
            built = build(*args, **options)
        assert not any(isinstance(m, HalfLora) for m in built.decoder.modules())
        return built

    return build_otherwise


def distance(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("lora", [ALL, DORA], ids=["lora", "dora"])
@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_float32_is_what_peft_computes(decoder_folder, as_peft, quantization, lora):
    options = {"quantization": quantization, "lora": lora}
    expected = as_peft(decoder_folder, **options)
    assert torch.equal(vectors(build(decoder_folder, **options)), vectors(expected))


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_half_precision_is_as_near_to_float32_as_pefts(decoder_folder, as_peft, quantization):
    options = {"quantization": quantization, "lora": ALL}
    exact = vectors(build(decoder_folder, **options))
    built = build(decoder_folder, dtype="bfloat16", **options)
    peft = vectors(as_peft(decoder_folder, dtype="bfloat16", **options))
    assert sum(isinstance(m, HalfLora) for m in built.decoder.modules()) == 4 * 7
    found = vectors(built)
    assert not torch.equal(found, peft)
    # Updates are as large as the weights here: bfloat16 alone moves vectors by 0.02 to 0.07.
    assert distance(found, peft) < 0.04
    assert distance(found, exact) < 1.2 * distance(peft, exact)


def test_products_are_of_half_precision(decoder_folder):
    seen = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if getattr(function, "__name__", "") in ("linear", "addmm_"):
                seen.append({a.dtype for a in args if isinstance(a, torch.Tensor)})
            return function(*args, **(kwargs or {}))

    built = build(decoder_folder, dtype="bfloat16", lora=ALL)
    with torch.no_grad(), Watch():
        built.decoder(BATCH)
    assert len(seen) == 4 * 7 * 3  # the base, A and B
    assert all(dtypes == {torch.bfloat16} for dtypes in seen)


@pytest.mark.usefixtures("torchs_products")
def test_training_is_pefts(decoder_folder, as_peft):
    options = {"dtype": "bfloat16", "lora": ALL}
    built, expected = build(decoder_folder, **options), as_peft(decoder_folder, **options)
    for decoder in (built.decoder, expected.decoder):
        decoder.train()
    assert torch.equal(built.decoder(BATCH), expected.decoder(BATCH))
    found, wanted = gradients(built.decoder), gradients(expected.decoder)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in found)
    assert all(p.dtype == torch.float32 for _, p in built.decoder.trainable())


def test_dora_and_disabled_adapters_are_pefts(decoder_folder, as_peft):
    options = {"dtype": "bfloat16", "lora": DORA}
    expected = vectors(as_peft(decoder_folder, **options))
    assert torch.equal(vectors(build(decoder_folder, **options)), expected)
    built = build(decoder_folder, dtype="bfloat16", lora=ALL)
    with built.decoder.adapter.disable_adapter():
        without = vectors(built)
    frozen = build(decoder_folder, dtype="bfloat16", tuning="frozen")
    assert torch.equal(without, vectors(frozen))


def test_copies_and_threads(decoder_folder):
    built = build(decoder_folder, dtype="bfloat16", lora=ALL)
    expected = vectors(built)
    copied = copy.deepcopy(built.decoder)
    assert type(built.decoder.base.layers[0].mlp.up_proj) is type(copied.base.layers[0].mlp.up_proj)
    with torch.no_grad():
        assert torch.equal(copied(BATCH), expected)
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(Y, expected) for Y in pool.map(lambda _: vectors(built), range(12)))


def test_what_is_saved_is_pefts(decoder_folder, as_peft, tmp_path):
    for name, make in (("ours", build), ("peft", as_peft)):
        built = make(decoder_folder, dtype="bfloat16", lora=ALL)
        vectors(built)
        built.decoder.adapter.save_pretrained(tmp_path / name, save_embedding_layers=False)
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        ours, peft = ((tmp_path / name / file).read_bytes() for name in ("ours", "peft"))
        assert ours == peft


def test_layers_are_still_found_as_pefts(decoder_folder):
    built = build(decoder_folder, dtype="bfloat16", quantization="nf4", lora=ALL)
    layers = [m for m in built.decoder.modules() if isinstance(m, LoraLayer)]
    assert {type(layer).__name__ for layer in layers} == {"Linear4bit"}
