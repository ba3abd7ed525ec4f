"""The estimates against what autograd keeps, counted byte by byte."""

from dataclasses import replace

import numpy
import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM

from spacy_lgu.decoder.building import build_decoder, check_settings
from spacy_lgu.decoder.local import read_decoder
from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.decoder.settings import DecoderSettings, LoraSettings
from spacy_lgu.decoder.shape import DecoderShape
from spacy_lgu.inspection.decoders import match_modules
from spacy_lgu.inspection.memory import (
    Use,
    _kept_weights,
    kept_per_layer,
    trained_parameters,
    training_bytes,
    weights_bytes,
)
from spacy_lgu.unmasking import LayerKind

from ..conftest import IS_5, make_tokenizer

SHAPE = DecoderShape(
    family="mistral",
    n_layers=2,
    n_parameters=1000 + 2 * 64 * 64,
    width=64,
    inner_width=128,
    n_heads=4,
    n_key_value_heads=2,
    head_width=16,
    vocab_size=10,
    context=64,
    kinds=(LayerKind.ATTENTION, LayerKind.ATTENTION),
    linear={"layers.0.q_proj": (64, 64), "layers.1.q_proj": (64, 64)},
)


def make_use(**options) -> Use:
    return Use(
        **{"quantization": "none", "dtype": "float32", "tuning": "lora", "adapted": {}, **options}
    )


@pytest.mark.parametrize(
    ("options", "n_bytes"),
    [
        ({}, 4 * 9192),
        ({"dtype": "bfloat16"}, 2 * 9192),
        # 8192 weights in linear layers: 4096 bytes, 128 of absmax, 2 of its absmax
        ({"dtype": "bfloat16", "quantization": "nf4"}, 4226 + 2000),
        ({"dtype": "bfloat16", "quantization": "int8"}, 8192 + 4 * 128 + 2000),
        ({"dtype": "bfloat16", "tuning": "full"}, 4 * 9192),
        # rank 8 between 64 and 64, in float32
        ({"adapted": {"layers.0.q_proj": 8}}, 4 * 9192 + 4 * 8 * 128),
    ],
)
def test_weights(options, n_bytes):
    assert weights_bytes(SHAPE, make_use(**options)) == n_bytes


def test_what_is_trained():
    assert trained_parameters(SHAPE, make_use(tuning="full")) == 9192
    assert trained_parameters(SHAPE, make_use(adapted={"layers.0.q_proj": 8})) == 1024
    assert trained_parameters(SHAPE, make_use(tuning="frozen")) == 0


def test_what_dora_and_experts_train():
    shape = replace(SHAPE, experts={"layers.0.experts.down_proj": (4, 10, 20)})
    # rank * (inputs + outputs), and a magnitude for each output
    dora = make_use(adapted={"layers.0.q_proj": 8}, dora=True)
    assert trained_parameters(shape, dora) == 8 * 128 + 64
    # for each of four experts
    experts = make_use(adapted={"layers.0.experts.down_proj": 2})
    assert trained_parameters(shape, experts) == 4 * 2 * 30
    names = ["q_proj", "experts.down_proj"]
    assert list(match_modules(shape, names, 2)) == [*shape.linear, *shape.experts]


def test_copies_of_weights_that_training_keeps():
    shape = replace(SHAPE, experts={"layers.0.experts.down_proj": (4, 10, 20)}, n_layers=4)
    adapted = {"layers.0.q_proj": 8, "layers.0.experts.down_proj": 2}
    plain = make_use(adapted=adapted, dtype="bfloat16", quantization="nf4")
    assert _kept_weights(shape, plain) == 2 * 4 * 10 * 20
    dora = replace(plain, adapted={"layers.0.q_proj": 8}, dora=True)
    assert _kept_weights(shape, dora) == 2 * 64 * 64
    assert _kept_weights(shape, replace(dora, quantization="int8")) == 4 * 64 * 64
    assert _kept_weights(shape, replace(dora, quantization="none")) == 0
    assert _kept_weights(shape, replace(dora, dropout=0.0)) == 0


def test_training_of_more_rows_costs_more_and_checkpointing_less():
    shape, use = replace(SHAPE, n_layers=8), make_use(tuning="full")
    assert training_bytes(shape, use, n_rows=200) > training_bytes(shape, use, n_rows=100)
    checkpointed = make_use(tuning="full", gradient_checkpointing=True)
    assert training_bytes(shape, checkpointed, n_rows=200) < training_bytes(shape, use, n_rows=200)


