"""A user's config with a trial filled in."""

import pytest
from thinc.api import Config

from spacy_lgu.search.space import Candidate
from spacy_lgu.search.trial_config import (
    count_steps,
    find_section,
    find_spans_key,
    make_trial_config,
    set_candidate,
)
from spacy_lgu.search.trials import Trial

TEXT = """
[vars]
steps = 400

[system]
seed = 7

[nlp]
pipeline = ["transformer","ner"]

[components]

[components.transformer]

[components.transformer.model]
@architectures = "spacy-lgu.LGUTransformer.v1"
unmasking = "ccbb"

[components.ner]

[components.ner.model]

[components.ner.model.tok2vec]
@architectures = "spacy-lgu.TransformerListener.v1"

[components.unused]

[components.unused.model]
@architectures = "spacy-lgu.LGUTransformer.v1"

[training]
seed = ${system.seed}
max_steps = ${vars.steps}
eval_frequency = 40
patience = 100

[training.optimizer]

[training.optimizer.learn_rate]
warmup_steps = 40
total_steps = ${vars.steps}
initial_rate = 0.1
"""
SECTION = ("components", "transformer", "model")


@pytest.fixture
def config():
    return Config().from_str(TEXT, interpolate=False)


def make(config, **options):
    fields = {"kind": "train", "candidate": Candidate("cb", 3), "seed": 2, "steps": 400}
    return make_trial_config(config, SECTION, Trial(**{**fields, **options}))


def test_the_decoder_of_the_pipeline_is_found(config):
    assert find_section(config, None) == SECTION
    assert find_section(config, "transformer") == SECTION
    with pytest.raises(ValueError, match=r"Expected one in 'ner' .* found none\. Name its"):
        find_section(config, "ner")
    config["nlp"]["pipeline"].append("unused")
    with pytest.raises(ValueError, match=r"found components\.transformer\.model, components\.unus"):
        find_section(config, None)
    assert find_section(config, "unused") == ("components", "unused", "model")


def test_a_decoder_inside_a_pipe_is_found(config):
    inside = {"@architectures": "spacy-lgu.Tok2VecLGU.v1"}
    config["components"]["ner"]["model"]["tok2vec"] = inside
    assert find_section(config, "ner") == ("components", "ner", "model", "tok2vec")


def test_a_full_training_changes_pattern_depth_and_seed(config):
    made = make(config)
    assert made["components"]["transformer"]["model"]["unmasking"] == "cb"
    assert made["components"]["transformer"]["model"]["n_layers"] == 3
    assert "repeat" not in made["components"]["transformer"]["model"]
    assert made["system"]["seed"] == 2
    assert made["training"] == config["training"]
    assert config["components"]["transformer"]["model"]["unmasking"] == "ccbb"


def test_a_shorter_training_has_a_shorter_schedule(config):
    made = make(config, steps=100)["training"]
    assert (made["max_steps"], made["eval_frequency"]) == (100, 10)
    assert made["optimizer"]["learn_rate"] == {
        "warmup_steps": 10, "total_steps": 100, "initial_rate": 0.1
    }  # fmt: skip
    assert make(config, steps=1)["training"]["eval_frequency"] == 1


@pytest.mark.parametrize("steps", [1, 2, 3, 37, 399])
@pytest.mark.parametrize("warmup", [0, 1, 200, 399])
def test_a_warm_up_stays_shorter_than_the_schedule(config, steps, warmup):
    config["training"]["optimizer"]["learn_rate"]["warmup_steps"] = warmup
    rate = make(config, steps=steps)["training"]["optimizer"]["learn_rate"]
    assert 0 <= rate["warmup_steps"] < rate["total_steps"] == steps


def test_shared_trainings_are_scored_at_their_end(config):
    made = make(config, kind="oneshot")["training"]
    assert (made["eval_frequency"], made["patience"]) == (400, 0)


def test_a_seed_of_its_own(config):
    config["training"]["seed"] = 5
    assert make(config)["training"]["seed"] == 2
    del config["system"]["seed"]
    config["training"]["seed"] = None
    assert make(config)["training"]["seed"] == 2
    assert "seed" not in make(config)["system"]


def test_dev_is_the_same_whatever_the_seed(config):
    reader = {"@readers": "spacy-lgu.join_texts.v1", "seed": "${system.seed}"}
    config["corpora"] = {"dev": reader, "train": {**reader}}
    made = make(config).interpolate()["corpora"]
    assert (made["dev"]["seed"], made["train"]["seed"]) == (7, 2)


def test_what_a_config_leaves_out_is_as_spacy_fills_it(config):
    del config["training"]["eval_frequency"]
    del config["training"]["optimizer"]
    made = make(config, steps=100)["training"]
    assert made["eval_frequency"] == 50  # a quarter of spaCy's 200
    assert made["optimizer"]["@optimizers"] == "Adam.v1"


def test_steps_must_be_known(config):
    assert count_steps(config) == 400
    for steps in (0, None):
        config["training"]["max_steps"] = steps
        with pytest.raises(ValueError, match=rf"training\.max_steps is {steps}\. Set it"):
            count_steps(config)


def test_the_best_config_keeps_its_variables(config):
    text = set_candidate(config, SECTION, Candidate("bb")).to_str(interpolate=False)
    assert "max_steps = ${vars.steps}" in text
    assert 'unmasking = "bb"' in text


@pytest.mark.parametrize(
    ("weights", "key"),
    [
        ({"ents_f": 1.0}, ""),
        ({"spans_sc_f": 1.0}, "sc"),
        ({"spans_my_key_f": 1.0}, "my_key"),
        ({"strict_f": 1.0}, ""),
        ({"strict_sc_f": 1.0}, "sc"),
        ({"strict_macro_f": 1.0}, ""),
        ({"strict_my_key_macro_f": 1.0}, "my_key"),
        ({"tag_acc": 0.7, "ents_f": 0.3}, ""),
        ({"ents_f": 0.3, "spans_sc_f": 0.7}, "sc"),
        ({"tag_acc": 1.0}, None),
        ({}, None),
    ],
)
def test_which_spans_a_score_is_about(weights, key):
    assert find_spans_key(weights) == key
