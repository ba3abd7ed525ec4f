"""Hybrids as users build them: adapters, quantization, saves, the log, refused patterns."""

import copy

import numpy
import pytest
import torch
from torch.testing import assert_close

from spacy_lgu.decoder.mixers import RectangleMixer
from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.decoder.self_test import check_decoder
from spacy_lgu.decoder.settings import LoraSettings

from .helpers import BATCH, IDS, LENGTHS, build, check, gradients, restore, save, vectors
from .hybrids import THREE, save_hybrid
from .reference import CPU, relative_error


@pytest.fixture(scope="module", params=THREE, ids=lambda hybrid: hybrid.model_type)
def hybrid_folder(request, tmp_path_factory):
    return save_hybrid(tmp_path_factory.mktemp(request.param.model_type), request.param)


def one_by_one(decoder):
    sequences = numpy.split(IDS, numpy.cumsum(LENGTHS)[:-1])
    return torch.cat([decoder(PackedBatch.pack(ids, [len(ids)], device=CPU)) for ids in sequences])


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_adapters_on_all_linear_modules(hybrid_folder, tmp_path, quantization):
    lora = LoraSettings(rank=2, dropout=0.0, modules="all-linear")
    built = build(hybrid_folder, quantization=quantization, unmasking="cb", lora=lora)
    adapted = {name for name, _ in built.decoder.trainable()}
    into = ("in_proj", "qkv_proj")
    assert any("layers.0." in name and any(n in name for n in into) for name in adapted)
    assert any("layers.0." in name and "out_proj" in name for name in adapted)
    with torch.no_grad():
        # In int8, columns with outliers are looked for in the whole batch, and experts may change.
        tolerance = 0.2 if quantization == "int8" else 1e-5
        assert relative_error(vectors(built), one_by_one(built.decoder)) < tolerance
    # The base that others may share stays as transformers made it.
    assert not any(isinstance(m, RectangleMixer) for m in built.shared.module.modules())
    before = gradients(built.decoder)
    assert before.keys() == adapted
    assert all(bool(grad.any()) for grad in before.values())
    # PEFT's view and the module tree of a copy are its own.
    copied = copy.deepcopy(built.decoder)
    assert torch.equal(copied(BATCH), built.decoder(BATCH))
    save(built, tmp_path / "saved", "bundle")
    assert_close(vectors(restore(tmp_path / "saved", built)), vectors(built))


def test_all_weights_are_trained_and_saved(hybrid_folder, tmp_path):
    built = build(hybrid_folder, unmasking="bb", tuning="full")
    save(built, tmp_path / "saved")
    restored = restore(tmp_path / "saved", built)
    assert_close(vectors(restored), vectors(built))
    assert restored.decoder.unmasked == (False, True, False, True)
    assert restored.describe() == built.describe()


def test_gradient_checkpointing_under_an_adapter(hybrid_folder):
    lora = LoraSettings(rank=2, dropout=0.0, modules="all-linear")
    values = {"unmasking": "bb", "lora": lora, "quantization": "nf4"}
    plain = gradients(build(hybrid_folder, **values).decoder)
    again = gradients(build(hybrid_folder, gradient_checkpointing=True, **values).decoder)
    for name, grad in plain.items():
        assert_close(again[name], grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("quantization", "dtype"),
    [("none", "float32"), ("none", "bfloat16"), ("nf4", "bfloat16"), ("int8", "float32")],
)
def test_every_pattern_proves_itself(hybrid_folder, quantization, dtype):
    lora = LoraSettings(rank=2, dropout=0.0, modules="all-linear")
    for unmasking in ("bbbb", "cccb"):
        values = {"quantization": quantization, "dtype": dtype, "lora": lora}
        check_decoder(build(hybrid_folder, unmasking=unmasking, **values).decoder)


def test_bfloat16_is_close(hybrid_folder):
    exact = build(hybrid_folder, unmasking="bb", tuning="frozen")
    half = build(hybrid_folder, unmasking="bb", tuning="frozen", dtype="bfloat16")
    assert relative_error(vectors(half), vectors(exact)) < 0.05
    # Float32 weights trained in bfloat16.
    full = build(hybrid_folder, unmasking="bb", tuning="full", dtype="bfloat16")
    assert all(bool(torch.isfinite(grad).all()) for grad in gradients(full.decoder).values())


@pytest.mark.usefixtures("no_weights")
def test_patterns_that_open_nothing_are_refused_before_a_weight_is_read(hybrid_folder):
    message = (
        "The unmasking pattern 'bccc' unmasks layer 0, none of which has a causal mask to remove: "
        "in this decoder only layers 1, 3 can be unmasked"
    )
    with pytest.raises(ValueError, match=message):
        check(hybrid_folder, unmasking="bccc")


def test_the_log_says_which_layers_stay_causal(hybrid_folder):
    built = build(hybrid_folder, unmasking="cb")
    assert built.decoder.unmasked == (False, False, False, True)
    assert built.describe()[0].endswith(
        ": cb = layers 0, 2 recurrent (always causal), layer 1 causal, layer 3 bidirectional"
    )
    assert check(hybrid_folder, unmasking="cb").describe_layers() in built.describe()[0]
