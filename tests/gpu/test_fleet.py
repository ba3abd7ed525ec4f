"""A fleet on the GPU if there is one: its kernels on the sequences of either direction."""

from itertools import product

import numpy
import pytest
import torch

from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.decoder.depth import first_layers
from spacy_lgu.decoder.fleet import FleetDecoder
from spacy_lgu.decoder.loading import TORCH_DTYPES, SharedBase
from spacy_lgu.decoder.mixing import Member

from ..decoder.reference import BY_NAME, make_pair, random_ids, relative_error

DEVICE = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-4), ("bfloat16", 0.05)])
@pytest.mark.parametrize("family", ["llama", "mistral-sliding"])
def test_a_mix_equals_each_member_alone(family, dtype, bound):
    packed, _ = make_pair(BY_NAME[family])
    shared = SharedBase(packed.to(DEVICE, TORCH_DTYPES[dtype]))
    patterns = [*product((False, True), repeat=4), *product((False, True), repeat=2)]
    members = [Member(unmasked=pattern) for pattern in patterns]
    lengths = numpy.resize([50, 8, 33], len(members))
    ids = random_ids(lengths.tolist())
    Y = FleetDecoder(shared).predict(ids, lengths, members, 4096)
    base, parts = shared.fork(), numpy.split(ids, lengths.cumsum()[:-1])
    expected = [
        LGUDecoder(first_layers(base, len(pattern)), unmasked=pattern, dtype=dtype).predict(
            own, numpy.array([len(own)]), 4096
        )
        for pattern, own in zip(patterns, parts, strict=True)
    ]
    assert relative_error(Y, torch.cat(expected)) < bound
