"""LoRA on weights that hold one matrix per expert."""

import copy
import json
from concurrent.futures import ThreadPoolExecutor

import peft
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, AutoModel

from spacy_lgu.decoder import adapter_layers
from spacy_lgu.decoder.adapter import (
    LoraTargets,
    add_adapter,
    check_adapter,
    find_lora_modules,
    find_targets,
    load_adapter,
    save_adapter,
)
from spacy_lgu.decoder.adapter_config import BaseReference
from spacy_lgu.decoder.adapter_parameters import (
    brief_names,
    expert_parameters,
    find_lora_parameters,
    peft_layers,
)
from spacy_lgu.decoder.adapter_weights import linear_layers
from spacy_lgu.decoder.attention import ATTENTION, register_attention
from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.decoder.self_test import check_decoder
from spacy_lgu.decoder.settings import LoraSettings
from spacy_lgu.decoder.versions import TRANSFORMERS

from .helpers import edit_json

BASE = BaseReference("", None)
GATE_UP, DOWN = "feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"
IDS = torch.tensor([[5, 9, 2, 7, 3, 11]])
# Families whose experts are parameters in both versions of transformers, or linear modules in one.
SIZES = {
    "vocab_size": 16,
    "hidden_size": 8,
    "intermediate_size": 12,
    "intermediate_size_mlp": 12,
    "moe_intermediate_size": 12,
    "shared_expert_intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "num_local_experts": 3,
    "num_experts": 3,
    "num_experts_per_tok": 2,
    "initializer_range": 0.2,
    "pad_token_id": None,
    "bos_token_id": 0,
    "eos_token_id": 1,
}


def make_config(family="llama4_text", **values):
    return CONFIG_MAPPING[family](**{**SIZES, **values})


def make_model(family="llama4_text", **options):
    torch.manual_seed(0)
    model = AutoModel.from_config(make_config(family), **options).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "experts" in name:  # which some families leave empty
            parameter.data = 0.2 * torch.randn(parameter.shape)
    return model


def settings(*parameters, **values):
    return LoraSettings(**{"rank": 2, "alpha": 4, "dropout": 0, "parameters": parameters, **values})


def adapt(model, lora):
    """Put an adapter on a model, and change it as training would."""
    adapted = add_adapter(model, lora, targets=find_targets(lora, model.config), base=BASE)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.3 * torch.randn(parameter.shape)
    return adapted


def compute(model):
    return model(input_ids=IDS, use_cache=False).last_hidden_state[0]


class Experts(torch.nn.Module):
    """Two experts of a matrix each, which take turns."""

    def __init__(self, weight):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.tensor([100.0, 200.0]))
        self.down_proj = torch.nn.Parameter(torch.tensor(weight))

    def forward(self, x, index):
        return torch.stack(
            [self.down_proj[i] @ one + self.bias for i, one in zip(index, x, strict=True)]
        )


class Router(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.experts = Experts(weight)
        self.requires_grad_(False)


WEIGHT = [[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[2.0, 0.0, 0.0], [0.0, 0.0, 2.0]]]
X, INDEX = [[1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]], [0, 1, 1]


def test_experts_by_hand():
    module = Router(WEIGHT)
    lora = LoraSettings(rank=1, alpha=4, dropout=0, modules=[], parameters=["down_proj"])
    add_adapter(module, lora, targets=LoraTargets([], ["down_proj"]), base=BASE)
    layer = module.experts
    A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    A.data = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])  # of the first expert, of the second
    B.data = torch.tensor([[1.0, 0.0], [0.0, -1.0]])  # their columns
    x = torch.tensor(X, requires_grad=True)
    Y = module.experts(x, INDEX)
    # The scale is 4: the first becomes [[5, 0, 4], [0, 1, 0]], the second [[2, 0, 0], [0, -4, 2]].
    assert_allclose(Y.detach(), [[117, 202], [102, 198], [100, 202]])
    Y.backward(torch.ones_like(Y))
    assert_allclose(x.grad, [[5, 1, 4], [2, -4, 2], [2, -4, 2]])
    # d(1 B A x): B^T (1, 1) x for the rows of each expert, times the scale.
    assert_allclose(A.grad, [[4, 8, 12], [-4, -4, -8]])
    assert_allclose(B.grad, [[16, 4], [16, 4]])  # A x is 4 for the first, 1 and 0 for the second
    assert (module.experts.base_layer.down_proj == torch.tensor(WEIGHT)).all()


