import json
import shutil
import socket
import subprocess
import sys

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM

from spacy_lgu.decoder import adapter
from spacy_lgu.decoder.adapter import (
    check_adapter,
    find_lora_modules,
    linear_modules,
    load_adapter,
    save_adapter,
)
from spacy_lgu.decoder.attention import ATTENTION
from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.decoder.settings import LoraSettings
from spacy_lgu.decoder.storage import save_decoder
from spacy_lgu.unmasking import parse_pattern

from .helpers import BATCH, build, build_unshaken, gradients, load_on, vectors
from .reference import BY_NAME


@pytest.mark.parametrize(
    ("name", "attention", "linear"),
    [
        (
            "mistral",
            ["q_proj", "v_proj"],
            ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"],
        ),
        ("phi3", ["qkv_proj"], ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"]),
        (
            "gpt_neox",
            ["query_key_value"],
            ["dense", "dense_4h_to_h", "dense_h_to_4h", "query_key_value"],
        ),
        (
            "deepseek_v3",
            ["q_b_proj", "kv_b_proj"],
            [
                "down_proj",
                "gate_proj",
                "kv_a_proj_with_mqa",
                "kv_b_proj",
                "o_proj",
                "q_a_proj",
                "q_b_proj",
                "up_proj",
            ],
        ),
    ],
)
def test_modules_by_family(name, attention, linear):
    config = BY_NAME[name].config()
    assert linear_modules(config) == linear
    assert find_lora_modules(LoraSettings(), config) == attention
    assert find_lora_modules(LoraSettings(modules="all-linear"), config) == linear
    chosen = LoraSettings(modules=(linear[0],))
    assert find_lora_modules(chosen, config) == [linear[0]]


def test_unknown_modules_are_listed_with_the_existing_ones():
    message = (
        r"LoRA modules \['qkv'\] do not exist in decoders of the family 'mistral'. Its linear "
        "modules: down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    )
    with pytest.raises(ValueError, match=message):
        find_lora_modules(LoraSettings(modules=("q_proj", "qkv")), BY_NAME["mistral"].config())


def test_new_adapter_is_float32_on_any_base_and_changes_nothing(decoder_folder):
    frozen = build(decoder_folder, dtype="bfloat16", tuning="frozen")
    adapted = build(decoder_folder, dtype="bfloat16")
    with torch.no_grad():
        for name, parameter in adapted.decoder.trainable():
            assert parameter.dtype == torch.float32
            if "lora_B" in name:
                parameter.zero_()
    torch.testing.assert_close(vectors(adapted), vectors(frozen), atol=0.1, rtol=0.1)
    assert len(adapted.decoder.trainable()) == 4 * 2 * 2


def test_folder_is_pefts_own(trained, adapter_folder):
    assert sorted(file.name for file in adapter_folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((adapter_folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == trained.base.name
    assert config["task_type"] == "FEATURE_EXTRACTION"
    assert sorted(config["target_modules"]) == ["q_proj", "v_proj"]


def test_peft_alone_loads_it(trained, adapter_folder, decoder_folder):
    base = AutoModel.from_pretrained(decoder_folder, attn_implementation=ATTENTION)
    model = peft.PeftModel.from_pretrained(base, adapter_folder).eval()
    with torch.no_grad():
        Y = model(
            input_ids=BATCH.ids,
            position_ids=BATCH.positions,
            use_cache=False,
            packed=BATCH,
            unmasked=parse_pattern("ccbb"),
        ).last_hidden_state[0]
    # Some CPUs have a faster way for our products, which sums in another order.
    torch.testing.assert_close(Y, vectors(trained), atol=2e-6, rtol=1e-5)


def test_saving_needs_no_network(trained, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("The network was asked.")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    save_adapter(trained.decoder.adapter, tmp_path / "adapter")
    check_adapter(tmp_path / "adapter")


def test_training_continues_a_saved_adapter(trained, adapter_folder, decoder_folder):
    lora = LoraSettings(rank=7, dropout=0.0, path=str(adapter_folder))
    plain = build(decoder_folder, tuning="frozen")
    continued = build_unshaken(decoder_folder, lora=lora)
    assert torch.equal(vectors(continued), vectors(trained))
    assert not torch.equal(vectors(plain), vectors(trained))
    names = [name for name, _ in continued.decoder.trainable()]
    assert names == [name for name, _ in trained.decoder.trainable()]
    assert list(continued.decoder.adapter.peft_config) == ["default"]
    assert not any(
        isinstance(getattr(module, "base_layer", None), peft.tuners.lora.LoraLayer)
        for module in continued.decoder.modules()
    )
    expected = gradients(trained.decoder)
    for name, gradient in gradients(continued.decoder).items():
        assert torch.equal(gradient, expected[name])


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_missing_files(adapter_folder, name):
    (adapter_folder / name).unlink()
    with pytest.raises(ValueError, match=f"There is no adapter in .*: {name} is missing"):
        check_adapter(adapter_folder)


@pytest.mark.parametrize("change", ["inactive", "disabled", "scaled", "elsewhere"])
def test_an_adapter_that_peft_does_not_apply(adapter_folder, decoder_folder, monkeypatch, change):
    put_on = adapter.put_on

    def put_on_otherwise(module, base, **options):
        if change == "elsewhere":
            options["target_modules"] = ["q_proj"]
        model = put_on(module, base, **options)
        layer = module.layers[0].self_attn.q_proj
        if change == "inactive":
            layer.set_adapter([])
        elif change == "disabled":
            layer.enable_adapters(False)
        elif change == "scaled":
            layer.scale_layer(0.5)
        return model

    monkeypatch.setattr(adapter, "put_on", put_on_otherwise)
    with pytest.raises(RuntimeError, match=r"PEFT .* did not apply the adapter in '.*adapter'"):
        load_on(decoder_folder, adapter_folder)


# What other programs save. PEFT warns of the settings it was given, in its own code.

FEATURES = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "dora and rslora": {"use_dora": True, "use_rslora": True, "lora_alpha": 2},
    "ranks": {"rank_pattern": {"q_proj": 4, "layers.1.self_attn.v_proj": 3}},
    "alphas": {"alpha_pattern": {"model.layers.2.self_attn.q_proj": 2, "v_proj": 32}},
    "layers": {"layers_to_transform": [0, 2]},
    "excluded": {"exclude_modules": ["model.layers.0.self_attn.q_proj"]},
    "all-linear": {"target_modules": "all-linear"},
    "gaussian": {"init_lora_weights": "gaussian"},
}


def train_causal(folder, path, *, dtype=torch.float32, save=None, **options):
    """An adapter of a decoder with LM head, as PEFT alone makes it. RETURNS: Vectors."""
    torch.manual_seed(0)
    decoder = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=ATTENTION)
    options = {"target_modules": ["q_proj", "v_proj"], **options}
    options = {"lora_alpha": 8, **options}
    config = peft.LoraConfig(r=2, task_type="CAUSAL_LM", **options)
    model = peft.get_peft_model(decoder, config).eval()
    if save is not None:
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(save, save_embedding_layers=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter += 0.1 * torch.randn(parameter.shape)
                parameter.data = parameter.to(dtype).float()
        Y = decoder.model(
            input_ids=BATCH.ids,
            position_ids=BATCH.positions,
            use_cache=False,
            packed=BATCH,
            unmasked=parse_pattern("ccbb"),
        ).last_hidden_state[0]
    more = {} if save is None else {"path_initial_model_for_weight_conversion": str(save)}
    model.save_pretrained(path, save_embedding_layers=False, **more)
    return Y


@pytest.mark.usefixtures("torchs_products")
@pytest.mark.parametrize("feature", FEATURES)
def test_adapters_of_decoders_with_lm_head(decoder_folder, tmp_path, feature):
    expected = train_causal(decoder_folder, tmp_path / "adapter", **FEATURES[feature])
    loaded = build_unshaken(decoder_folder, lora=LoraSettings(path=str(tmp_path / "adapter")))
    # DoRA is computed otherwise than in PEFT.
    exact = {"rtol": 1e-5, "atol": 1e-5} if "dora" in feature else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(vectors(loaded), expected, **exact)
    # Saved again, the names are those of the decoder without LM head.
    save_adapter(loaded.decoder.adapter, tmp_path / "again")
    again = build_unshaken(decoder_folder, lora=LoraSettings(path=str(tmp_path / "again")))
    assert torch.equal(vectors(again), vectors(loaded))
    base = AutoModel.from_pretrained(decoder_folder, attn_implementation=ATTENTION)
    by_peft = peft.PeftModel.from_pretrained(base, tmp_path / "again")
    Y = LGUDecoder(base, unmasked=again.decoder.unmasked, dtype="float32", adapter=by_peft)(BATCH)
    torch.testing.assert_close(vectors(again), Y.detach(), **exact)


@pytest.mark.parametrize(
    ("feature", "modules"),
    [
        ("plain", ["q_proj", "v_proj"]),
        (
            "layers",
            [f"layers.{i}.self_attn.{name}" for i in (0, 2) for name in ("q_proj", "v_proj")],
        ),
    ],
)
def test_modules_are_named_as_briefly_as_can_be(decoder_folder, tmp_path, feature, modules):
    train_causal(decoder_folder, tmp_path, **FEATURES[feature])
    config = load_on(decoder_folder, tmp_path).peft_config["default"]
    assert sorted(config.target_modules) == modules


@pytest.mark.parametrize("family", ["mistral", "phi3", "gpt_neox", "gemma3"])
def test_adapters_of_families_with_lm_head(tmp_path, family):
    config = BY_NAME[family].config()
    model = AutoModelForCausalLM.from_config(config)
    options = {"target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, **options))
    adapted.save_pretrained(tmp_path, save_embedding_layers=False)
    check_adapter(tmp_path, decoder=config)
    loaded = load_adapter(AutoModel.from_config(config), tmp_path, trainable=False)
    n_linear = sum(name.endswith("lora_A") for name, _ in adapted.named_modules())
    assert sum(name.endswith("lora_A") for name, _ in loaded.named_modules()) == n_linear > 0
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.usefixtures("torchs_products")
def test_weights_in_half_precision(decoder_folder, tmp_path):
    expected = train_causal(decoder_folder, tmp_path, dtype=torch.bfloat16)
    file = tmp_path / "adapter_model.safetensors"
    save_file({n: w.bfloat16() for n, w in load_file(file).items()}, file)
    loaded = build_unshaken(decoder_folder, lora=LoraSettings(path=str(tmp_path)))
    assert torch.equal(vectors(loaded), expected)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_an_adapter_that_changed_its_base_is_converted(decoder_folder, tmp_path, start):
    folder = tmp_path / "converted"
    expected = train_causal(
        decoder_folder, folder, save=tmp_path / "before", init_lora_weights=start
    )
    loaded = build_unshaken(decoder_folder, lora=LoraSettings(path=str(folder)))
    torch.testing.assert_close(vectors(loaded), expected, atol=1e-4, rtol=1e-4)


def test_an_adapter_of_the_lm_head(decoder_folder, tmp_path):
    train_causal(decoder_folder, tmp_path, target_modules=["q_proj", "lm_head"])
    with pytest.raises(ValueError, match=r"1 of its modules, such as 'lm_head', .*without LM head"):
        build_unshaken(decoder_folder, lora=LoraSettings(path=str(tmp_path)))


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_loading_an_adapter_leaves_the_base_as_it_is(decoder_folder, tmp_path, quantization):
    frozen = build(decoder_folder, tuning="frozen", quantization=quantization)
    tensors = dict(frozen.decoder.base.state_dict())
    before = {name: value.clone() for name, value in tensors.items() if torch.is_tensor(value)}
    expected = vectors(frozen)
    for feature in FEATURES:
        train_causal(decoder_folder, tmp_path / feature, **FEATURES[feature])
        lora = LoraSettings(path=str(tmp_path / feature))
        adapted = build_unshaken(decoder_folder, lora=lora, quantization=quantization)
        assert adapted.shared is frozen.shared
        assert not torch.equal(vectors(adapted), expected)
    assert all(torch.equal(tensors[name], value) for name, value in before.items())
    assert torch.equal(vectors(frozen), expected)


def test_a_new_process_has_the_same_vectors(decoder_folder, tmp_path):
    expected = {}
    for feature in FEATURES:
        train_causal(decoder_folder, tmp_path / feature, **FEATURES[feature])
        lora = LoraSettings(path=str(tmp_path / feature))
        for quantization in ("none", "nf4"):
            built = build_unshaken(decoder_folder, lora=lora, quantization=quantization)
            folder = tmp_path / "saved" / f"{feature}.{quantization}"
            folder.mkdir(parents=True)
            save_decoder(built, folder, base_weights="bundle")
            expected[folder.name] = vectors(built)
        shutil.rmtree(tmp_path / feature)
    code = """
import sys
from pathlib import Path
from safetensors.torch import save_file
from spacy_lgu.decoder.restoring import load_decoder_folder
from tests.decoder.helpers import CPU, make_settings, vectors

found = {}
for folder in (Path(sys.argv[1]) / "saved").iterdir():
    settings = make_settings("nowhere", quantization=folder.suffix[1:])
    found[folder.name] = vectors(load_decoder_folder(folder, settings, device=CPU))
save_file(found, Path(sys.argv[1]) / "found")
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    found = load_file(tmp_path / "found")
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.equal(found[name], values), name


def test_adapter_is_copied_not_moved(adapter_folder, decoder_folder, tmp_path):
    shutil.copytree(adapter_folder, tmp_path / "copy")
    load_on(decoder_folder, tmp_path / "copy")
    assert (adapter_folder / "adapter_model.safetensors").read_bytes() == (
        tmp_path / "copy" / "adapter_model.safetensors"
    ).read_bytes()
