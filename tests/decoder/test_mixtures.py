"""Mixtures of experts: every weight in its place, in whatever form a file holds them."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import bitsandbytes
import numpy
import pytest
import torch
from bitsandbytes import functional
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from spacy_lgu.decoder.checkpoint import Expected, StoredTensor, match_weights
from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.decoder.experts import Stored, count_active, describe_unquantized
from spacy_lgu.decoder.loading import load_decoder
from spacy_lgu.decoder.local import as_quantized, measure_shape, read_decoder
from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.decoder.self_test import _find_moved
from spacy_lgu.decoder.separate import SeparateExperts
from spacy_lgu.decoder.settings import LoraSettings
from spacy_lgu.decoder.source import find_source, read_config
from spacy_lgu.decoder.weights import check_weights, place_experts
from spacy_lgu.inspection.decoders import find_problem

from ..conftest import IS_5, make_tokenizer
from .helpers import CPU, build, edit_json, restore, save, vectors
from .reference import Family, make_lgu, make_pair, random_ids, relative_error, run_reference

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "moe_intermediate_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
DEEP = {
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}
# What their configs hold besides, and how a file names the experts and their matrices gate, up and
# down.
LLAMA_NAMES = ("mlp.experts", "gate_proj", "up_proj", "down_proj")
MIXTRAL_NAMES = ("block_sparse_moe.experts", "w1", "w3", "w2")
MIXTURES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "mixtral": ({"num_local_experts": 4, "intermediate_size": 16}, MIXTRAL_NAMES),
    "qwen3_moe": ({"num_experts": 4, "head_dim": 8}, LLAMA_NAMES),
    "deepseek_v3": (DEEP, LLAMA_NAMES),
    "dots1": ({**DEEP, "head_dim": 8}, LLAMA_NAMES),
}
if IS_5:
    MIXTURES |= {
        "olmoe": ({"num_experts": 4, "intermediate_size": 16}, LLAMA_NAMES),
        "qwen2_moe": ({"num_experts": 4, "shared_expert_intermediate_size": 16}, LLAMA_NAMES),
        "deepseek_v2": ({**DEEP, "topk_method": "greedy"}, LLAMA_NAMES),
        "glm4_moe": ({**DEEP, "head_dim": 8}, LLAMA_NAMES),
        "ernie4_5_moe": ({"moe_num_experts": 4, "moe_k": 2}, LLAMA_NAMES),
        "minimax_m2": (
            {"num_local_experts": 4, "intermediate_size": 16, "head_dim": 8},
            MIXTRAL_NAMES,
        ),
        "phimoe": ({"num_local_experts": 4, "intermediate_size": 16}, MIXTRAL_NAMES),
    }
LAYER = 2
needs_5 = pytest.mark.skipif(not IS_5, reason="transformers 4.53 has experts one by one")


def make_mixture(family: str) -> Any:
    """A random causal LM of a family, with 4 experts in each layer."""
    values = {**SIZES, "vocab_size": len(make_tokenizer()), **MIXTURES[family][0]}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**values))
    with torch.no_grad():
        for parameter in model.parameters():  # some families leave experts empty
            parameter.normal_(std=0.2)
    return model


def save_mixture(family: str, folder: Path, **options: Any) -> Any:
    model = make_mixture(family)
    model.save_pretrained(folder, **options)
    make_tokenizer().save_pretrained(folder)
    return model


def load(folder: Path, quantization: str = "none") -> Any:
    source = find_source(str(folder))
    config = place_experts(source, read_config(source), quantization)
    prefix = check_weights(source, config)
    options = {"quantization": quantization, "device": CPU, "prefix": prefix}
    return load_decoder(source, config, dtype="float32", **options)


def matrices(decoder: Any, expert: int, names: tuple[str, ...]) -> list[torch.Tensor]:
    """The matrices gate, up and down of one expert, wherever the version keeps them."""
    if IS_5:
        experts = decoder.layers[LAYER].mlp.experts
        return [*experts.gate_up_proj[expert].chunk(2), experts.down_proj[expert]]
    module = decoder.layers[LAYER].get_submodule(f"{names[0]}.{expert}")
    return [getattr(module, name).weight for name in names[1:]]


@pytest.fixture
def folder(tmp_path):
    """A Qwen3 mixture of experts as it is published."""
    save_mixture("qwen3_moe", tmp_path / "published")
    return tmp_path / "published"


# Names and places


@pytest.mark.parametrize("family", MIXTURES)
def test_every_matrix_of_every_expert_comes_from_its_place_in_the_file(family, tmp_path):
    save_mixture(family, tmp_path)
    stored, names = load_file(tmp_path / "model.safetensors"), MIXTURES[family][1]
    decoder = load(tmp_path)
    seen = set()
    for expert in range(4):
        for name, found in zip(names[1:], matrices(decoder, expert, names), strict=True):
            expected = stored[f"model.layers.{LAYER}.{names[0]}.{expert}.{name}.weight"]
            assert torch.equal(found, expected), (expert, name)
            seen.add(float(found.detach().flatten()[0]))
    assert len(seen) == 4 * 3


@pytest.mark.parametrize("form", ["published", "sharded", *(["joined"] if IS_5 else [])])
@pytest.mark.parametrize("family", MIXTURES)
def test_weights_are_the_same_in_every_form(family, form, tmp_path):
    options: dict[str, Any] = {"joined": {"save_original_format": False}}.get(form, {})
    size = "20KB" if form == "sharded" else "5GB"
    model = save_mixture(family, tmp_path, max_shard_size=size, **options)
    expected, found = model.model.state_dict(), load(tmp_path).state_dict()
    assert list(found) == list(expected)
    assert [n for n, value in expected.items() if not torch.equal(found[n], value)] == []


@pytest.mark.skipif(not IS_5, reason="transformers 4.53 does not have the family")
@pytest.mark.parametrize("family", ["gpt_oss", "qwen3_5_moe_text", "qwen3_vl_moe_text"])
def test_experts_that_are_published_in_one_tensor(family, tmp_path):
    values = {**SIZES, "num_local_experts": 4, "num_experts": 4, "head_dim": 8}
    config = CONFIG_MAPPING[family](vocab_size=64, **values)
    torch.manual_seed(0)
    from transformers import AutoModel

    decoder = AutoModel.from_config(config)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(std=0.2)
    decoder.save_pretrained(tmp_path)
    found = load(tmp_path).state_dict()
    differing = [n for n, v in decoder.state_dict().items() if not torch.equal(found[n], v)]
    assert differing == []


def change(folder: Path, **changes: Any) -> None:
    """Rename, cut or drop tensors of a file; in names __ stands for a dot."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name, value in changes.items():
        tensor = tensors.pop(name.replace("__", "."))
        if isinstance(value, str):
            tensors[value] = tensor
        elif value is not None:
            tensors[name.replace("__", ".")] = tensor[:value].clone()
    save_file(tensors, file, metadata={"format": "pt"})


