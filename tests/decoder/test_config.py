"""config.json as data: errors name file and field, and no other file is looked for."""

import json
import shutil

import pytest
import torch

from spacy_lgu.decoder.config import make_config

from .helpers import build, edit_json, vectors


@pytest.fixture
def edited(decoder_folder, tmp_path):
    """A decoder's folder, and a function that changes a JSON file in it."""
    folder = shutil.copytree(decoder_folder, tmp_path / "decoder")

    def edit(name, **values):
        edit_json(folder / name, **values)

    return folder, edit


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": None}, "expected a string in 'model_type', but found null"),
        ({"model_type": ["llama"]}, r"expected a string in 'model_type', but found \[\"llama\"\]"),
        ({"model_type": "nix"}, "transformers has no model_type 'nix'"),
        ({"hidden_size": "64"}, "expected a number above 0 in 'hidden_size', but found '64'"),
        ({"max_position_embeddings": []}, r"above 0 in 'max_position_embeddings', but found \[\]"),
        ({"rms_norm_eps": True}, "above 0 or null in 'rms_norm_eps', but found true"),
        ({"rope_scaling": 5}, "expected an object or null in 'rope_scaling', but found 5"),
        ({"rope_parameters": 5}, "object or null in 'rope_parameters', but found 5"),
        ({"quantization_config": {}}, "'quantization_config' is empty: expected a quant_method"),
        ({"attention_dropout": 2}, "from 0 to below 1 in 'attention_dropout', but found 2"),
        ({"attention_dropout": "x"}, "from 0 to below 1 in 'attention_dropout', but found 'x'"),
        ({"architectures": [5]}, r"expected a list of strings in 'architectures', but found \[5\]"),
        ({"num_hidden_layers": 10**9}, "'num_hidden_layers' is 1000000000, over 1,000"),
        ({"hidden_act": "nix"}, "cannot build a decoder from it .KeyError: 'nix'"),
        ({"max_position_embeddings": None}, "above 0 in 'max_position_embeddings', but found null"),
        ({"num_attention_heads": 0}, "above 0 in 'num_attention_heads', but found 0"),
        ({"hidden_size": -64}, "above 0 in 'hidden_size', but found -64"),
        ({"vocab_size": 10**400}, r"above 0 in 'vocab_size', but found 100.*\.\.\."),
        ({"intermediate_size": "96"}, "transformers cannot (read|build).*(TypeError|Strict)"),
        ({"pad_token_id": 10**6}, "cannot build a decoder from it .AssertionError"),
    ],
)
def test_values_that_are_wrong(edited, values, message):
    folder, edit = edited
    edit("config.json", **values)
    with pytest.raises(ValueError, match=rf"config\.json'.*{message}"):
        build(folder)


@pytest.mark.parametrize("cap", [0.0, -1.0, "50", False])
def test_soft_caps_that_are_none(edited, cap):
    folder, edit = edited
    edit("config.json", model_type="gemma2", attn_logit_softcapping=cap)
    with pytest.raises(ValueError, match="above 0 or null in 'attn_logit_softcapping', but f"):
        make_config(folder / "config.json")


@pytest.mark.parametrize("window", [0, -1])
def test_windows_in_which_nothing_is_seen(edited, window):
    folder, edit = edited
    edit("config.json", model_type="mistral", sliding_window=window)
    with pytest.raises(ValueError, match="above 0 or null in 'sliding_window', but found"):
        make_config(folder / "config.json")
    edit("config.json", model_type="qwen2", sliding_window=window, use_sliding_window=False)
    assert not make_config(folder / "config.json").sliding_window


