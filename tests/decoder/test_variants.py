"""rsLoRA and DoRA: their mathematics by hand, and that they survive all that LoRA survives."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.torch import load_file, save_file

from spacy_lgu.decoder.adapter import (
    LoraTargets,
    add_adapter,
    check_adapter,
    load_adapter,
    save_adapter,
)
from spacy_lgu.decoder.adapter_config import BaseReference
from spacy_lgu.decoder.adapter_dora import dequantize
from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.decoder.restoring import decoder_from_files
from spacy_lgu.decoder.settings import LoraSettings
from spacy_lgu.decoder.storage import decoder_to_files

from .helpers import (
    CPU,
    IDS,
    LENGTHS,
    build,
    build_unshaken,
    check,
    edit_json,
    gradients,
    restore,
    save,
    shake,
    vectors,
)

VARIANTS = ["lora", "rslora", "dora"]
QUANTIZATIONS = ["none", "nf4", "int8"]
MAGNITUDE = "base_model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"

W = [[3.0, 0.0], [4.0, 2.0]]  # (outputs, inputs)
BIAS = [10.0, 20.0]
A = [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]  # (rank, inputs)
B = [[0.0, 2.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]  # (outputs, rank)
X = [[1.0, 1.0], [2.0, -1.0]]
DY = [[1.0, 0.0], [0.0, 1.0]]


def settings(variant, **values):
    return LoraSettings(**{"rank": 2, "dropout": 0.0, "variant": variant, **values})


class Projection(torch.nn.Module):
    """A decoder of one linear module."""

    def __init__(self):
        super().__init__()
        self.proj = torch.nn.Linear(2, 2)
        self.proj.weight.data, self.proj.bias.data = torch.tensor(W), torch.tensor(BIAS)
        self.requires_grad_(False)


def by_hand(variant, *, magnitudes=None):
    """PEFT's layer with the weights above, of rank 4 and alpha 8."""
    module = Projection()
    lora = LoraSettings(rank=4, alpha=8, dropout=0.0, variant=variant)
    add_adapter(module, lora, targets=LoraTargets(["proj"]), base=BaseReference("", None))
    layer = module.proj
    layer.lora_A["default"].weight.data = torch.tensor(A)
    layer.lora_B["default"].weight.data = torch.tensor(B)
    if magnitudes is not None:
        layer.lora_magnitude_vector["default"].weight.data = torch.tensor(magnitudes)
    return layer


def run(layer):
    """Output and gradients of the input, A, B and, for DoRA, magnitudes."""
    x = torch.tensor(X, requires_grad=True)
    y = layer(x)
    y.backward(torch.tensor(DY))
    parts = {"x": x, "A": layer.lora_A["default"].weight, "B": layer.lora_B["default"].weight}
    if layer.lora_magnitude_vector:
        parts["m"] = layer.lora_magnitude_vector["default"].weight
    return y.detach().numpy(), {name: part.grad.numpy() for name, part in parts.items()}


@pytest.mark.parametrize(("variant", "scale"), [("lora", 8 / 4), ("rslora", 8 / 2)])
def test_the_scale_by_hand(variant, scale):
    y, grads = run(by_hand(variant))
    # B A = [[0, 2], [1, 0]], so that the module multiplies by
    updated = [[3.0, 2 * scale], [4.0 + scale, 2.0]]
    assert_allclose(y, numpy.array(X) @ numpy.transpose(updated) + BIAS)
    assert_allclose(grads["x"], numpy.array(DY) @ updated)
    assert_allclose(grads["A"], scale * numpy.transpose(B) @ numpy.transpose(DY) @ X)
    assert_allclose(grads["B"], scale * numpy.transpose(DY) @ X @ numpy.transpose(A))


