import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModel

from spacy_lgu.decoder import layer_check
from spacy_lgu.decoder import tiny as decoders
from spacy_lgu.decoder.families import check_family, find_missing
from spacy_lgu.decoder.layer_check import check_layers
from spacy_lgu.decoder.local import measure_shape
from spacy_lgu.decoder.refusals import REFUSED, TESTED_FAMILIES, FamilyError
from spacy_lgu.decoder.tiny import build_tiny, find_layers, tiny_config

from ..conftest import IS_5
from .reference_families import FAMILIES, Family


def tiny(model_type, **values):
    return Family(model_type, model_type, values).config()


def test_every_family_called_tested_is_compared_with_the_reference():
    here = {family for family in TESTED_FAMILIES if family in CONFIG_MAPPING}
    assert {family.model_type for family in FAMILIES} == here
    assert len(here) == (40 if IS_5 else 24)


# Cohere 2's config warns about an attribute of its own.
@pytest.mark.filterwarnings("ignore:The `sliding_window_pattern` attribute:FutureWarning")
@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_tested_families_are_accepted_and_pass_the_check_of_others(family):
    check_family(family.config())
    check_layers(family.config())


RIGHT = [("bitnet", {}), ("dots1", {"head_dim": 8}), ("gemma", {"attention_bias": True})]
if IS_5:
    RIGHT += [
        ("deepseek_v2", {}),
        ("diffllama", {}),
        ("dory", {}),
        ("flint", {}),
        ("gemma4_unified_text", {}),
        ("gpt2", {}),
        ("gptj", {}),
        ("olmoe", {}),
        ("qwen2_moe", {}),
        ("granitemoe_swa", {}),
        ("hunyuan_v1_dense", {}),
        ("lfm2", {}),
        ("youtu", {}),
    ]


@pytest.mark.parametrize(("family", "values"), RIGHT)
def test_untested_families_that_are_right_are_accepted(family, values):
    check_layers(CONFIG_MAPPING[family](**values))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_checkpoints_in_half_precision_are_checked_in_float32(dtype):
    config = CONFIG_MAPPING["bitnet"].from_dict({"torch_dtype": dtype, "num_hidden_layers": 2})
    check_family(config)
    assert {p.dtype for p in build_tiny(config, "eager", window=3).parameters()} == {torch.float32}


@pytest.mark.parametrize(("n_key_heads", "expected"), [(32, 4), (8, 2), (2, 2), (1, 1)])
def test_the_tiny_decoder_has_as_many_key_heads_as_fit(n_key_heads, expected):
    config = tiny("llama", num_attention_heads=32, num_key_value_heads=n_key_heads)
    found = tiny_config(config)
    assert (found.num_attention_heads, found.num_key_value_heads) == (4, expected)


def test_sizes_of_single_layers_are_tiny_too():
    config = CONFIG_MAPPING["gemma3n_text"]()
    assert config.intermediate_size == [16384] * 35
    assert tiny_config(config).intermediate_size == [48] * 35


def test_a_decoder_that_stays_large_is_not_built(monkeypatch):
    monkeypatch.setattr(decoders, "_MAX_PARAMETERS", 1000)
    message = r"'llama' .* is checked on has 3[0-9],[0-9]{3} parameters, because its sizes have nam"
    with pytest.raises(FamilyError, match=message):
        check_layers(tiny("llama"))


def test_weights_of_the_tiny_decoder_are_large_and_always_the_same():
    first, second = (build_tiny(tiny("gemma"), "eager", window=3) for _ in range(2))
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, second.get_parameter(name))
        if parameter.dim() > 1:
            assert 0.15 < parameter.std() < 0.25, name


def test_the_check_of_a_family_leaves_the_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    check_layers(tiny("llama"))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("gemma3", "it reads more than text"),
        ("gemma3n", "it reads more than text"),
        ("gemma3n_text", "its upper layers read the keys and values of lower ones"),
        ("llama4_text", "its attention is cut into chunks"),
        pytest.param(
            "falcon_h1",
            "its model file takes packed batches from transformers 5 on",
            marks=pytest.mark.skipif(IS_5, reason="transformers 5 can run it"),
        ),
        ("phi4_multimodal", "it reads more than text"),
        ("bloom", "its attention uses ALiBi"),
        ("mpt", "its attention uses ALiBi"),
        ("mamba", "it has state-space layers"),
        ("jamba", "it does not tell its state-space layers"),
        ("recurrent_gemma", "its recurrent layers keep their state"),
        ("t5", "it is an encoder-decoder"),
        ("bert", "(its model file computes attention itself|its decoder layers were not found)"),
        ("falcon", "its model file computes attention itself"),
        ("gpt_neo", "its model file computes attention itself"),
        ("stablelm", "its model file computes attention itself"),
        ("opt", "its decoder layers were not found"),
        ("dbrx", "(does not run on packed batches|its model file computes attention itself)"),
        *([] if IS_5 else [("gptj", "its model file computes attention itself")]),
        *([] if IS_5 else [("gpt2", "its model file builds a mask of"), ("persimmon", "builds a")]),
        *([("nemotron", "builds a mask of"), ("trocr", "computes attention it")] if IS_5 else []),
        *([("deepseek_v32", "an indexer picks what each")] if IS_5 else []),
        *([("minimax_m3_vl_text", "an indexer picks what each")] if IS_5 else []),
        *([("longcat_flash", "its layers attend twice")] if IS_5 else []),
        ("modernbert", "it is not a language model that reads from left to right"),
        ("clip", "it is not a language model that reads from left to right"),
    ],
)
def test_families_that_need_more_are_refused_by_name(family, reason):
    with pytest.raises(
        FamilyError,
        match=f"the family '{family}' cannot be unmasked: .*{reason}.*Tested families: llama",
    ):
        check_family(CONFIG_MAPPING[family]())