EXPERT = "model__layers__2__mlp__experts__3__up_proj__weight"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"does not hold 1 of \d+ weights: model\.layers\.2\.mlp\.experts\.3\.up_proj\.we"),
        (  # as many as are expected, but not those
            "model.layers.2.mlp.experts.4.up_proj.weight",
            r"does not hold 1 of \d+ weights: model\.layers\.2\.mlp\.experts\.3\.up_proj\.weight",
        ),
        (8, r"experts\.3\.up_proj\.weight of shape \[8, 32\] \(F32\) instead of \[16, 32\]"),
    ],
)
def test_faults_of_one_expert_are_found_before_a_weight_is_read(folder, no_weights, value, message):
    change(folder, **{EXPERT: value})
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_an_expert_more_than_the_config_says(folder, no_weights):
    values = json.loads((folder / "config.json").read_text())
    names = {"num_experts", "num_local_experts"} & values.keys()  # by version
    edit_json(folder / "config.json", **dict.fromkeys(names, 3))
    with pytest.raises(ValueError, match=r"more than the config says, with 12 .*experts\.3\.down"):
        load(folder)


def test_layers_that_transformers_leaves_out_are_no_fault(tmp_path):
    """DeepSeek-V3 is published with layer 61, for speculative decoding."""
    save_mixture("deepseek_v3", tmp_path)
    file = tmp_path / "model.safetensors"
    extra = {"model.layers.61.enorm.weight": torch.ones(32)}
    save_file({**load_file(file), **extra}, file, metadata={"format": "pt"})
    assert load(tmp_path).norm.weight.shape == (32,)
    extra = {"model.layers.60.enorm.weight": torch.ones(32)}
    save_file({**load_file(file), **extra}, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"more than the config says, with .*layers\.60\.enorm"):
        load(tmp_path)


