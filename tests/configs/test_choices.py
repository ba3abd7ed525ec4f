"""The values that follow from the decoder's size and what is wanted."""

import re

import pytest

from spacy_lgu.configs.choices import Size, choose

TINY = Size(n_parameters=8_392_960, n_layers=8)
MIDDLE = Size(n_parameters=135_000_000, n_layers=30)
LARGE = Size(n_parameters=7_110_660_096, n_layers=32)


def chosen(size, **options):
    options = {"heads": ["ner"], "optimize": "accuracy", "gpu": True, "unmasking": None, **options}
    return choose(size=size, **options)


@pytest.mark.parametrize(
    ("size", "quantization", "tuning", "learn_rate"),
    [
        (TINY, "none", "full", 5e-4),
        (MIDDLE, "none", "full", 5e-5),
        (LARGE, "nf4", "lora", 2e-4),
        (None, "nf4", "lora", 2e-4),
    ],
)
@pytest.mark.parametrize("gpu", [True, False])
def test_the_size_decides_how_it_is_trained(size, quantization, tuning, learn_rate, gpu):
    found = chosen(size, gpu=gpu)
    assert (found.quantization, found.tuning) == (quantization, tuning)
    assert found.learn_rate == learn_rate


def test_accuracy_is_the_paper_and_efficiency_costs_less():
    accurate, efficient = chosen(LARGE), chosen(LARGE, optimize="efficiency")
    assert (accurate.rank, accurate.n_steps, accurate.batch_size) == (64, 4400, 512)
    assert (efficient.rank, efficient.n_steps, efficient.batch_size) == (16, 1000, 512)
    assert chosen(LARGE, heads=["textcat"]).batch_size == 2048


def test_the_pattern_has_no_more_groups_than_there_are_layers():
    assert chosen(LARGE).unmasking == "ccbb"
    assert chosen(Size(n_parameters=10, n_layers=3)).unmasking == "cb"
    assert chosen(Size(n_parameters=10, n_layers=1)).unmasking == "b"
    assert chosen(TINY, unmasking="0001").unmasking == "cccb"


def test_every_value_has_its_reason():
    reasons = chosen(LARGE).reasons
    assert "114 GB of the GPU's memory" in reasons["tuning"]
    assert reasons["decoder"] == "7,110,660,096 parameters in 32 layers."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimize": "speed"}, "optimize is 'speed': expected one of efficiency, accuracy."),
        ({"unmasking": "ccbx"}, "The unmasking pattern is 'ccbx'"),
        ({"unmasking": "ccccccccb"}, "Cannot divide 8 decoder layers into 9 layer groups"),
    ],
)
def test_wrong_values(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        chosen(TINY, **options)
