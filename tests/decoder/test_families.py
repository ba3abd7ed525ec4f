import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModel

from spacy_lgu.decoder import layer_check
from spacy_lgu.decoder.families import check_family
from spacy_lgu.decoder.layer_check import check_layers
from spacy_lgu.decoder.refusals import REFUSED, TESTED_FAMILIES, FamilyError
from spacy_lgu.decoder.tiny import find_layers

from ..conftest import IS_5
from .reference import FAMILIES, Family


def tiny(model_type, **values):
    return Family(model_type, model_type, values).config()


def test_every_family_called_tested_is_compared_with_the_reference():
    assert {family.model_type for family in FAMILIES} == set(TESTED_FAMILIES)


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_tested_families_are_accepted_and_pass_the_check_of_others(family):
    check_family(family.config())
    check_layers(family.config())


# Cohere 2's config warns about an attribute of its own.
@pytest.mark.filterwarnings("ignore:The `sliding_window_pattern` attribute:FutureWarning")
@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("arcee", {}),
        ("bitnet", {}),
        ("cohere", {}),
        ("cohere2", {"layer_types": ["sliding_attention"] * 3 + ["full_attention"]}),
        ("gemma", {"head_dim": 16}),
        ("glm", {"head_dim": 16}),
        ("glm4", {"head_dim": 16}),
        ("granite", {}),
        ("helium", {}),
        ("mixtral", {}),
        ("olmo", {}),
        ("phi", {}),
        ("qwen3_moe", {}),
        ("starcoder2", {"sliding_window": 8}),
    ],
)
def test_untested_families_that_are_right_are_accepted(family, values):
    assert family not in TESTED_FAMILIES
    check_family(tiny(family, **values))


def test_the_check_of_a_family_leaves_the_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    check_layers(tiny("llama"))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("gpt2", "its model file builds a mask of"),
        ("gemma2", "its attention caps the logits"),
        ("gemma3", "it reads more than text"),
        ("gemma3n", "it reads more than text"),
        ("gemma3n_text", "its upper layers read the keys and values of lower ones"),
        ("llama4_text", "its attention is cut into chunks"),
        ("minimax", "it has linear attention layers"),
        ("phi4_multimodal", "it reads more than text"),
        ("bloom", "its attention uses ALiBi"),
        ("mpt", "its attention uses ALiBi"),
        ("mamba", "it has state-space layers"),
        ("jamba", "it has state-space layers"),
        ("recurrent_gemma", "it has recurrent layers"),
        ("t5", "it is an encoder-decoder"),
        ("bert", "(its model file computes attention itself|its decoder layers were not found)"),
        ("falcon", "its model file computes attention itself"),
        ("gptj", "(its model file computes attention itself|does not run on packed batches)"),
        ("gpt_neo", "its model file computes attention itself"),
        ("stablelm", "its model file computes attention itself"),
        ("opt", "its decoder layers were not found"),
        pytest.param(
            "persimmon",
            "does not run on packed batches .*without an attention mask",
            marks=pytest.mark.skipif(IS_5, reason="transformers 5 can run it"),
        ),
        ("dbrx", "does not run on packed batches"),
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


@pytest.mark.parametrize("family", ["llama4_text", "minimax"])
def test_the_comparison_with_eager_attention_finds_what_no_name_says(family, monkeypatch):
    """A window that attention is not told of, and a layer without softmax."""
    monkeypatch.delitem(REFUSED, family)
    with pytest.raises(FamilyError, match="causal packed attention differs from the family's own"):
        check_family(CONFIG_MAPPING[family](num_hidden_layers=4, num_experts_per_tok=1))


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


def test_soft_caps_are_refused_in_any_family():
    with pytest.raises(FamilyError, match=r"'gemma3_text' .* caps the logits"):
        check_family(tiny("gemma3_text", attn_logit_softcapping=50.0))


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