def test_quantized_experts_cannot_be_joined():
    own = {"norm.weight": (2,), "experts.up_proj": (2, 4, 2)}
    published = {"norm.weight": (2,), "experts.0.up.weight": (4, 2), "experts.1.up.weight": (4, 2)}
    tensors = {name: StoredTensor("x", "F32", shape) for name, shape in published.items()}
    linear = frozenset({"experts.0.up.weight"})
    expected = Expected(Stored([own, published], linear, whole=frozenset({"norm.weight"})))
    assert match_weights(tensors, expected, where="here") == ""
    tensors["experts.1.up.weight"] = StoredTensor("x", "U8", (4, 1))
    for state in ("absmax", "quant_state.bitsandbytes__nf4"):
        tensors[f"experts.1.up.weight.{state}"] = StoredTensor("x", "U8", (9,))
    message = r"'here' holds 1 quantized weights, such as experts\.1\.up\.weight, .* no linear"
    with pytest.raises(ValueError, match=message):
        match_weights(tensors, expected, where="here")


def test_the_form_that_fits_is_taken_where_names_are_the_same():
    own, published = {"a": (4, 2), "b": (2,)}, {"a": (2, 4), "b": (2,)}
    for shape in ((4, 2), (2, 4)):
        tensors = {"x.a": StoredTensor("x", "F32", shape), "x.b": StoredTensor("x", "F32", (2,))}
        assert match_weights(tensors, Expected(Stored([own, published])), where="here") == "x."


def test_experts_in_mxfp4_are_refused_in_words(tmp_path):
    family = "gpt_oss" if IS_5 else "mixtral"
    values = {**SIZES, "num_local_experts": 4, "head_dim": 8, "vocab_size": 64}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**values)).save_pretrained(tmp_path)
    edit_json(tmp_path / "config.json", quantization_config={"quant_method": "mxfp4"})
    problem = find_problem(read_decoder(str(tmp_path)))
    assert "already quantized (mxfp4)" in problem
    assert "Name the unquantized decoder" in problem


# Saves


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral"])
def test_saves_hold_experts_as_they_are_published(family, tuning, tmp_path):
    save_mixture(family, tmp_path / "x")
    built = build(tmp_path / "x", tuning=tuning)
    save(built, tmp_path / "saved", "bundle" if tuning == "lora" else "auto")
    part = tmp_path / "saved" / ("base" if tuning == "lora" else "weights")
    names = load_file(part / "model.safetensors").keys()
    experts, gate, _, _ = MIXTURES[family][1]
    assert f"layers.{LAYER}.{experts}.3.{gate}.weight" in names
    shutil.rmtree(tmp_path / "x")
    restored = restore(tmp_path / "saved", built)
    assert torch.equal(vectors(restored), vectors(built))
    expected, found = built.decoder.state_dict(), restored.decoder.state_dict()
    assert [n for n, value in expected.items() if not torch.equal(found[n], value)] == []


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantized_saves_hold_every_weight(quantization, folder, tmp_path):
    built = build(folder, quantization=quantization)
    save(built, tmp_path / "saved", "bundle")
    restored = restore(tmp_path / "saved", built)
    assert torch.equal(vectors(restored), vectors(built))


# Quantization


