import gc
import logging
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import torch
from transformers import AutoModel

from spacy_lgu.decoder import loading
from spacy_lgu.decoder.loading import (
    load_decoder,
    load_shared_base,
    placing_device,
    resolve_dtype,
)
from spacy_lgu.decoder.source import find_source, read_config

from ..conftest import make_tokenizer
from .conftest import FIRST
from .helpers import CPU, IDS, LENGTHS, build, gradients, shard, vectors
from .reference_families import FAMILIES

# Loading


def test_revision_is_honoured(hub_name, decoder_folder, other_decoder_folder):
    values = {"tuning": "frozen"}
    first, second = (build(hub_name, revision=r, **values) for r in (FIRST, None))
    assert torch.equal(vectors(first), vectors(build(other_decoder_folder, **values)))
    assert torch.equal(vectors(second), vectors(build(decoder_folder, **values)))
    assert not torch.allclose(vectors(first), vectors(second), atol=0.1)


def test_shards_are_loaded(copied_folder, decoder_folder):
    shard(copied_folder)
    whole, sharded = (build(f, tuning="frozen") for f in (decoder_folder, copied_folder))
    assert torch.equal(vectors(whole), vectors(sharded))
    assert sorted(sharded.base.files) == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


def test_weights_quantized_as_asked(decoder_folder, tmp_path):
    expected = build(decoder_folder, quantization="nf4", tuning="frozen")
    expected.shared.module.save_pretrained(tmp_path)
    expected.tokenizer.save_pretrained(tmp_path)
    found = build(tmp_path, quantization="nf4", tuning="frozen")
    assert torch.equal(vectors(found), vectors(expected))


@pytest.mark.parametrize(
    ("wanted", "current", "expected"),
    [("cuda:0", 0, "cuda"), ("cuda:1", 0, "cuda:1"), ("cuda:1", 1, "cuda"), ("cpu", 0, "cpu")],
)
def test_the_gpu_at_work_is_named_without_its_number(monkeypatch, wanted, current, expected):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current)
    assert placing_device(torch.device(wanted)) == torch.device(expected)


def test_damage_behind_the_header_is_named(copied_folder):
    # Seen when a file changes between the check and the load.
    file = copied_folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    source = find_source(str(copied_folder))
    options = {"dtype": "float32", "quantization": "none", "device": CPU}
    with pytest.raises(ValueError, match=r"The weights of .* are damaged: .*hf cache"):
        load_decoder(source, read_config(source), prefix="model.", **options)
    with pytest.raises(ValueError, match=r"model\.safetensors' .* is damaged or incomplete"):
        load_decoder(source, read_config(source), **options)


def test_decoder_is_loaded_as_transformers_loads_it(decoder_folder):
    built = build(decoder_folder, unmasking="cccc", tuning="frozen")
    expected = AutoModel.from_pretrained(decoder_folder, attn_implementation="eager")
    start = 0
    for length in LENGTHS:
        ids = torch.from_numpy(IDS[start : start + length])[None]
        with torch.no_grad():
            Y = expected(input_ids=ids).last_hidden_state[0]
        torch.testing.assert_close(vectors(built)[start : start + length], Y)
        start += length


