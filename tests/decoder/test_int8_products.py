"""Products in int8: rounding row by row, decoders, saves, fleets and what is refused."""

import copy
import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import torch

from spacy_lgu.decoder import loading
from spacy_lgu.decoder.fleet import FleetDecoder
from spacy_lgu.decoder.int8_products import Int8Linear, has_int8_products
from spacy_lgu.decoder.loading import resolve_products
from spacy_lgu.decoder.membership import ApartError
from spacy_lgu.decoder.products import dequantize
from spacy_lgu.decoder.restoring import load_decoder_folder
from spacy_lgu.decoder.settings import LoraSettings
from spacy_lgu.decoder.storage import decoder_to_files, save_decoder

from .helpers import CPU, IDS, LENGTHS, build, gradients, make_settings, vectors


def load(folder, **values):
    return load_decoder_folder(folder, make_settings("unused", **values), device=CPU)


@pytest.fixture(scope="module")
def saved(decoder_folder, tmp_path_factory):
    """A decoder with an adapter, saved with its base."""
    folder = tmp_path_factory.mktemp("int8") / "saved"
    save_decoder(build(decoder_folder), folder, base_weights="bundle")
    return folder


def test_literal_product():
    weight = torch.tensor([[127.0, -127.0], [0.0, 254.0]])  # scales 1 and 2
    module = Int8Linear(weight, torch.nn.Parameter(torch.tensor([0.5, 0.0])), torch.ones(2))
    assert module.weight.tolist() == [[127, -127], [0, 127]]
    assert module.scales.tolist() == [1, 2]
    # Scales of the rows are 1 and 0.5: 0.6 is rounded to 1, and 0.2 to 0.
    X = torch.tensor([[127.0, 0.6], [63.5, 0.2]])
    with torch.no_grad():
        expected = [[127 * 127 - 127 + 0.5, 254], [127 * 127 * 0.5 + 0.5, 0]]
        assert module(X).tolist() == expected
        assert module(X[None]).tolist() == [expected]
        assert module(X[0]).tolist() == expected[0]
        assert module(X[:0]).shape == (0, 2)


def test_factors_cancel_out():
    torch.manual_seed(0)
    weight, X = torch.randn(8, 64), torch.randn(300, 64)
    X[:, 5] *= 1000  # an outlier beside which the others round to nothing
    expected = X @ weight.T
    plain, smooth = (
        Int8Linear(weight, None, factors) for factors in (torch.ones(64), X.abs().amax(0).sqrt())
    )
    with torch.no_grad():
        without_outlier = expected - torch.outer(X[:, 5], weight[:, 5])
        errors = [(m(X) - expected).norm() / without_outlier.norm() for m in (plain, smooth)]
    assert errors[1] < errors[0] / 3
    torch.testing.assert_close(plain.dequantize(), weight, atol=0.02, rtol=0)


def test_a_row_does_not_depend_on_others():
    torch.manual_seed(0)
    module, X = Int8Linear(torch.randn(8, 64), None, torch.ones(64)), torch.randn(300, 64)
    with torch.no_grad():
        Y = module(X)
        X[1:] *= 1000  # in place: the rows that were quantized before are not taken again
        assert torch.equal(module(X)[0], Y[0])
        assert not torch.equal(module(X)[1], Y[1])


def test_modules_that_read_the_same_rows_round_them_once(monkeypatch):
    rounded = []
    original = Int8Linear._round
    monkeypatch.setattr(
        Int8Linear, "_round", lambda self, X: rounded.append(self) or original(self, X)
    )
    factors, X = torch.ones(4), torch.randn(2, 4)
    first, second = (Int8Linear(torch.randn(3, 4), None, factors) for _ in range(2))
    other = Int8Linear(torch.randn(3, 4), None, torch.ones(4) * 2)
    with torch.no_grad():
        for module in (first, second, other):
            module(X)
    assert rounded == [first, other]
    with torch.inference_mode():  # where a tensor does not tell whether it was changed
        X = torch.ones(2, 4)
        Y, again = first(X), first(X.mul_(2))
        assert torch.allclose(again, 2 * Y)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_saved_decoder_in_int8(saved, dtype):
    exact, built = (load(saved, dtype=dtype, products=p) for p in ("exact", "int8"))
    error = (vectors(built) - vectors(exact)).norm() / vectors(exact).norm()
    assert 0.001 < error < 0.05
    kinds = {
        name.split(".")[-1]: type(module)
        for name, module in built.shared.module.named_modules()
        if name.endswith("_proj")
    }
    assert {name for name, kind in kinds.items() if kind is Int8Linear} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"
    }  # fmt: skip
    assert has_int8_products(built.decoder)
    assert not has_int8_products(exact.decoder)
    alone = built.decoder.predict(IDS[:5], LENGTHS[:1], 1000)
    torch.testing.assert_close(alone, vectors(built)[:5], atol=0.02, rtol=0.02)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_any_base_and_adapter(decoder_folder, tmp_path, quantization, variant):
    values = {
        "quantization": quantization,
        "lora": LoraSettings(rank=2, dropout=0, variant=variant),
    }
    trained = build(decoder_folder, **values)
    save_decoder(trained, tmp_path / "saved", base_weights="bundle")
    built = load(tmp_path / "saved", products="int8", **values)
    error = (vectors(built) - vectors(trained)).norm() / vectors(trained).norm()
    assert 0.001 < error < 0.05