def test_which_parameters_a_decoder_has():
    parameters = expert_parameters(make_model())
    assert list(parameters) == [f"layers.{i}.{name}" for i in (0, 1) for name in (GATE_UP, DOWN)]
    assert parameters[f"layers.0.{DOWN}"].n_experts == 3
    transposed = Router(WEIGHT)
    assert expert_parameters(transposed) == {"experts.down_proj": (2, 3, 2)}
    transposed.experts.is_transposed = True
    assert expert_parameters(transposed) == {"experts.down_proj": (2, 2, 3)}


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (["down_proj"], [DOWN]),
        (["experts.gate_up_proj", DOWN], [DOWN, GATE_UP]),
        ([f"layers.1.{DOWN}"], [f"layers.1.{DOWN}"]),
        ([f"layers.1.{DOWN}", f"layers.0.{DOWN}"], [DOWN]),
        ([], []),
    ],
)
def test_names_in_settings(wanted, names):
    assert find_lora_parameters(settings(*wanted), make_config()) == names


def test_unknown_names():
    message = (
        r"LoRA parameters 'experts.gate_proj' do not exist in decoders of the family "
        rf"'llama4_text'. .* per expert: {DOWN}, {GATE_UP}.( Did you mean .*)? Linear modules are"
    )
    with pytest.raises(ValueError, match=message):
        find_lora_parameters(settings("experts.gate_proj"), make_config())
    with pytest.raises(ValueError, match=rf"Did you mean '{DOWN}'\?"):
        find_lora_parameters(settings("feed_forward.experts.down"), make_config())
    # A linear module's weight is none of them.
    with pytest.raises(ValueError, match=r"'q_proj.weight' do not exist"):
        find_lora_parameters(settings("q_proj.weight"), make_config())
    with pytest.raises(ValueError, match=r"'llama' have no weights with one matrix per expert"):
        find_lora_parameters(settings("down_proj"), make_config("llama"))


def test_brief_names():
    available = ["layers.0.a.w", "layers.1.a.w", "layers.1.b.w"]
    assert brief_names(available, available) == ["a.w", "b.w"]
    assert brief_names(available[1:], available) == ["b.w", "layers.1.a.w"]


def test_layers_are_nested_in_the_order_of_the_parameters():
    assert peft_layers(["x.a", "x.b", "y.a", "x.c"]) == {
        "x.a": "x.base_layer.base_layer",
        "x.b": "x.base_layer",
        "x.c": "x",
        "y.a": "y",
    }


@pytest.mark.parametrize("parameters", [(GATE_UP, DOWN), (DOWN,), (f"layers.1.{GATE_UP}",)])
@pytest.mark.parametrize("modules", [[], ["q_proj"]])
@pytest.mark.parametrize("variant", ["lora", "rslora"])
def test_a_decoder_with_the_update_in_its_weights(parameters, modules, variant):
    model, merged = make_model(), make_model()
    plain = compute(model)
    adapt(model, settings(*parameters, modules=modules, variant=variant))
    scale = 4 / (2**0.5 if variant == "rslora" else 2)
    adapted = dict(model.named_modules())
    for name, layer in peft_layers(
        n for n in expert_parameters(merged) if any(n.endswith(p) for p in parameters)
    ).items():
        owner, parameter = merged.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
        A, B = (getattr(adapted[layer], f"lora_{x}")["default"].weight.detach() for x in "AB")
        A, B = A.reshape(3, 2, -1), B.reshape(len(B), 2, 3).permute(2, 0, 1)
        getattr(owner, parameter).data += scale * B @ A
    for i in (0, 1) if modules else ():
        layer = model.layers[i].self_attn.q_proj
        A, B = (getattr(layer, f"lora_{x}")["default"].weight.detach() for x in "AB")
        merged.layers[i].self_attn.q_proj.weight.data += scale * B @ A
    assert not torch.allclose(compute(model), plain, atol=1e-2)
    torch.testing.assert_close(compute(model), compute(merged), atol=1e-5, rtol=1e-5)