@pytest.mark.parametrize(
    ("dtype", "stored"), [("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_dtype_is_that_of_the_weights(decoder_folder, dtype, stored):
    built = build(decoder_folder, dtype=dtype, tuning="frozen")
    assert {p.dtype for p in built.decoder.parameters()} == {stored}
    assert vectors(built).dtype == torch.float32


def test_auto_dtype(monkeypatch):
    assert resolve_dtype("float16", CPU) == "float16"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for supported, dtype in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda s=supported: s)
        assert resolve_dtype("auto", CPU) == dtype
    for capability, dtype in (((8, 0), "bfloat16"), ((7, 5), "float32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda d, c=capability: c)
        assert resolve_dtype("auto", torch.device("cuda")) == dtype


# Sharing


def frozen_pointers(built):
    return {n: p.data_ptr() for n, p in built.decoder.named_parameters() if not p.requires_grad}


def int8_pointers(built):
    states = [getattr(module, "state", None) for module in built.decoder.modules()]
    return [(s.CB.data_ptr(), s.SCB.data_ptr()) for s in states if s is not None]


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_two_builds_share_tensors_but_no_modules(decoder_folder, quantization):
    first = build(decoder_folder, quantization=quantization)
    expected = vectors(first)
    second = build(decoder_folder, quantization=quantization, unmasking="bbbb")
    assert frozen_pointers(first) == frozen_pointers(second)
    assert first.shared is second.shared
    modules = [set(map(id, built.decoder.modules())) for built in (first, second)]
    assert not modules[0] & modules[1]
    trained = [{p.data_ptr() for _, p in built.decoder.trainable()} for built in (first, second)]
    assert not trained[0] & trained[1]
    gradients(second.decoder)
    assert torch.equal(vectors(first), expected)
    assert int8_pointers(first) == int8_pointers(second)
    assert len(int8_pointers(first)) == (4 * 7 if quantization == "int8" else 0)


def test_other_dtype_and_quantization_are_other_bases(decoder_folder):
    builds = [
        build(decoder_folder, tuning="frozen"),
        build(decoder_folder, tuning="frozen", dtype="bfloat16"),
        build(decoder_folder, tuning="frozen", quantization="nf4"),
    ]
    assert len({id(built.shared) for built in builds}) == 3


def test_shared_base_is_freed_with_its_last_pipeline(decoder_folder):
    first, second = build(decoder_folder), build(decoder_folder)
    alive = weakref.ref(first.shared)
    tensor = weakref.ref(next(first.shared.module.parameters()))
    del first
    gc.collect()
    assert alive() is second.shared
    del second
    gc.collect()
    assert alive() is None
    assert tensor() is None


def test_threads_load_one_base(decoder_folder, monkeypatch):
    calls = []
    load = loading.load_decoder

    def count(*args, **kwargs):
        calls.append(1)
        return load(*args, **kwargs)

    monkeypatch.setattr(loading, "load_decoder", count)
    source = find_source(str(decoder_folder))
    config = read_config(source)
    options = {"identity": "x", "dtype": "float32", "quantization": "none", "device": CPU}
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(load_shared_base, source, config, **options) for _ in range(4)]
        bases = {id(future.result()) for future in futures}
    assert len(bases) == len(calls) == 1


# Quantized layers of bitsandbytes


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_evaluation_between_updates_changes_no_gradient(decoder_folder, quantization, dtype):
    built = build(decoder_folder, quantization=quantization, dtype=dtype)
    expected = gradients(built.decoder)
    before = vectors(built)
    found = gradients(built.decoder)
    assert len(found) == 4 * 2 * 2
    for name, gradient in expected.items():
        assert gradient.norm() > 0, name
        assert torch.equal(found[name], gradient), name
    assert torch.equal(vectors(built), before)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_first_calls_of_threads_equal_those_of_one(decoder_folder, quantization, dtype):
    values = {"quantization": quantization, "dtype": dtype, "tuning": "frozen"}
    jobs = [(numpy.roll(IDS, i), LENGTHS) for i in range(8)]
    sequential = build(decoder_folder, **values)
    expected = [sequential.decoder.predict(*job, 1000) for job in jobs]
    del sequential
    gc.collect()
    for _ in range(2):
        fresh = build(decoder_folder, **values)
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(fresh.decoder.predict, *job, 1000) for job in jobs]
            found = [future.result() for future in futures]
        for Y, Y_expected in zip(found, expected, strict=True):
            assert torch.equal(Y, Y_expected)
        del fresh
        gc.collect()


def test_quantized_vectors_are_near_the_plain_ones(decoder_folder):
    plain = vectors(build(decoder_folder, tuning="frozen"))
    for quantization, bound in (("nf4", 0.4), ("int8", 0.1)):
        Y = vectors(build(decoder_folder, tuning="frozen", quantization=quantization))
        assert 0 < (Y - plain).norm() / plain.norm() < bound


def test_int8_does_not_warn_of_its_casts(decoder_folder, caplog):
    built = build(decoder_folder, quantization="int8", dtype="bfloat16")
    with caplog.at_level(logging.DEBUG):
        vectors(built)
        gradients(built.decoder)
    assert not [r for r in caplog.records if "cast" in r.getMessage()]
    logger = logging.getLogger("bitsandbytes.autograd._functions")
    with caplog.at_level(logging.DEBUG):
        logger.warning("something else")
    assert [r.getMessage() for r in caplog.records] == ["something else"]


def test_int8_takes_inputs_of_any_shape(decoder_folder):
    module = build(decoder_folder, quantization="int8", tuning="frozen").decoder.base
    module = module.layers[0].self_attn.q_proj  # 64 to 64
    X = torch.linspace(-2, 9, 2 * 3 * 5 * 64).reshape(2, 3, 5, 64)  # 6 and more are outliers
    with torch.no_grad():
        Y = module(X.reshape(30, 64))
        for shape in ((30,), (5, 6), (2, 3, 5), (1, 2, 3, 5)):
            assert torch.equal(module(X.reshape(*shape, 64)), Y.reshape(*shape, 64))


def test_int8_with_latent_attention(tmp_path):
    family = next(f for f in FAMILIES if f.name == "deepseek_v3")
    tokenizer = make_tokenizer()
    config = family.config(vocab_size=len(tokenizer), max_position_embeddings=64)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    built, plain = build(tmp_path, quantization="int8"), build(tmp_path)
    error = (vectors(built) - vectors(plain)).norm() / vectors(plain).norm()
    assert 0.001 < error < 0.4  # 8-bit experts, too, in 4.53