@pytest.mark.parametrize(
    ("tuning", "quantization", "dtype", "variant", "dropout"),
    [
        ("lora", "none", "float32", "lora", 0.1),
        ("lora", "nf4", "bfloat16", "lora", 0.1),
        ("lora", "none", "float32", "dora", 0.0),
        ("lora", "none", "bfloat16", "dora", 0.1),
        ("lora", "nf4", "bfloat16", "dora", 0.0),
        ("lora", "nf4", "bfloat16", "dora", 0.1),
        ("full", "none", "float32", "lora", 0.1),
        ("full", "none", "bfloat16", "lora", 0.1),
    ],
)
def test_what_autograd_keeps(tuning, quantization, dtype, variant, dropout, decoder_folder):
    settings = DecoderSettings(
        name=str(decoder_folder),
        unmasking="cb",
        tuning=tuning,
        quantization=quantization,
        dtype=dtype,
        lora=LoraSettings(rank=8, variant=variant, dropout=dropout),
        self_test=False,
    )
    built = build_decoder(check_settings(settings, {}), device=torch.device("cpu"))
    decoder = built.decoder.train()
    shape = read_decoder(str(decoder_folder)).shape
    adapted = match_modules(shape, ["q_proj", "v_proj"], 8) if tuning == "lora" else {}
    use = make_use(
        tuning=tuning,
        quantization=quantization,
        dtype=dtype,
        adapted=adapted,
        dropout=dropout,
        dora=variant == "dora",
    )
    lengths = [32] * 32
    kept = count_kept(decoder, lengths) / sum(lengths) / shape.n_layers
    # Of what lies around the layers, which counts more in few of them: embedding and last norm.
    around = 3 * 4 * shape.width / shape.n_layers
    assert kept == pytest.approx(kept_per_layer(shape, use) + around, rel=0.15)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_what_autograd_keeps_of_experts(tuning, dtype, tmp_path):
    save_mixtral(tmp_path)
    settings = DecoderSettings(
        name=str(tmp_path),
        unmasking="cb",
        tuning=tuning,
        dtype=dtype,
        quantization="none",
        lora=LoraSettings(rank=8),
        self_test=False,
    )
    decoder = build_decoder(check_settings(settings, {}), device=torch.device("cpu")).decoder
    shape = read_decoder(str(tmp_path)).shape
    assert (shape.n_experts, shape.inner_width) == (2, 2 * 48)
    adapted = match_modules(shape, ["q_proj", "v_proj"], 8) if tuning == "lora" else {}
    use = make_use(tuning=tuning, dtype=dtype, adapted=adapted)
    lengths = [32] * 32
    kept = count_kept(decoder.train(), lengths) / sum(lengths) / shape.n_layers
    around = 3 * 4 * shape.width / shape.n_layers
    assert kept == pytest.approx(kept_per_layer(shape, use) + around, rel=0.15)


def test_weights_of_experts_in_one_tensor_are_not_quantized(tmp_path):
    save_mixtral(tmp_path)
    shape = read_decoder(str(tmp_path)).shape
    n_experts = 4 * 4 * 3 * 64 * 48  # layers, experts, matrices
    assert shape.n_joined == (n_experts if IS_5 else 0)
    found = weights_bytes(shape, make_use(dtype="bfloat16", quantization="nf4"))
    left = shape.n_parameters - sum(a * b for a, b in shape.linear.values())
    assert left > n_experts if IS_5 else left < n_experts
    assert found == pytest.approx(2 * left + 0.516 * (shape.n_parameters - left), rel=1e-3)


def save_mixtral(folder):
    tokenizer = make_tokenizer()
    config = MixtralConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        max_position_embeddings=64,
        sliding_window=None,
    )
    torch.manual_seed(0)
    MixtralForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def count_kept(decoder, lengths: list[int]) -> int:
    """Bytes of the storages that a forward pass keeps, weights and copies of them left out."""
    parameters = {p.untyped_storage().data_ptr() for p in decoder.parameters()}
    shapes = {tuple(p.shape) for p in decoder.parameters()}
    shapes |= {shape[::-1] for shape in shapes}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters and tuple(tensor.shape) not in shapes:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # so that none is reused
        return tensor

    ids = numpy.arange(sum(lengths)) % 300 + 2
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        decoder(PackedBatch.pack(ids, lengths, device=torch.device("cpu")))
    return sum(n_bytes for n_bytes, _ in kept.values())
