"""What init-config writes agrees with the shipped configs where these have the same head."""

from pathlib import Path

import pytest
from spacy.util import load_config, load_config_from_str

from spacy_lgu.configs.choices import Size, choose
from spacy_lgu.configs.planning import plan_pipeline
from spacy_lgu.configs.writing import write_config

CONFIGS = Path(__file__).parents[2] / "configs"
# These leave the decoder's optimizer out, and have the steps of other corpora.
OTHERS = {"lgu_mistral_ner.cfg", "lgu_mistral_spancat.cfg"}


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("sequence_labeler", "lgu_sequence_labeler.cfg"),
        ("ner", "lgu_mistral_ner.cfg"),
        ("spancat", "lgu_mistral_spancat.cfg"),
    ],
)
def test_values_for_a_large_decoder_and_accuracy(head, name):
    pipeline = plan_pipeline([head])
    large = Size(n_parameters=7_000_000_000, n_layers=32)
    text = write_config(
        lang="en",
        pipeline=pipeline,
        decoder="mistralai/Mistral-7B-v0.3",
        revision=None,
        choices=choose(size=large, heads=[head], optimize="accuracy", gpu=True, unmasking="ccbb"),
        command="",
    )
    written, shipped = load_config_from_str(text), load_config(CONFIGS / name)
    for config in (written, shipped):
        config["paths"]["train"] = config["paths"]["dev"] = None
        if name in OTHERS:
            config["components"]["transformer"]["model"].pop("optimizer")
            config["training"].pop("max_steps")
            config["training"]["optimizer"]["learn_rate"].pop("total_steps")
    assert written == shipped
    assert list(written) == list(shipped)
    assert list(written["components"]) == list(shipped["components"])