def test_copies_share_what_was_quantized(saved):
    built = load(saved, products="int8")
    copied = copy.deepcopy(built.decoder)
    assert torch.equal(copied.predict(IDS, LENGTHS, 1000), vectors(built))
    pairs = zip(built.decoder.base.modules(), copied.base.modules(), strict=True)
    for one, other in pairs:
        if isinstance(one, Int8Linear):
            assert one.weight is other.weight
            assert one.factors is other.factors
    assert load(saved, products="int8").shared is built.shared
    assert load(saved).shared is not built.shared


def test_threads_get_their_own_rows(saved):
    decoder = load(saved, products="int8").decoder
    jobs = [(numpy.arange(20, 20 + n), numpy.array([n])) for n in range(2, 10)] * 4
    expected = [decoder.predict(*job, 1000) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: decoder.predict(*job, 1000), jobs))
    assert all(torch.equal(Y, Z) for Y, Z in zip(found, expected, strict=True))


def test_a_save_keeps_the_weights_as_they_were(saved, tmp_path):
    built = load(saved, products="int8")
    save_decoder(built, tmp_path / "again", base_weights="auto")
    assert torch.equal(vectors(load(tmp_path / "again")), vectors(load(saved)))
    assert torch.equal(vectors(load(tmp_path / "again", products="int8")), vectors(built))
    built.bundle = None
    for save in (
        lambda: save_decoder(built, tmp_path / "other", base_weights="bundle"),
        lambda: decoder_to_files(built),
    ):
        with pytest.raises(ValueError, match=r"in int8 alone.*products = 'exact'"):
            save()
    assert not (tmp_path / "other").exists()


def test_a_fleet_in_int8(saved):
    built = load(saved, products="int8", dtype="bfloat16")
    fleet = FleetDecoder(built.shared)
    member = fleet.find_member(built)
    Y = fleet.predict(IDS, LENGTHS, [member] * len(LENGTHS), 1000)
    assert (Y - vectors(built)).norm() / Y.norm() < 0.02
    with pytest.raises(ApartError, match="quantization of its base is 'none'"):
        fleet.find_member(load(saved, dtype="bfloat16"))


def test_training_needs_exact_products(saved):
    with pytest.raises(ValueError, match=r"no gradient.*products = 'exact'"):
        gradients(load(saved, products="int8").decoder)


def test_a_new_decoder_is_exact(decoder_folder):
    built = build(decoder_folder, products="int8")
    assert not has_int8_products(built.decoder)
    gradients(built.decoder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"products": "int8", "tuning": "full"}, "needs a frozen base.*tuning = 'full'"),
        ({"products": "int8", "quantization": "int8"}, "quantization = 'int8'"),
        ({"products": "fp8"}, "products is 'fp8': expected one of 'exact', 'int8', 'auto'"),
    ],
)
def test_settings_that_do_not_go_together(values, message):
    with pytest.raises(ValueError, match=message):
        make_settings("any", **values)


def test_auto_is_int8_where_it_is_fast_and_possible(monkeypatch):
    auto = make_settings("any", products="auto")
    for is_fast, expected in ((True, "int8"), (False, "exact")):
        monkeypatch.setattr(
            loading.torch.cpu, "_is_vnni_supported", lambda is_fast=is_fast: is_fast
        )
        assert resolve_products(auto, CPU) == expected
    monkeypatch.setattr(loading.torch.cpu, "_is_vnni_supported", lambda: True)
    assert resolve_products(auto, torch.device("cuda", 0)) == "exact"
    for values in ({"tuning": "full"}, {"quantization": "int8"}):
        assert resolve_products(dataclasses.replace(auto, **values), CPU) == "exact"
    assert resolve_products(make_settings("any"), CPU) == "exact"
    with pytest.raises(ValueError, match="runs on CPUs, but the decoder goes to cuda:0"):
        resolve_products(make_settings("any", products="int8"), torch.device("cuda", 0))


def test_weights_as_numbers():
    weight = torch.tensor([[127.0, -64.0]])
    assert dequantize(Int8Linear(weight, None, torch.ones(2))).tolist() == weight.tolist()
    assert dequantize(torch.nn.Linear(2, 1)).requires_grad is False