def test_dora_by_hand():
    y, grads = run(by_hand("dora", magnitudes=[10.0, 1.0]))
    # The scale is 2: W + 2 B A = [[3, 4], [6, 2]], with the norms 5 and sqrt(40).
    updated, norms = numpy.array([[3.0, 4.0], [6.0, 2.0]]), numpy.array([5.0, 40**0.5])
    factor = numpy.array([10.0, 1.0]) / norms
    weight = factor[:, None] * updated
    assert_allclose(y, numpy.array(X) @ weight.T + BIAS, rtol=1e-6)
    assert_allclose(y[0], [2 * 7 + 10, 8 / 40**0.5 + 20], rtol=1e-6)
    # The norms have no gradient (section 4.3 of the paper).
    assert_allclose(grads["x"], numpy.array(DY) @ weight, rtol=1e-6)
    scaled = numpy.array(DY) * factor * 2
    assert_allclose(grads["A"], numpy.transpose(B) @ scaled.T @ X, rtol=1e-6)
    assert_allclose(grads["B"], scaled.T @ X @ numpy.transpose(A), rtol=1e-6)
    assert_allclose(grads["m"], [7 / 5, 10 / 40**0.5], rtol=1e-6)  # X0 . (3, 4), X1 . (6, 2)


def test_dora_of_outputs_without_weights():
    layer = by_hand("dora", magnitudes=[10.0, 1.0])
    dora = next(module for module in layer.modules() if hasattr(module, "find_factor"))
    A, B = torch.nn.Linear(3, 1, bias=False), torch.nn.Linear(1, 2, bias=False)
    B.weight.data.zero_()
    weight = torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 4.0]])
    assert dora.find_factor(weight, A, B, 1.0).tolist() == pytest.approx([1.0, 0.2])


def test_dora_with_dropout_by_hand():
    layer = by_hand("dora", magnitudes=[10.0, 1.0])
    layer.lora_dropout["default"] = torch.nn.Dropout(0.5)
    layer.train()
    torch.manual_seed(0)
    y = layer(torch.tensor(X)).detach().numpy()
    torch.manual_seed(0)
    dropped = torch.nn.functional.dropout(torch.tensor(X), 0.5).numpy()
    assert (dropped == 0).any()
    factor = numpy.array([10.0, 1.0]) / [5.0, 40**0.5]
    base = numpy.array(X) @ numpy.transpose(W) + BIAS
    added = dropped @ (factor[:, None] * [[3.0, 4.0], [6.0, 2.0]] - W).T
    assert_allclose(y, base + added, rtol=1e-6)


