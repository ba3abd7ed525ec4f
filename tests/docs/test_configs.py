import pytest
from catalogue import RegistryError
from confection import ConfigValidationError

from .configs import check_complete, check_config, merge_part, parse_part

OPTIMIZER = """
[components.transformer.model.optimizer]
@misc = "spacy-lgu.adamw.v1"
learn_rate_factor = 1.0
"""
COMPONENT = """
[components.own]
factory = "sequence_labeler"
annotate_ents = true
spans_key = "sequence_labeler"
overwrite = false
decoding = "viterbi"

[components.own.model]
@architectures = "spacy-lgu.SequenceLabeler.v1"

[components.own.model.tok2vec]
@architectures = "spacy-lgu.TransformerListener.v1"
grad_factor = 1.0
upstream = "*"
pooling = {"@layers":"reduce_first.v1"}
"""


def test_sections_need_no_parents():
    assert parse_part("[a.b.c]\nd = 1\n[a.e]\n") == {"a": {"b": {"c": {"d": 1}}, "e": {}}}


def test_what_a_part_replaces():
    base = {
        "same": {"@x": "f.v1", "a": 1, "inner": {"b": 2}},
        "other": {"@x": "f.v1", "a": 1, "inner": {"b": 2}},
        "value": None,
    }
    merge_part(
        base,
        {
            "same": {"@x": "f.v1", "a": 3},
            "other": {"@x": "g.v1", "a": 3},
            "value": {"c": 4},
        },
    )
    assert base == {
        "same": {"@x": "f.v1", "a": 3, "inner": {"b": 2}},
        "other": {"@x": "g.v1", "a": 3},
        "value": {"c": 4},
    }


@pytest.fixture
def corpora(tmp_path, monkeypatch):
    """The config's corpora are looked for in the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("part", [OPTIMIZER, COMPONENT, '[paths]\ntrain = "train.spacy"\n'])
def test_parts_that_are_right(part, corpora):
    check_config(part)


@pytest.mark.parametrize(
    ("part", "error", "message"),
    [
        (OPTIMIZER + "rate = 1\n", ConfigValidationError, "rate"),
        (OPTIMIZER + "grad_clip = -1\n", ValueError, "grad_clip must not be negative"),
        (OPTIMIZER.replace("adamw", "adam"), RegistryError, "spacy-lgu.adam.v1"),
        ('[training]\npatience = "long"\n', ConfigValidationError, "patience"),
        ('[components.transformer]\nbase = "link"\n', ConfigValidationError, "base"),
    ],
)
def test_parts_that_are_wrong(part, error, message, corpora):
    with pytest.raises(error, match=message):
        check_config(part)


def test_a_component_with_all_its_settings():
    check_complete(COMPONENT)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("overwrite = false\n", "", "own does not show overwrite, which is False"),
        ("false", "true", "own.overwrite is True, but its default is False"),
    ],
)
def test_a_component_that_lacks_one(old, new, message):
    with pytest.raises(ValueError, match=message):
        check_complete(COMPONENT.replace(old, new))
