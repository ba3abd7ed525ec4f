"""Products by oneDNN."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import linear

from spacy_lgu.decoder import products
from spacy_lgu.decoder.adapter_half import AddingLinear, AddingOneDNNLinear
from spacy_lgu.decoder.products import OneDNNLinear, is_mkl_slow, use_onednn

from .helpers import build, gradients, vectors

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN"
)


@needs_onednn
@pytest.mark.parametrize("shape", [(4,), (1, 4), (3, 4), (2, 3, 4), (1, 2, 3, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_products_and_gradients_are_those_of_torch(shape, bias):
    torch.manual_seed(0)
    module = OneDNNLinear(4, 5, bias=bias)
    parameters = [p for p in (module.weight, module.bias) if p is not None]
    X, dY = torch.randn(shape, requires_grad=True), torch.randn(*shape[:-1], 5)
    Y, expected = module(X), linear(X, *parameters)
    torch.testing.assert_close(Y, expected)
    found, wanted = (torch.autograd.grad(out, [X, *parameters], dY) for out in (Y, expected))
    torch.testing.assert_close(found, wanted)
    with torch.no_grad():
        assert torch.equal(module(X), Y)


def strided(n_rows, width, way):
    """A matrix of random numbers that lies in memory in some way."""
    return {
        "plain": lambda: torch.randn(n_rows, width),
        "columns": lambda: torch.randn(width, n_rows).t(),
        "steps": lambda: torch.randn(n_rows, 2 * width)[:, ::2],
        "one row": lambda: torch.randn(1, width).expand(n_rows, width),
        "one number": lambda: torch.randn(()).expand(n_rows, width),
    }[way]()


WAYS = st.sampled_from(["plain", "columns", "steps", "one row", "one number"])


@needs_onednn
@settings(max_examples=60, deadline=None)
@given(st.tuples(*3 * [st.integers(1, 9)]), st.tuples(WAYS, WAYS, WAYS))
def test_strides_and_sizes(sizes, ways):
    n_rows, n_inputs, n_outputs = sizes
    X = strided(n_rows, n_inputs, ways[0]).requires_grad_()
    module = OneDNNLinear(n_inputs, n_outputs)
    module.weight = torch.nn.Parameter(strided(n_outputs, n_inputs, ways[1]))
    dY = strided(n_rows, n_outputs, ways[2])
    Y, expected = module(X), linear(X, module.weight, module.bias)
    torch.testing.assert_close(Y, expected)
    inputs = [X, *module.parameters()]
    found, wanted = (torch.autograd.grad(out, inputs, dY) for out in (Y, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@needs_onednn
def test_gradients_of_gradients_are_refused():
    X = torch.ones(2, 4, requires_grad=True)
    (dX,) = torch.autograd.grad(OneDNNLinear(4, 5)(X).square().sum(), X, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dX.sum().backward()


@needs_onednn
def test_without_memory_for_its_code_torchs_product_is_taken(monkeypatch):
    def fail(*args):
        raise RuntimeError(message)

    module, X = OneDNNLinear(4, 5), torch.randn(3, 4, requires_grad=True)
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", fail)
    message = "could not create a primitive"
    Y, expected = module(X), linear(X, module.weight, module.bias)
    assert torch.equal(Y, expected)
    torch.testing.assert_close(*(torch.autograd.grad(out.sum(), X) for out in (Y, expected)))
    message = "another fault"
    with pytest.raises(RuntimeError, match="another fault"):
        module(X)


@needs_onednn
def test_frozen_weights_get_no_gradient():
    module, X = OneDNNLinear(4, 5).requires_grad_(False), torch.ones(2, 4, requires_grad=True)
    module(X).sum().backward()
    torch.testing.assert_close(X.grad, module.weight.sum(0).expand(2, 4))
    assert module.weight.grad is module.bias.grad is None


def test_no_rows_other_dtypes_and_autocast_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(products.Product, "apply", None)
    module = OneDNNLinear(4, 5)
    assert module(torch.empty(0, 4)).shape == (0, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(torch.ones(1, 4)).dtype == torch.bfloat16
    assert module.bfloat16()(torch.ones(1, 4).bfloat16()).shape == (1, 5)


@needs_onednn
@pytest.mark.parametrize("tuning", ["frozen", "lora", "full"])
def test_a_decoder_computes_with_onednn(decoder_folder, on_amd, monkeypatch, tuning):
    built = build(decoder_folder, tuning=tuning)
    linears = [m for m in built.decoder.base.modules() if isinstance(m, torch.nn.Linear)]
    assert all(isinstance(module, OneDNNLinear) for module in linears)
    assert [type(m) for m in linears].count(AddingOneDNNLinear) == 8 * (tuning == "lora")
    Y = vectors(built)
    trained = {} if tuning == "frozen" else gradients(built.decoder)
    for module in linears:
        module.__class__ = torch.nn.Linear if type(module) is OneDNNLinear else AddingLinear
    torch.testing.assert_close(vectors(built), Y, rtol=1e-4, atol=1e-5)
    if trained:
        torch.testing.assert_close(gradients(built.decoder), trained, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("maker", "expected"), [("AuthenticAMD", OneDNNLinear), ("GenuineIntel", torch.nn.Linear)]
)
def test_the_maker_of_the_cpu_decides(on_amd, monkeypatch, tmp_path, maker, expected):
    if not torch.backends.mkldnn.is_available():
        expected = torch.nn.Linear
    (tmp_path / "cpuinfo").write_text(f"vendor_id : {maker}\n")
    plain, other = torch.nn.Linear(2, 2), torch.nn.Bilinear(2, 2, 2)
    use_onednn(torch.nn.ModuleList([plain, other]))
    assert [type(plain), type(other)] == [expected, torch.nn.Bilinear]


def test_windows_names_the_maker_elsewhere(on_amd, monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").unlink()
    for name, expected in (("AMD64 Family 25 Model 97, AuthenticAMD", True), ("arm", False)):
        monkeypatch.setattr(products.platform, "processor", lambda name=name: name)
        is_mkl_slow.cache_clear()
        assert is_mkl_slow() is (expected and torch.backends.mkldnn.is_available())