@pytest.mark.parametrize("variant", ["rslora", "dora"])
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_a_decoder_with_the_update_in_its_weights(decoder_folder, variant, quantization):
    lora = settings(variant, alpha=4, modules="all-linear")
    adapted = build(decoder_folder, lora=lora, quantization=quantization)
    merged = build(decoder_folder, tuning="frozen")
    linear = dict(merged.decoder.base.named_modules())
    for name, layer in adapted.decoder.base.named_modules():
        if not hasattr(layer, "lora_A"):
            continue
        A, B = (getattr(layer, f"lora_{x}")["default"].weight.detach() for x in "AB")
        scale = 4 / 2**0.5 if variant == "rslora" else 4 / 2
        weight = dequantize(layer.base_layer) + scale * B @ A
        if variant == "dora":
            magnitudes = layer.lora_magnitude_vector["default"].weight.detach()
            weight *= (magnitudes / weight.norm(dim=1))[:, None]
        linear[name].weight = torch.nn.Parameter(weight, requires_grad=False)
    # int8 rounds inputs as well.
    tolerance = 0.05 if quantization == "int8" else 1e-4
    scale = vectors(merged).abs().max()
    torch.testing.assert_close(
        vectors(adapted) / scale, vectors(merged) / scale, atol=tolerance, rtol=0
    )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_new_adapter_changes_nothing(decoder_folder, variant, quantization, dtype):
    values = {"quantization": quantization, "dtype": dtype}
    frozen = build(decoder_folder, tuning="frozen", **values)
    adapted = build_unshaken(decoder_folder, lora=settings(variant), **values)
    assert torch.equal(vectors(adapted), vectors(frozen))
    assert {p.dtype for _, p in adapted.decoder.trainable()} == {torch.float32}
    n_weights = sum(p.numel() for _, p in adapted.decoder.trainable())
    # Four layers of q (64 to 64) and v (64 to 32), and a magnitude for each output.
    assert n_weights == 4 * 2 * (64 + 64 + 64 + 32) + (4 * 96 if variant == "dora" else 0)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_saved_and_loaded(decoder_folder, tmp_path, variant, quantization):
    lora = settings(variant)
    built = build(decoder_folder, lora=lora, quantization=quantization)
    save(built, tmp_path / "saved", "bundle")
    restored = restore(tmp_path / "saved", built)
    assert torch.equal(vectors(restored), vectors(built))
    check_adapter(tmp_path / "saved" / "adapter")
    files = decoder_to_files(built, base_weights="bundle")
    from_files = decoder_from_files(files, built.settings, device=CPU)
    assert torch.equal(vectors(from_files), vectors(built))
    # Training goes on as it would have.
    expected = gradients(built.decoder)
    for name, gradient in gradients(restored.decoder).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_dora_shares_its_base(decoder_folder, quantization):
    frozen = build(decoder_folder, tuning="frozen", quantization=quantization)
    expected = vectors(frozen)
    built = [
        build_unshaken(decoder_folder, lora=settings(variant), quantization=quantization)
        for variant in ("dora", "dora", "lora")
    ]
    for i, one in enumerate(built):
        shake(one.decoder, seed=i)
        gradients(one.decoder)
    built.append(copy.copy(built[0]))
    built[3].decoder = copy.deepcopy(built[0].decoder)
    assert torch.equal(vectors(built[3]), vectors(built[0]))
    shake(built[3].decoder, seed=3)
    found = [vectors(one) for one in built]
    assert all(not torch.equal(a, b) for i, a in enumerate(found) for b in found[:i])
    weights = [find_base_weight(one) for one in [*built, frozen]]
    assert all(weight is weights[-1] for weight in weights)
    magnitudes = [
        layer(one).lora_magnitude_vector["default"].weight for one in (*built[:2], built[3])
    ]
    assert len({weight.data_ptr() for weight in magnitudes}) == 3
    assert torch.equal(vectors(frozen), expected)


def layer(built):
    return built.decoder.base.layers[1].self_attn.q_proj


def find_base_weight(built):
    return getattr(layer(built), "base_layer", layer(built)).weight


# In int8, vectors depend slightly on the neighbours.
@pytest.mark.parametrize("variant", ["rslora", "dora"])
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_packed_as_one_by_one_and_gradients_with_checkpointing(
    decoder_folder, variant, quantization
):
    values = {"lora": settings(variant, modules="all-linear"), "quantization": quantization}
    built = build(decoder_folder, **values)
    packed = vectors(built)
    alone = [
        built.decoder(PackedBatch.pack(IDS[start : start + n], [n], device=CPU))
        for start, n in zip((0, 5, 6, 14), LENGTHS, strict=True)
    ]
    scale = packed.abs().max()
    torch.testing.assert_close(packed / scale, torch.cat(alone).detach() / scale, atol=1e-5, rtol=0)
    expected = gradients(built.decoder)
    recomputed = gradients(build(decoder_folder, gradient_checkpointing=True, **values).decoder)
    for name, gradient in expected.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-4, atol=1e-5)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dora_learns_with_dropout(decoder_folder, quantization, dtype):
    lora = settings("dora", dropout=0.3)
    built = build(decoder_folder, lora=lora, quantization=quantization, dtype=dtype)
    before = vectors(built)
    found = gradients(built.decoder)
    assert all(g.isfinite().all() and g.abs().max() > 0 for g in found.values())
    assert torch.equal(vectors(built), before)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_threads_that_make_the_first_calls(decoder_folder, quantization):
    built = build_unshaken(
        decoder_folder, lora=settings("dora"), quantization=quantization, self_test=False
    )
    shake(built.decoder)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: vectors(built), range(12)))
    assert all(torch.equal(one, found[0]) for one in found)