def experts_of(decoder: Any) -> dict[str, SeparateExperts]:
    return {n: m for n, m in decoder.named_modules() if isinstance(m, SeparateExperts)}


def dequantize(weight: bitsandbytes.nn.Params4bit) -> torch.Tensor:
    return functional.dequantize_4bit(weight.data, weight.quant_state)


def quantize(weight: torch.Tensor, **options: Any) -> bitsandbytes.nn.Params4bit:
    options |= {"quant_type": "nf4", "requires_grad": False}
    return bitsandbytes.nn.Params4bit(weight.clone(), **options).to("cpu")


def quantize_by_hand(plain: Any, quantized: Any) -> None:
    """Round the weights of a decoder with joined experts as they are in the quantized one."""
    for name, layer in quantized.named_modules():
        if not isinstance(layer, bitsandbytes.nn.Linear4bit):
            continue
        owner, _, number = name.rpartition(".")[0].rpartition(".")
        separate = experts_of(quantized).get(owner)
        if separate is None:
            weight = plain.get_submodule(name).weight.data
        else:
            joined, kind = plain.get_submodule(owner), name.rpartition(".")[2]
            weight = joined.down_proj.data[int(number)]
            if kind != separate.names.down:
                halves = joined.gate_up_proj.data[int(number)].chunk(2)
                weight = halves[kind == separate.names.up]
        rounded = dequantize(quantize(weight))
        assert torch.equal(dequantize(layer.weight), rounded)
        weight.copy_(rounded)


@needs_5
@pytest.mark.parametrize("family", MIXTURES)
def test_quantized_experts_compute_what_joined_ones_do(family, tmp_path):
    save_mixture(family, tmp_path)
    plain, quantized = load(tmp_path), load(tmp_path, "nf4")
    experts = experts_of(quantized)
    has_dense_layer = family == "ernie4_5_moe" or "first_k_dense_replace" in MIXTURES[family][0]
    assert len(experts) == 4 - has_dense_layer
    assert all(tuple(module.names) == MIXTURES[family][1][1:] for module in experts.values())
    quantize_by_hand(plain, quantized)
    expected, found = (
        LGUDecoder(base, unmasked=(False, True, False, True), dtype="float32")
        for base in (plain, quantized)
    )
    ids, lengths = numpy.arange(3, 23), numpy.array([7, 9, 4])
    options = {"ids": ids, "lengths": lengths, "max_items": 1000}
    assert relative_error(found.predict(**options), expected.predict(**options)) < 1e-5


@needs_5
def test_experts_that_a_file_holds_joined_are_quantized_alike(folder, tmp_path):
    joined = load(folder)
    del joined._weight_conversions  # with which a save would separate them
    tensors = {name: value.contiguous() for name, value in joined.state_dict().items()}
    shutil.copytree(folder, tmp_path / "joined")
    save_file(tensors, tmp_path / "joined" / "model.safetensors", metadata={"format": "pt"})
    expected, found = (
        load(folder, "nf4").state_dict(),
        load(tmp_path / "joined", "nf4").state_dict(),
    )
    assert [n for n, value in expected.items() if not torch.equal(found[n], value)] == []
    assert found["layers.0.mlp.experts.0.up_proj.weight"].dtype == torch.uint8


@needs_5
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral"])
def test_quantized_experts_are_adapted_and_saved(family, quantization, tmp_path):
    save_mixture(family, tmp_path / "x")
    lora = LoraSettings(rank=2, alpha=4, modules="all-linear")
    built = build(tmp_path / "x", quantization=quantization, lora=lora)
    gate = MIXTURES[family][1][1]
    trained = [name for name, _ in built.decoder.trainable()]
    assert f"base.layers.{LAYER}.mlp.experts.3.{gate}.lora_A.default.weight" in trained
    torch.manual_seed(1)
    for _, parameter in built.decoder.trainable():
        parameter.data.normal_(std=0.2)
    save(built, tmp_path / "saved", "bundle")
    shutil.rmtree(tmp_path / "x")
    restored = restore(tmp_path / "saved", built)
    assert torch.equal(vectors(restored), vectors(built))
    stored = load_file(tmp_path / "saved" / "base" / "model.safetensors")
    experts = MIXTURES[family][1][0]
    assert stored[f"layers.{LAYER}.{experts}.3.{gate}.weight"].dtype in (torch.uint8, torch.int8)


