import json

import peft
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_lgu.decoder.adapter_config import BaseReference, read_adapter_config

from .helpers import edit_json

QUERY = "model.layers.1.self_attn.q_proj"


def write(folder, **values):
    """An adapter's config as PEFT writes it, but for these values."""
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"
    )
    config.save_pretrained(str(folder))
    file = folder / "adapter_config.json"
    edit_json(file, **values)
    return folder


def read(folder, **values):
    return read_adapter_config(write(folder, **values))


def test_all_that_peft_writes_of_a_plain_adapter(tmp_path):
    config = read(tmp_path, base_model_name_or_path="org/tiny", revision="abc")
    assert config.base == BaseReference("org/tiny", "abc")
    assert (config.rank, config.alpha, config.dropout, config.rslora) == (4, 8, 0.0, False)
    assert sorted(config.modules) == ["q_proj", "v_proj"]
    assert (config.excluded, config.layers, config.layer_lists) == ((), (), ())
    assert (config.ranks, config.alphas) == ({}, {})
    assert (config.dora, config.parameters, config.variants) == (False, (), ("lora",))


def test_a_whole_name_counts_whatever_the_layer(tmp_path):
    name = "model.layers.1.self_attn.q_proj"
    config = read(tmp_path, target_modules=[name, "v_proj"], layers_to_transform=[2])
    assert config.targets(name)
    assert not config.targets("model.layers.1.self_attn.v_proj")
    assert config.targets("model.layers.2.self_attn.v_proj")
    assert not config.targets("model.layers.2.self_attn.q_proj")


def test_keys_of_other_versions_without_effect(tmp_path):
    config = read(
        tmp_path,
        # The first versions of PEFT.
        enable_lora=None,
        merge_weights=False,
        # Of versions to come.
        use_something=None,
        something_config={},
        something_modules=[],
        # How it was trained.
        auto_mapping={"base_model_class": "LlamaForCausalLM", "unsloth_fixed": True},
        init_lora_weights="eva",
        eva_config={"rho": 2.0},
        task_type=None,
    )
    assert config.rank == 4


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("alora_invocation_tokens", [1, 2]),
        ("arrow_config", {"top_k": 1}),
        ("bias", "all"),
        ("bias", "lora_only"),
        ("corda_config", {"corda_method": "ipm"}),
        ("ensure_weight_tying", True),
        ("fan_in_fan_out", True),
        ("init_lora_weights", "loftq"),
        ("init_lora_weights", "mica"),
        ("init_lora_weights", ["pissa"]),
        ("init_lora_weights", None),
        ("kasa_config", {"beta": 1.0}),
        ("layer_replication", [[0, 2], [1, 3]]),
        ("loftq_config", {"loftq_bits": 4}),
        ("lora_bias", True),
        ("lora_ga_config", {"direction": "ArBr"}),
        ("megatron_config", {"a": 1}),
        ("modules_to_save", ["embed_tokens"]),
        ("monteclora_config", {"num_samples": 2}),
        ("runtime_config", {"ephemeral_gpu_offload": True}),
        ("trainable_token_indices", [0]),
        ("use_bdlora", {"nblocks": 2}),
        ("use_qalora", True),
        ("use_something", 1),
        ("velora_config", {"scale": 1.0}),
    ],
)
def test_features_beyond_plain_lora_are_refused_by_name(tmp_path, key, value):
    message = rf"adapter_config\.json': {key} = .* asks for more than LoRA, .* merge this one"
    with pytest.raises(ValueError, match=message):
        read(tmp_path, **{key: value})


