"""Steps of the decoder's own optimizer, with literal numbers."""

import pytest
import torch
from numpy.testing import assert_allclose

from spacy_lgu.decoder.settings import AdamWSettings
from spacy_lgu.decoder.stepping import DecoderAdamW, check_device

CUDA = torch.device("cuda", 0)


def make_weights():
    matrix = torch.nn.Parameter(torch.tensor([[1.0, -2.0]]))
    bias = torch.nn.Parameter(torch.tensor([10.0]))
    matrix.grad, bias.grad = torch.tensor([[3.0, 0.0]]), torch.tensor([4.0])
    return matrix, bias


def named(*weights):
    return [(f"weight{i}", weight) for i, weight in enumerate(weights)]


def test_the_gradient_is_clipped_by_the_norm_of_all_weights():
    matrix, bias = make_weights()  # norm 5
    adamw = DecoderAdamW(AdamWSettings(weight_decay=0, eps=1.0, grad_clip=1.0), named(matrix, bias))
    adamw.step(1.0)
    # The first step of Adam is g / (|g| + eps), here with g = 0.6 and 0.8.
    assert_allclose(matrix.detach(), [[1 - 0.6 / 1.6, -2.0]], rtol=1e-6)
    assert_allclose(bias.detach(), [10 - 0.8 / 1.8], rtol=1e-6)
    assert matrix.grad is None
    assert bias.grad is None


@pytest.mark.parametrize("grad_clip", [0.0, 100.0])
def test_without_clipping(grad_clip):
    matrix, bias = make_weights()
    settings = AdamWSettings(weight_decay=0, eps=1.0, grad_clip=grad_clip)
    DecoderAdamW(settings, named(matrix, bias)).step(1.0)
    assert_allclose(matrix.detach(), [[1 - 3 / 4, -2.0]], rtol=1e-6)
    assert_allclose(bias.detach(), [10 - 4 / 5], rtol=1e-6)


def test_matrices_are_decayed_and_biases_are_not():
    matrix, bias = make_weights()
    matrix.grad, bias.grad = torch.zeros(1, 2), torch.zeros(1)
    settings = AdamWSettings(weight_decay=0.5, learn_rate_factor=2.0)
    DecoderAdamW(settings, named(matrix, bias)).step(0.1)
    assert_allclose(matrix.detach(), [[0.9, -1.8]], rtol=1e-6)  # less 0.1 * 2.0 * 0.5 of it
    assert_allclose(bias.detach(), [10.0])


def test_lora_plus_multiplies_the_rate_of_b():
    a, b, magnitude = (torch.nn.Parameter(torch.tensor(v)) for v in ([[1.0]], [[1.0]], [1.0]))
    for weight in (a, b, magnitude):
        weight.grad = torch.full_like(weight, 1.0)
    settings = AdamWSettings(
        lora_plus_ratio=4, learn_rate_factor=0.5, weight_decay=0.5, eps=1.0, grad_clip=0
    )
    layer = "layers.0.self_attn.q_proj"
    weights = {"lora_A": a, "lora_B": b, "lora_magnitude_vector": magnitude}
    named = [(f"{layer}.{name}.default.weight", weight) for name, weight in weights.items()]
    DecoderAdamW(settings, named).step(0.2)
    # The rate is 0.2 * 0.5 = 0.1, that of B 0.4; the step is 1 / (1 + eps), the decay 0.5 * rate.
    assert_allclose(a.detach(), [[1 - 0.1 * 0.5 - 0.1 / 2]], rtol=1e-6)
    assert_allclose(b.detach(), [[1 - 0.4 * 0.5 - 0.4 / 2]], rtol=1e-6)
    assert_allclose(magnitude.detach(), [1 - 0.1 / 2], rtol=1e-6)


def test_weights_without_gradient_stay():
    matrix, bias = make_weights()
    bias.grad = None
    DecoderAdamW(AdamWSettings(weight_decay=0.5), named(matrix, bias)).step(0.1)
    assert bias.item() == 10.0
    only_biases = DecoderAdamW(AdamWSettings(), named(bias))
    bias.grad = torch.ones(1)
    only_biases.step(0.1)
    assert bias.item() == pytest.approx(9.9, abs=1e-4)


@pytest.mark.parametrize("grad_clip", [0.0, 1.0])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite(value, grad_clip):
    matrix, bias = make_weights()
    bias.grad = torch.tensor([value])
    adamw = DecoderAdamW(AdamWSettings(grad_clip=grad_clip), named(matrix, bias))
    with pytest.raises(ValueError, match=rf"norm .* is {value}: .* diverged. Use a lower learning"):
        adamw.step(0.1)
    assert (matrix.tolist(), bias.tolist()) == ([[1.0, -2.0]], [10.0])
    assert (matrix.grad, bias.grad) == (None, None)


def test_8_bits_need_cuda():
    settings = AdamWSettings(paged_8bit=True)
    message = r"paged_8bit = true needs a CUDA GPU, but the decoder is on cpu. Train on one .*--gpu"
    with pytest.raises(ValueError, match=message):
        check_device(settings, torch.device("cpu"))
    check_device(settings, CUDA)
    check_device(AdamWSettings(), torch.device("cpu"))
    check_device(None, torch.device("cpu"))


def test_8_bits_are_those_of_bitsandbytes(monkeypatch):
    made = []

    def adamw(groups, **options):
        made.append(([len(group["params"]) for group in groups], options))
        return torch.optim.AdamW(groups, **options)

    monkeypatch.setattr("bitsandbytes.optim.PagedAdamW8bit", adamw)
    matrix, bias = make_weights()
    DecoderAdamW(AdamWSettings(paged_8bit=True), named(matrix, bias)).step(0.1)
    assert made == [([1, 1], {"lr": 0.0, "betas": (0.9, 0.95), "eps": 1e-5})]
    assert bias.item() == pytest.approx(9.9, abs=1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learn_rate_factor": 0}, "learn_rate_factor must be positive, but is 0"),
        ({"eps": -1}, "eps must be positive, but is -1"),
        ({"beta1": 1.0}, r"beta1 must lie in \[0, 1\), but is 1.0"),
        ({"beta2": -0.1}, r"beta2 must lie in \[0, 1\), but is -0.1"),
        ({"weight_decay": -0.1}, r"weight_decay must not be negative, but is -0.1. Use 0 for none"),
        ({"lora_plus_ratio": 0.5}, "lora_plus_ratio must be at least 1, but is 0.5. Use 1 for one"),
        ({"grad_clip": -1}, r"grad_clip must not be negative, but is -1. Use 0 for none"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(ValueError, match=message):
        AdamWSettings(**values)
