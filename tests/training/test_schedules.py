from itertools import islice

import pytest
from numpy.testing import assert_allclose
from thinc.api import registry

from spacy_lgu.training.schedules import cosine_v1


def test_warms_up_then_falls_like_a_cosine():
    rates = list(islice(cosine_v1(1.0, 2, 6), 8))
    # Two steps up, then (1 + cos(pi * k / 4)) / 2 for k = 0..3, then the end.
    assert_allclose(rates, [0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447, 0.0, 0.0], atol=1e-6)


def test_final_rate_is_kept():
    rates = list(islice(cosine_v1(1.0, 0, 2, final_rate=0.1), 5))
    assert_allclose(rates, [1.0, 0.55, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("warmup", [-1, 5, 6])
def test_warmup_must_be_shorter_than_the_whole(warmup):
    with pytest.raises(ValueError, match="must take 0 to 4 steps"):
        cosine_v1(1.0, warmup, 5)


def test_is_registered():
    assert registry.get("schedules", "spacy-lgu.cosine.v1") is cosine_v1