@pytest.mark.parametrize("start", ["pissa", "PiSSA", "pissa_niter_4", "olora", "corda", "lora_ga"])
def test_adapters_that_change_the_base_are_refused_with_the_way_to_convert_them(tmp_path, start):
    message = (
        rf"init_lora_weights = '{start}' takes the initial values .* out of the base"
        ".*path_initial_model_for_weight_conversion"
    )
    with pytest.raises(ValueError, match=message):
        read(tmp_path, init_lora_weights=start)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("base_model_name_or_path", 3, "expected a string"),
        ("base_model_name_or_path", "a\0b", "without control characters"),
        ("revision", ["main"], "expected a string"),
        ("r", "8", "expected a whole number of at least 1"),
        ("r", 8.0, "expected a whole number of at least 1"),
        ("r", True, "expected a whole number of at least 1"),
        ("r", None, "expected a whole number of at least 1"),
        ("r", -8, "expected a whole number of at least 1"),
        ("lora_alpha", "16", "expected a number above 0"),
        ("lora_alpha", 0, "expected a number above 0"),
        ("lora_alpha", 10**400, "expected a number above 0 and of at most a million"),
        ("lora_dropout", 1, r"expected a number in \[0, 1\)"),
        ("lora_dropout", None, r"expected a number in \[0, 1\)"),
        ("use_rslora", 1, "expected true or false"),
        ("use_dora", "yes", "expected true or false"),
        ("target_parameters", "(.*a)*b", r"such as \['mlp.experts.down_proj'\]; regular exp"),
        ("target_parameters", ["a*"], "regular expressions are not supported"),
        ("target_modules", None, "a list of module names such as .* or 'all-linear'"),
        ("target_modules", "q_proj", "regular expressions are not supported"),
        ("target_modules", "(.*a)*b", "regular expressions are not supported"),
        ("target_modules", ["(.*a)*b"], "regular expressions are not supported"),
        ("target_modules", {"q_proj": 1}, "a list of module names"),
        ("target_modules", [["q_proj"]], "a list of module names"),
        ("exclude_modules", ".*mlp.*", "regular expressions are not supported"),
        ("layers_pattern", "(a+)+", r"such as \['layers'\]; regular expressions are not supported"),
        ("layers_to_transform", "1", "a list of layer numbers"),
        ("layers_to_transform", [True], "a list of layer numbers"),
        ("layers_to_transform", [-1], "a list of layer numbers"),
        ("rank_pattern", {"(.*a)*b": 4}, "regular expressions are not supported"),
        ("rank_pattern", {"q_proj": 0}, "each with a whole number of at least 1"),
        ("rank_pattern", ["q_proj"], "an object of module names"),
        ("alpha_pattern", {"^model.layers": 4}, "regular expressions are not supported"),
        ("alpha_pattern", {"q_proj": "4"}, "each with a number above 0"),
    ],
)
def test_values_of_a_wrong_kind(tmp_path, key, value, expected):
    with pytest.raises(ValueError, match=rf"adapter_config\.json': {key} is .*{expected}"):
        read(tmp_path, **{key: value})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is damaged: .*Copy it again"),
        (b"\xff\xfe{", "is damaged: .*Copy it again"),
        (b"[1]", "is damaged: expected a JSON object"),
        (b'{"r": NaN}', "is damaged: NaN is not a JSON number"),
        (b'{"r": -Infinity}', "is damaged: -Infinity is not a JSON number"),
        (b"[" * 100_000, "is damaged: it is nested too deeply"),
    ],
)
def test_damaged_files(tmp_path, content, message):
    (tmp_path / "adapter_config.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"adapter_config\.json' {message}"):
        read_adapter_config(tmp_path)


@pytest.mark.parametrize(
    ("kind", "shown"), [("LOHA", "'LOHA'"), (None, "null"), (["LORA"], r'\["LORA"\]'), ({}, "{}")]
)
def test_other_kinds_of_adapters(tmp_path, kind, shown):
    message = f"is of the kind {shown}: expected 'LORA'"
    with pytest.raises(ValueError, match=message):
        read(tmp_path, peft_type=kind)


@pytest.mark.parametrize(
    ("values", "targets"),
    [
        ({}, True),
        ({"target_modules": ["self_attn.q_proj"]}, True),
        ({"target_modules": [QUERY]}, True),
        ({"target_modules": "all-linear"}, True),
        ({"target_modules": ["proj", "attn.q_proj", "layers.1"]}, False),
        ({"exclude_modules": ["q_proj"]}, False),
        ({"exclude_modules": ["layers.0.self_attn.q_proj"]}, True),
        ({"layers_to_transform": 1}, True),
        ({"layers_to_transform": [0, 2]}, False),
        ({"layers_to_transform": []}, True),
        ({"layers_to_transform": [1], "layers_pattern": "layers"}, True),
        ({"layers_to_transform": [1], "layers_pattern": ["h"]}, False),
    ],
)
def test_which_modules_are_meant(tmp_path, values, targets):
    assert read(tmp_path, **values).targets(QUERY) == targets


def test_ranks_and_scales_by_name(tmp_path):
    config = read(
        tmp_path,
        rank_pattern={"q_proj": 16, "layers.0.self_attn.v_proj": 2},
        alpha_pattern={"self_attn.q_proj": 32},
    )
    assert (config.rank_of(QUERY), config.scale_of(QUERY)) == (16, 2.0)
    assert config.rank_of("layers.0.self_attn.v_proj") == 2
    assert config.rank_of("layers.1.self_attn.v_proj") == 4
    assert read(tmp_path, use_rslora=True).scale_of(QUERY) == 4.0  # 8 / sqrt(4)


@pytest.mark.parametrize(
    ("rslora", "dora", "variants"),
    [
        (False, False, ("lora",)),
        (True, False, ("rslora",)),
        (False, True, ("dora",)),
        (True, True, ("rslora", "dora")),
    ],
)
def test_variants(tmp_path, rslora, dora, variants):
    assert read(tmp_path, use_rslora=rslora, use_dora=dora).variants == variants


def test_parameters(tmp_path):
    config = read(
        tmp_path,
        target_modules=None,
        target_parameters=["mlp.experts.down_proj"],
        rank_pattern={"layers.1.mlp.experts.down_proj": 2},
        exclude_modules=["mlp.experts"],
        layers_to_transform=[0],
    )
    assert (config.modules, config.parameters) == ((), ("mlp.experts.down_proj",))
    assert config.targets_parameter("model.layers.1.mlp.experts.down_proj")
    assert config.rank_of("model.layers.1.mlp.experts.down_proj") == 2
    assert not config.targets_parameter("model.layers.1.mlp.experts.gate_up_proj")
    assert not config.targets_parameter("model.layers.1.mlp.experts.down_proj.weight")


def test_magnitudes_of_parameters(tmp_path):
    with pytest.raises(ValueError, match=r"use_dora = true and target_parameters = .*down_proj"):
        read(tmp_path, use_dora=True, target_parameters=["mlp.experts.down_proj"])


def test_two_ranks_for_one_module(tmp_path):
    config = read(tmp_path, rank_pattern={"q_proj": 16, "self_attn.q_proj": 2, "v_proj": 8})
    with pytest.raises(ValueError, match=f"rank_pattern has several values for .*'{QUERY}'"):
        config.rank_of(QUERY)


def test_links_lead_no_further_than_the_folder(tmp_path):
    write(tmp_path)
    file = tmp_path / "adapter_config.json"
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / file.name).symlink_to(file)
    with pytest.raises(ValueError, match=r"the file 'adapter_.*' is not inside"):
        read_adapter_config(tmp_path / "adapter")
    (tmp_path / "whole").symlink_to(tmp_path)
    assert read_adapter_config(tmp_path / "whole").rank == 4


def test_links_of_the_hubs_cache(tmp_path):
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    write(blobs)
    (snapshot / "adapter_config.json").symlink_to("../../blobs/adapter_config.json")
    assert read_adapter_config(snapshot).rank == 4


KEYS = st.sampled_from(sorted(peft.LoraConfig().to_dict()))
PLAIN = st.one_of(
    st.sampled_from([None, True, -1, 10**400, 0.5, 1e308, "", "q_proj", "(a*)*", "\0", "é"]),
    st.integers(0, 9),
)
VALUES = st.one_of(
    PLAIN, st.lists(PLAIN, max_size=2), st.dictionaries(st.sampled_from(["q_proj", "("]), PLAIN)
)


@given(st.dictionaries(KEYS, VALUES, max_size=3))
def test_any_values_are_read_or_refused_with_the_files_name(tmp_path_factory, values):
    file = tmp_path_factory.mktemp("adapter") / "adapter_config.json"
    file.write_text(json.dumps({"target_modules": ["q_proj"], **values, "peft_type": "LORA"}))
    refusal = ""
    try:
        config = read_adapter_config(file.parent)
    except ValueError as error:
        refusal = str(error)
    assert refusal.startswith(repr(str(file))) if refusal else config.rank_of(QUERY) >= 1