@needs_5
def test_experts_that_transformers_left_unquantized_stay_so(folder, tmp_path):
    source = find_source(str(folder))
    kept = load_decoder(
        source,
        read_config(source),
        dtype="float32",
        quantization="nf4",
        device=CPU,
        prefix="model.",
    )
    assert experts_of(kept) == {}
    kept.save_pretrained(tmp_path / "kept")
    make_tokenizer().save_pretrained(tmp_path / "kept")
    again = load(tmp_path / "kept", "nf4")
    assert experts_of(again) == {}
    assert torch.equal(again.layers[0].mlp.experts.down_proj, kept.layers[0].mlp.experts.down_proj)


def quantize_router(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """As transformers 4.53, where routers are linear layers. Returns what its weight becomes."""
    name = f"layers.{LAYER}.mlp.gate.weight"
    state_dict: dict[str, torch.Tensor] = {}
    weight = quantize(tensors[name], compress_statistics=False)
    for key, value in weight.quant_state.as_dict(packed=True).items():
        state_dict[f"{name}.{key}"] = value
    tensors |= {name: weight.data, **state_dict}
    return dequantize(weight)


@needs_5
def test_a_router_that_was_a_linear_layer_is_read_as_what_it_meant(folder, tmp_path):
    save(build(folder, quantization="nf4"), tmp_path / "saved", "bundle")
    base = tmp_path / "saved" / "base"
    tensors = load_file(base / "model.safetensors")
    expected = quantize_router(tensors)
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    found = load(base, "nf4").layers[LAYER].mlp.gate.weight
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@needs_5
def test_a_router_in_8_bits_is_refused(folder, tmp_path):
    save(build(folder, quantization="int8"), tmp_path / "saved", "bundle")
    base = tmp_path / "saved" / "base"
    tensors = load_file(base / "model.safetensors")
    name = f"layers.{LAYER}.mlp.gate"
    tensors[f"{name}.weight"] = tensors[f"{name}.weight"].to(torch.int8)
    tensors |= {f"{name}.SCB": torch.ones(4), f"{name}.weight_format": torch.tensor(0).byte()}
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    message = rf"holds 1 quantized weights, such as {name}\.weight, which are in no linear layers"
    with pytest.raises(ValueError, match=message):
        load(base, "int8")


@needs_5
def test_what_quantization_leaves_is_said_before_loading(tmp_path, caplog, no_weights):
    values = {**SIZES, "num_local_experts": 4, "head_dim": 8, "vocab_size": len(make_tokenizer())}
    values |= {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
    AutoModelForCausalLM.from_config(CONFIG_MAPPING["gpt_oss"](**values)).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING), pytest.raises(AssertionError, match="Weights were load"):
        build(tmp_path, quantization="nf4")
    said = [r.getMessage() for r in caplog.records if "unquantized" in r.getMessage()]
    assert len(said) == 1
    expected = r"quantization = 'nf4' leaves 73% of the weights unquantized: those of the experts"
    assert said[0].startswith(expected)


def test_separate_experts_are_quantized_without_a_word(folder, caplog, no_weights):
    with caplog.at_level(logging.WARNING), pytest.raises(AssertionError, match="Weights were load"):
        build(folder, quantization="nf4")
    assert [r.getMessage() for r in caplog.records if "unquantized" in r.getMessage()] == []
    local = read_decoder(str(folder))
    shape = as_quantized(local, "nf4").shape
    assert shape.n_joined == 0
    assert shape.n_parameters == local.shape.n_parameters
    assert shape.linear["layers.0.mlp.experts.3.up_proj"] == (32, 16)


def test_what_quantization_leaves():
    assert describe_unquantized(0, 100, "nf4") is None
    assert describe_unquantized(50, 100, "none") is None
    text = describe_unquantized(28_000_000_000, 30_000_000_000, "int8")
    assert text.startswith(
        "quantization = 'int8' leaves 93% of the weights unquantized: those of the experts, 56 GB "
        "in half precision."
    )


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_experts_are_quantized_one_by_one(folder, quantization):
    decoder = load(folder, quantization)
    weight = decoder.layers[LAYER].get_submodule("mlp.experts.3.up_proj").weight
    assert weight.dtype == {"nf4": torch.uint8, "int8": torch.int8}[quantization]
    assert measure_shape(read_decoder(str(folder)).config).n_joined == IS_5 * 4 * 4 * 3 * 16 * 32


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("mixtral", (2.0, 2 * 16)),
        ("qwen3_moe", (2.0, 2 * 16)),
        # the first of four layers is dense; one expert is shared
        ("deepseek_v3", (1.5, (48 + 3 * 3 * 16) / 4)),
    ],
)
def test_what_is_computed_for_a_subtoken(family, expected):
    model = make_mixture(family)
    assert count_active(model.config, model.model) == expected


