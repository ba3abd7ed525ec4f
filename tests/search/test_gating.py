"""Gates that are learned beside a decoder, and patterns given to one in memory."""

import numpy
import pytest
import spacy
import torch

from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.layers.batch import hidden_states
from spacy_lgu.search.directing import set_directions
from spacy_lgu.search.gating import LayerGates, average_groups
from spacy_lgu.search.space import Candidate

from ..conftest import make_layer

IDS = numpy.array([5, 6, 7, 8, 9, 10])
DEVICE = torch.device("cpu")


@pytest.fixture
def decoder(decoder_folder):
    return make_layer(decoder_folder).shims[0].ready.decoder


def run(decoder, *, ids=IDS):
    return decoder(PackedBatch.pack(ids, [len(ids)], device=DEVICE))


def test_a_decoder_takes_other_directions_in_memory(decoder, decoder_folder):
    for pattern in ("cccc", "bb", "cb"):
        set_directions(decoder, Candidate(pattern))
        other = make_layer(decoder_folder, unmasking=pattern).shims[0].ready.decoder
        assert torch.equal(run(decoder), run(other))


def test_a_decoder_takes_other_depths_in_memory(decoder, decoder_folder):
    for pattern, n_layers, repeat in (("cb", 3, 0), ("bb", 4, 1), ("b", 1, 2), ("cc", 2, 1)):
        set_directions(decoder, Candidate(pattern, n_layers, repeat))
        options = {"unmasking": pattern, "n_layers": n_layers, "repeat": repeat}
        other = make_layer(decoder_folder, adapter=False, **options).shims[0].ready.decoder
        copy_weights(decoder, other)
        n = numpy.array([len(IDS)])
        assert torch.equal(decoder.predict(IDS, n, 100), other.predict(IDS, n, 100))
    assert len(decoder.trainable()) == 16  # those of all layers, for the optimizer


def test_a_long_text_has_the_windows_of_the_repeat(decoder_folder):
    """Of 64 subtokens if it is read once, and of 32 if twice."""
    docs = [spacy.blank("en")("Ann ate naan in New York. " * 8)]
    model = make_layer(decoder_folder, repeat=1)
    set_directions(model.shims[0].ready.decoder, Candidate("ccbb", repeat=0))
    once = make_layer(decoder_folder).predict(docs)
    assert numpy.array_equal(hidden_states(model.predict(docs))[0], hidden_states(once)[0])


def copy_weights(source, target):
    weights = dict(source.trainable())
    for name, parameter in target.trainable():
        parameter.data = weights[name].data


def test_gates_learn_what_helps(decoder):
    """The loss is the distance from what the pattern cbcb gives: its gates open."""
    set_directions(decoder, Candidate("cbcb"))
    wanted = run(decoder).detach()
    gates = LayerGates(decoder, n_steps=60, learn_rate=0.1)
    for step in range(60):
        gates.begin_step(step)
        (run(decoder) - wanted).square().sum().backward()
    found = gates.read()
    assert [round(gate) for gate in found] == [0, 1, 0, 1]
    assert all(abs(gate - round(gate)) < 0.05 for gate in found)


def test_a_step_of_several_batches_adds_their_gradients(decoder):
    gates = [LayerGates(decoder, n_steps=2, learn_rate=0.1) for _ in range(2)]
    for learned, n_batches in zip(gates, (1, 2), strict=True):
        learned.begin_step(0)
        for _ in range(n_batches):
            (run(decoder).sum() / n_batches).backward()
    assert gates[0].read() == pytest.approx(gates[1].read())
    assert gates[0].read() != [0.5] * 4


def test_layers_that_are_computed_again_give_gates_the_same_gradient(decoder_folder):
    found = []
    for checkpointing in (False, True):
        layer = make_layer(decoder_folder, gradient_checkpointing=checkpointing)
        decoder = layer.shims[0].ready.decoder.train()
        gates = tuple(torch.tensor(0.3, requires_grad=True) for _ in range(4))
        decoder.unmasked = gates
        run(decoder).square().sum().backward()
        found.append([gate.grad.item() for gate in gates])
    assert found[0] == pytest.approx(found[1])
    assert all(found[0])


def test_gates_without_a_gradient_stay(decoder):
    gates = LayerGates(decoder, n_steps=2, learn_rate=0.1)
    gates.begin_step(0)
    with torch.no_grad():
        run(decoder)
    assert gates.read() == [0.5] * 4


def test_layers_without_a_mask_say_nothing_of_their_group():
    one_in_four = [None, None, None, 0.9] * 2
    assert average_groups(one_in_four, 2) == [0.9, 0.9]
    assert average_groups([None, None, 0.25, 0.75], 2) == [0.0, 0.5]


def test_gates_become_sharper(decoder_folder):
    decoder = make_layer(decoder_folder).shims[0].ready.decoder
    gates = LayerGates(decoder, n_steps=10, learn_rate=0.1)
    gates._theta.data.fill_(0.5)
    used = []
    for step in (0, 10):
        gates.begin_step(step)
        used.append(gates._used[0].item())
    assert used == pytest.approx([0.6225, 0.9933], abs=1e-4)