@pytest.mark.parametrize(
    ("saved", "wanted", "message"),
    [
        ("lora", "dora", r"is of the variant lora, .* variant = 'dora'. Set variant = 'lora' to"),
        ("rslora", "dora", r"is of the variant rslora, .* Set variant = 'rslora' to use this"),
        ("dora", "rslora", r"is of the variant dora, .* or train a new one \(path = null\)"),
    ],
)
def test_another_variant_than_the_saved_one(decoder_folder, tmp_path, saved, wanted, message):
    built = build(decoder_folder, lora=settings(saved))
    save_adapter(built.decoder.adapter, tmp_path / "adapter")
    with pytest.raises(ValueError, match=message):
        check(decoder_folder, lora=settings(wanted, path=str(tmp_path / "adapter")))
    save(built, tmp_path / "saved")
    with pytest.raises(ValueError, match=message):
        restore(tmp_path / "saved", built, lora=settings(wanted))


@pytest.mark.parametrize("variant", ["rslora", "dora"])
def test_an_adapter_keeps_its_variant(decoder_folder, tmp_path, caplog, variant):
    built = build(decoder_folder, lora=settings(variant))
    save_adapter(built.decoder.adapter, tmp_path)
    continued = build_unshaken(decoder_folder, lora=settings(variant, path=str(tmp_path)))
    assert caplog.text == ""
    assert torch.equal(vectors(continued), vectors(built))
    # The default, as in configs from before there was the setting.
    unnamed = build_unshaken(decoder_folder, lora=settings("lora", path=str(tmp_path)))
    assert f"keeps its own {variant} = True; the config's [lora] says {variant} = Fa" in caplog.text
    assert torch.equal(vectors(unnamed), vectors(built))


@pytest.mark.parametrize(
    ("values", "weights", "message"),
    [
        ({}, {MAGNITUDE: None}, rf"lacks '{MAGNITUDE}', but holds other weights of this module"),
        ({}, {MAGNITUDE: torch.ones(3)}, r"has the shape \[3\]: expected \[64\], a magnitude"),
        (
            {},
            {MAGNITUDE: torch.ones(64, dtype=torch.int8)},
            r"The LoRA weights of 'layers\.0\.self_attn\.q_proj' in .* are I8",
        ),
        ({"use_dora": False}, {}, r"holds '.*magnitude_vector': expected nothing but LoRA weights"),
        (
            {"use_rslora": True},
            {MAGNITUDE + ".default": torch.ones(64)},
            r"holds '.*default': .* and 'base_model.model.MODULE.lora_magnitude_vector'",
        ),
    ],
)
def test_incomplete_magnitudes(decoder_folder, tmp_path, values, weights, message):
    save_adapter(build(decoder_folder, lora=settings("dora")).decoder.adapter, tmp_path)
    edit_json(tmp_path / "adapter_config.json", **values)
    file = tmp_path / "adapter_model.safetensors"
    changed = {**load_file(file), **weights}
    save_file({n: w for n, w in changed.items() if w is not None}, file)
    with pytest.raises(ValueError, match=message):
        check_adapter(tmp_path)


def test_magnitudes_that_are_not_finite(decoder_folder, tmp_path):
    built = build(decoder_folder, lora=settings("dora"))
    save_adapter(built.decoder.adapter, tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    save_file({**load_file(file), MAGNITUDE: torch.full((64,), torch.nan)}, file)
    frozen = build(decoder_folder, tuning="frozen")
    with pytest.raises(ValueError, match=f"'{MAGNITUDE}' in .* is not finite"):
        load_adapter(frozen.shared.fork(), tmp_path, trainable=False)