def test_decoders_without_experts():
    config = CONFIG_MAPPING["llama"](**{**SIZES, "vocab_size": 64})
    model = AutoModelForCausalLM.from_config(config)
    assert count_active(config, model.model) == (0.0, 48)
    assert measure_shape(config).n_joined == 0


# Packed batches


def test_rounding_of_experts_is_no_change_of_direction():
    """Of three sequences of four, the last one's fourth position has changed."""
    Y = torch.ones(12, 2)
    Y[8] += 2e-7  # with the experts' batch
    Y[11] += 1
    assert _find_moved(Y[None], 0.0) == [0, 3]
    assert _find_moved(Y[None], 0.0, has_experts=True) == [3]
    Y[9] += 1e-5
    assert _find_moved(Y[None], 0.0, has_experts=True) == [1, 3]


TINY_MIXTURES = [
    Family("mixtral", "mixtral", {"num_local_experts": 4, "sliding_window": None}),
    Family("qwen3_moe", "qwen3_moe", {"num_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}),
]


@pytest.mark.parametrize("family", TINY_MIXTURES, ids=["mixtral", "qwen3_moe"])
@pytest.mark.parametrize("pattern", ["cccc", "bbbb", "ccbb", "cbbc"])
def test_packed_equals_each_sequence_alone_with_gradients(family, pattern):
    packed, eager = make_pair(family)
    lengths, unmasked = [5, 1, 8, 3], tuple(letter == "b" for letter in pattern)
    ids = random_ids(lengths)
    Y = make_lgu(packed, unmasked)(PackedBatch.pack(ids, lengths, device=CPU))
    expected = run_reference(eager, family.windows, ids, lengths, unmasked)
    assert relative_error(Y.detach(), expected.detach()) < 1e-5
    weights = torch.linspace(-1, 1, Y.numel()).reshape(Y.shape)
    for output in (Y, expected):
        (output * weights).sum().backward()
    for (name, p), q in zip(packed.named_parameters(), eager.parameters(), strict=True):
        if q.grad is not None:
            assert relative_error(p.grad, q.grad) < 1e-4, name


@pytest.mark.skipif(not IS_5, reason="transformers 4.53 has one way to compute experts")
def test_experts_are_computed_in_the_one_way_that_is_tested(folder):
    config = json.loads((folder / "config.json").read_text())
    assert "experts_implementation" not in config
    decoder = load(folder)
    assert decoder.config._experts_implementation == "eager"
    # In the dtype of autocast, as every linear layer: full tuning in bfloat16 relies on it.
    X = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))
    experts, chosen = decoder.layers[LAYER].mlp.experts, torch.tensor([[0, 3]] * 6)
    weights = torch.full((6, 2), 0.5)
    with torch.no_grad():
        plain = experts(X, chosen, weights)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = experts(X, chosen, weights)
    assert 1e-4 < relative_error(rounded, plain) < 2e-2