def test_the_comparison_with_eager_attention_finds_what_no_name_says(monkeypatch):
    """A window that attention is not told of."""
    monkeypatch.delitem(REFUSED, "llama4_text")
    with pytest.raises(FamilyError, match="causal packed attention differs from the family's own"):
        check_family(CONFIG_MAPPING["llama4_text"](num_hidden_layers=4, num_experts_per_tok=1))


@pytest.mark.parametrize(
    ("family", "scaling", "kind"),
    [
        ("llama", {"rope_type": "dynamic", "factor": 2.0}, "dynamic"),
        ("mistral", {"type": "dynamic", "factor": 2.0}, "dynamic"),
        ("phi3", {"type": "longrope", "short_factor": [1] * 4, "long_factor": [2] * 4}, "longrope"),
        pytest.param(
            "phi3",
            {"type": "su", "short_factor": [1] * 4, "long_factor": [2] * 4},
            "longrope",
            marks=pytest.mark.skipif(IS_5, reason="transformers 5 refuses this older name itself"),
        ),
    ],
)
def test_rotary_embeddings_that_depend_on_the_batch_are_refused(family, scaling, kind):
    with pytest.raises(FamilyError, match=f"'{kind}' rotary embeddings depend on the longest"):
        check_family(tiny(family, rope_scaling=scaling))


def test_other_rotary_embeddings_are_accepted():
    llama3 = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 512,
    }
    check_family(tiny("llama", rope_scaling=llama3))
    check_family(tiny("llama", rope_scaling={"rope_type": "linear", "factor": 2.0}))
    check_family(tiny("granite", rope_scaling={"rope_type": "linear", "factor": 2.0}))


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("num_kv_shared_layers", 2, "its upper layers read the keys and values of lower ones"),
        ("index_topk", 2048, "an indexer picks what each of its positions sees"),
        ("use_bidirectional_attention", True, "it was trained without a causal mask"),
        ("use_bidirectional_attention", "all", "it was trained without a causal mask"),
    ],
)
def test_settings_are_refused_in_any_family(setting, value, reason):
    with pytest.raises(FamilyError, match=f"'llama' .*{reason}"):
        check_family(tiny("llama", **{setting: value}))


def test_sizes_that_a_config_lacks():
    assert find_missing(CONFIG_MAPPING["llama"]()) == []
    assert find_missing(CONFIG_MAPPING["gpt2"]()) == []  # under names of its own
    assert find_missing(CONFIG_MAPPING["bloom"]()) == ["max_position_embeddings"]
    assert find_missing(CONFIG_MAPPING["rwkv"]()) == ["num_attention_heads"]
    if IS_5:  # for each layer
        config = CONFIG_MAPPING["dots3_note_text"]()
        assert find_missing(config) == ["num_attention_heads"]
        with pytest.raises(FamilyError, match="an indexer picks"):
            measure_shape(config)


@pytest.mark.parametrize("family", ["qwen3", "qwen2"])
@pytest.mark.parametrize("kind", ["linear_attention", "conv", "hybrid"])
def test_kinds_of_layers_that_a_family_does_not_have(family, kind):
    config = tiny(family)
    config.layer_types = [kind, *["full_attention"] * 3]
    with pytest.raises(FamilyError, match=f"'{family}' .*kinds of layers that the family does not"):
        check_family(config)


@pytest.mark.skipif(not IS_5, reason="4.53 has no gemma4_text")
def test_gemma_4_without_shared_keys_is_accepted():
    check_layers(CONFIG_MAPPING["gemma4_text"]())
    with pytest.raises(FamilyError, match="its upper layers read the keys and values"):
        check_family(CONFIG_MAPPING["gemma4_text"](num_kv_shared_layers=18))


def test_a_layer_of_the_wrong_direction_is_refused(monkeypatch):
    # As a family would be whose layers all call themselves layer 0.
    build = layer_check.build_tiny

    def build_confused(config, attention, **kwargs):
        decoder = build(config, attention, **kwargs)
        for layer in decoder.layers:
            layer.self_attn.layer_idx = 0
        return decoder

    monkeypatch.setattr(layer_check, "build_tiny", build_confused)
    message = (
        r"'llama' .*in layer 1, run as bidirectional on sequences of \(6, 4\) positions, a change "
        r"of position 5 moved positions \[5\] instead of \[0, 1, 2, 3, 4, 5\]"
    )
    with pytest.raises(FamilyError, match=message):
        check_layers(tiny("llama"))


def test_layers_are_found_under_both_names():
    config = tiny("llama")
    with torch.device("meta"):
        assert len(find_layers(AutoModel.from_config(config))) == 4
        gpt = AutoModel.from_config(
            tiny("gpt_neo", attention_types=[[["global"], 4]], num_layers=4)
        )
        assert len(find_layers(gpt)) == 4
        with pytest.raises(FamilyError, match=r"'opt' .*its decoder layers were not found"):
            find_layers(AutoModel.from_config(tiny("opt")))