@pytest.mark.parametrize(("groups", "chosen"), [(0, 1), (-1, 1), (3, 1), (8, 1), (2, 0), (2, 3)])
def test_groups_of_experts_that_there_are_not(edited, groups, chosen):
    folder, edit = edited
    experts = {"n_routed_experts": 4, "num_experts_per_tok": 2}
    edit("config.json", model_type="deepseek_v3", n_group=groups, topk_group=chosen, **experts)
    message = rf"4 experts cannot be in {groups} groups .'n_group'. of which {chosen} .'topk_group'"
    with pytest.raises(ValueError, match=message):
        make_config(folder / "config.json")
    edit("config.json", n_group=2, topk_group=1)
    assert make_config(folder / "config.json").n_group == 2


@pytest.mark.parametrize("chosen", [-1, 0, 5])
@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("qwen3_moe", "num_experts"),
        ("mixtral", "num_local_experts"),
        ("deepseek_v3", "n_routed_experts"),
    ],
)
def test_experts_that_there_are_not(edited, family, name, chosen):
    folder, edit = edited
    groups = {"n_group": 2, "topk_group": 1} if family == "deepseek_v3" else {}
    edit("config.json", model_type=family, num_experts_per_tok=chosen, **{name: 4}, **groups)
    message = rf"config\.json' is damaged: 'num_experts_per_tok' is {chosen}, but .* have 4 experts"
    with pytest.raises(ValueError, match=message):
        make_config(folder / "config.json")
    edit("config.json", num_experts_per_tok=4)
    assert make_config(folder / "config.json").num_experts_per_tok == 4


@pytest.mark.parametrize(
    "values",
    [
        {"transformers_weights": "OTHER/model.safetensors"},
        {"configuration_files": ["../other/config.4.0.0.json"]},
    ],
)
def test_config_that_names_other_files(edited, other_decoder_folder, values):
    folder, edit = edited
    values = json.loads(json.dumps(values).replace("OTHER", str(other_decoder_folder)))
    edit("config.json", **values)
    with pytest.raises(ValueError, match=rf"config\.json': {next(iter(values))} is .* beside it"):
        build(folder)
    with pytest.raises(ValueError, match="Put the right ones there"):
        make_config(folder / "config.json")


@pytest.mark.parametrize(
    "values",
    [
        {"tokenizer_file": "OTHER/tokenizer.json"},
        {"tokenizer_file": "tokenizer.json"},  # in the working directory
        {"fast_tokenizer_files": ["../other/tokenizer.4.0.json"]},
        {"fast_tokenizer_files": ["https://localhost/tokenizer.4.0.json"]},
    ],
)
def test_tokenizer_that_names_other_files(edited, other_decoder_folder, values):
    folder, edit = edited
    values = json.loads(json.dumps(values).replace("OTHER", str(other_decoder_folder)))
    edit("tokenizer_config.json", **values)
    message = (
        rf"tokenizer_config\.json': {next(iter(values))} is .* from the tokenizer\.json beside"
    )
    with pytest.raises(ValueError, match=message):
        build(folder)


@pytest.mark.parametrize(
    "values", [{"tokenizer_class": 5}, {"added_tokens_decoder": {"1": {"content": []}}}]
)
def test_tokenizer_settings_that_are_wrong(edited, values):
    folder, edit = edited
    edit("tokenizer_config.json", **values)
    with pytest.raises(ValueError, match=r"The tokenizer of .* cannot be read: .*r_config\.json"):
        build(folder)


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("where", [None, "text_config"])
def test_kernels_are_not_for_a_config_to_choose(edited, decoder_folder, name, where, monkeypatch):
    """transformers would fetch such a one from the hub, and run it."""
    folder, edit = edited
    chosen = {name: "evil/kernel:run"}
    edit("config.json", **(chosen if where is None else {where: chosen}))
    config = make_config(folder / "config.json")
    assert "evil" not in str(vars(config))
    if where is None:
        assert torch.equal(vectors(build(folder)), vectors(build(decoder_folder)))


@pytest.mark.parametrize("values", [{"return_dict": False}, {"torchscript": True}, {"x": [1]}])
def test_values_without_effect(edited, decoder_folder, values):
    folder, edit = edited
    edit("config.json", **values)
    assert torch.equal(vectors(build(folder)), vectors(build(decoder_folder)))