def test_only_the_adapter_is_trained():
    model = make_model()
    adapt(model, settings(GATE_UP, DOWN, modules=[]))
    compute(model).sum().backward()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 2 * 2
    assert all("lora_" in name for name in trained)
    assert all(model.get_parameter(name).grad.abs().max() > 0 for name in trained)


@pytest.mark.parametrize("modules", [[], ["q_proj", "v_proj"]])
def test_saved_loaded_and_by_peft_alone(tmp_path, modules):
    model = make_model()
    adapted = adapt(model, settings(GATE_UP, DOWN, modules=modules))
    save_adapter(adapted, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert sorted(config["target_parameters"]) == [DOWN, GATE_UP]
    check_adapter(tmp_path, decoder=make_config())
    loaded = make_model()
    load_adapter(loaded, tmp_path, trainable=True)
    assert torch.equal(compute(loaded), compute(model))
    by_peft = peft.PeftModel.from_pretrained(make_model(), tmp_path).eval()
    torch.testing.assert_close(compute(by_peft), compute(model), atol=1e-6, rtol=1e-5)
    # Training goes on as it would have.
    for one in (model, loaded):
        compute(one).sum().backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert trained.keys() == {name for name, p in loaded.named_parameters() if p.requires_grad}
    for name, gradient in trained.items():
        torch.testing.assert_close(loaded.get_parameter(name).grad, gradient)


def test_an_adapter_that_peft_made_on_a_model_with_lm_head(tmp_path):
    inside = torch.nn.Module()
    inside.model, inside.config = make_model(), make_config()
    options = {"target_modules": ["q_proj"], "target_parameters": ["experts.gate_up_proj"]}
    other = peft.LoraConfig(r=2, lora_alpha=6, init_lora_weights=False, **options)
    peft.get_peft_model(inside, other).save_pretrained(tmp_path)
    loaded = make_model()
    load_adapter(loaded, tmp_path, trainable=False)
    torch.testing.assert_close(compute(loaded), compute(inside.model), atol=1e-6, rtol=1e-5)
    assert list(loaded.peft_config["default"].target_parameters) == [GATE_UP]


A_NAME = f"base_model.model.layers.0.{DOWN.rpartition('.')[0]}.lora_A.weight"


@pytest.mark.parametrize(
    ("values", "weight", "message"),
    [
        ({"target_parameters": [GATE_UP]}, None, r"2 of its modules, such as 'layers\.0\.feed_for"),
        ({"target_parameters": ["nothing"]}, None, r"4 of its modules, such as 'layers\.0\.feed"),
        ({"r": 4, "lora_alpha": 4}, None, r"have 6 rows, but rank 4 for 3 experts makes 12"),
        ({}, torch.zeros(6, 5), r"experts' are for 5 input and \d+ output values, but that module"),
    ],
)
def test_adapters_that_do_not_fit(tmp_path, values, weight, message):
    save_adapter(adapt(make_model(), settings(GATE_UP, DOWN, modules=[])), tmp_path)
    edit_json(tmp_path / "adapter_config.json", **values)
    file = tmp_path / "adapter_model.safetensors"
    if weight is not None:
        save_file({**load_file(file), A_NAME: weight}, file)
    with pytest.raises(ValueError, match=message):
        check_adapter(tmp_path, decoder=make_config())


def test_threads_do_not_see_each_other():
    model = make_model()
    adapt(model, settings(GATE_UP, DOWN, modules=[]))
    with torch.no_grad():
        expected = compute(model)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: copy.copy(compute(model)), range(64)))
    assert all(torch.equal(one, expected) for one in found)


def test_copies_have_adapters_of_their_own():
    model = make_model()
    adapt(model, settings(GATE_UP, DOWN, modules=[]))
    before = compute(model)
    copied = copy.deepcopy(model)
    for name, parameter in copied.named_parameters():
        if "lora_B" in name:
            parameter.data += 0.1
    assert torch.equal(compute(model), before)
    assert not torch.allclose(compute(copied), before)


def test_quantized_experts():
    model = make_model()
    for layer in model.layers:
        experts = layer.feed_forward.experts
        # As bitsandbytes packs two weights in a byte.
        packed = torch.zeros(experts.down_proj.numel() // 2, 1, dtype=torch.uint8)
        experts.down_proj = torch.nn.Parameter(packed, requires_grad=False)
    with pytest.raises(ValueError, match=rf"'{DOWN}' are quantized in this decoder, .* = 'none'"):
        adapt(model, settings(DOWN, modules=[]))


def test_an_older_peft(monkeypatch):
    monkeypatch.setattr(adapter_layers, "version", lambda _: "0.15.2")
    message = rf"\['{DOWN}'\] need peft>=0.21, but 0.15.2 is installed: pip install --upgrade"
    with pytest.raises(ValueError, match=message):
        adapt(make_model(), settings(DOWN, modules=[]))


@pytest.mark.parametrize("family", ["qwen2_moe", "qwen3_moe", "deepseek_v3", "mixtral"])
def test_all_linear_modules_are_those_that_the_decoder_has(family):
    """PEFT would take gate_proj and down_proj for experts under transformers 5."""
    sizes = {"n_routed_experts": 3, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1}
    config = make_config(family, **(sizes if family == "deepseek_v3" else {}))
    model = AutoModel.from_config(config)
    linear = set(linear_layers(model))
    lora = LoraSettings(rank=2, modules="all-linear")
    adapted = add_adapter(model, lora, targets=find_targets(lora, config), base=BASE)
    assert {n for n, m in model.named_modules() if hasattr(m, "lora_A")} == linear
    assert not adapted.peft_config["default"].target_parameters
    assert find_lora_modules(lora, config) == sorted({n.rpartition(".")[2] for n in linear})


@pytest.mark.parametrize(
    ("family", "values", "warns"),
    [
        ("llama4_text", {"modules": "all-linear"}, True),
        ("llama4_text", {"modules": "all-linear", "parameters": [DOWN], "dropout": 0}, False),
        ("llama4_text", {"modules": "attention"}, False),
        ("llama", {"modules": "all-linear"}, False),
    ],
)
def test_experts_beside_all_linear_modules_are_named(caplog, family, values, warns):
    find_targets(LoraSettings(**values), make_config(family))
    message = f'To adapt them: lora.parameters = ["{DOWN}", "{GATE_UP}"], lora.dropout = 0.0'
    assert (message in caplog.text) == warns


def test_a_decoder_proves_its_adapter():
    register_attention()
    model = make_model("qwen3_moe", attn_implementation=ATTENTION)
    names = [name.partition(".0.")[2] for name in expert_parameters(model) if ".0." in name]
    assert bool(names) == (int(TRANSFORMERS.split(".")[0]) >= 5)
    # Under transformers 4 each expert is a module, and three short texts do not reach all of them.
    lora = settings(*names, modules="all-linear")
    adapted = adapt(model, lora)
    decoder = LGUDecoder(model, unmasked=(False, True), dtype="float32", adapter=adapted).eval()
    check_decoder(decoder)
    if not names:
        layer = model.layers[1].self_attn.q_proj
        layer.forward = layer.base_layer.forward
    else:
        experts = model.layers[1].mlp.experts
        # As if the block did not call the module that it has.
        object.__setattr__(model.layers[1].mlp, "experts", experts.get_base_layer())
    with pytest.raises(ValueError, match=rf"not applied in {len(names) or 1} of \d+ modules, such"):
        check_decoder(decoder)


def test_experts_whose_adapter_is_off():
    model = make_model()
    plain = compute(model)
    adapted = adapt(model, settings(GATE_UP, DOWN, modules=[]))
    adapted.base_model.disable_adapter_layers()
    assert torch.equal(compute(model), plain)
