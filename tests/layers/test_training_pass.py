"""Training with too little memory: in parts, with the same gradients."""

import numpy
import pytest
import torch

from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.layers.training_pass import begin_pass, halve_updates

from ..conftest import make_layer

LENGTHS = numpy.array([5, 3, 4, 2, 6])
IDS = numpy.arange(LENGTHS.sum()) * 7 % 300
OOM = "CUDA out of memory."


@pytest.fixture(params=["lora", "full", "checkpointing", "repeat"])
def decoder(request, decoder_folder):
    options = {
        "lora": {},
        "full": {"tuning": "full"},
        "checkpointing": {"gradient_checkpointing": True},
        "repeat": {"repeat": 1},
    }[request.param]
    return make_layer(decoder_folder, **options).shims[0].ready.decoder.train()


def take_gradients(decoder):
    found = {name: p.grad.clone() for name, p in decoder.trainable() if p.grad is not None}
    for _, parameter in decoder.trainable():
        parameter.grad = None
    return found


def update(decoder, halving, *, seed=0):
    """RETURNS: Vectors and gradients of a step."""
    torch.manual_seed(seed)
    Y, backprop = begin_pass(decoder, IDS, LENGTHS, halving)
    backprop(torch.linspace(-1, 1, Y.numel()).reshape(Y.shape))
    return Y, take_gradients(decoder)


def limit_forward(monkeypatch, most, *, with_gradients_only=False):
    forward, tried = LGUDecoder.forward, []

    def limited(self, packed):
        tried.append((packed.n_subtokens, torch.is_grad_enabled()))
        if packed.n_subtokens > most and (torch.is_grad_enabled() or not with_gradients_only):
            raise torch.OutOfMemoryError(OOM)
        return forward(self, packed)

    monkeypatch.setattr(LGUDecoder, "forward", limited)
    return tried


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_gradients_in_parts_are_those_of_the_whole(decoder, monkeypatch, caplog):
    expected = update(decoder, halve_updates())
    tried = limit_forward(monkeypatch, 10 * (decoder.repeat + 1))
    halving = halve_updates()
    with caplog.at_level("WARNING", logger="spacy_lgu"):
        assert_equal(update(decoder, halving), expected)
        first, tried[:] = tried[:], []
        assert_equal(update(decoder, halving), expected)
    whole = 20 * (decoder.repeat + 1)
    parts = [n * (decoder.repeat + 1) for n in (8, 6, 6)]
    in_parts = [*((n, False) for n in parts), *((n, True) for n in parts)]
    assert first == [(whole, True), *in_parts]
    assert tried == in_parts  # as it went well before
    (record,) = caplog.records
    assert record.getMessage() == (
        f"There is too little memory on cpu to train on {whole} subtokens at once: from now on, it "
        f"is at most {whole // 2}. What is done in parts is computed twice. Use smaller batches "
        "with accumulate_gradient, or gradient_checkpointing = true."
    )


def test_a_backward_pass_that_does_not_fit(decoder_folder, monkeypatch):
    decoder = make_layer(decoder_folder).shims[0].ready.decoder.train()
    expected = update(decoder, halve_updates())
    backward, sizes = torch.autograd.backward, []

    def limited(Y, dY):
        sizes.append(len(Y))
        backward(Y, dY)
        if len(Y) > 7:  # when some gradients have been added
            raise torch.OutOfMemoryError(OOM)

    monkeypatch.setattr(torch.autograd, "backward", limited)
    halving = halve_updates()
    assert_equal(update(decoder, halving), expected)
    assert sizes == [20, 8, 5, 3, 6, 6]


def test_earlier_gradients_stay(decoder_folder, monkeypatch):
    decoder = make_layer(decoder_folder).shims[0].ready.decoder.train()

    def accumulate(halving):
        for scale in (1.0, -0.3):
            Y, backprop = begin_pass(decoder, IDS, LENGTHS, halving)
            backprop(scale * torch.ones_like(Y))
        return take_gradients(decoder)

    expected = accumulate(halve_updates())
    limit_forward(monkeypatch, 10)
    assert_equal(accumulate(halve_updates()).values(), expected.values())


def test_parts_are_computed_twice_with_one_dropout(decoder_folder):
    """Vectors and gradients belong together: those of the parts, one by one, with one seed."""
    decoder = make_layer(decoder_folder, lora_dropout=0.5).shims[0].ready.decoder.train()
    halving = halve_updates()
    halving.most = 10
    Y, gradients = update(decoder, halving)
    torch.manual_seed(0)
    dY = torch.linspace(-1, 1, Y.numel()).reshape(Y.shape)
    start, found = 0, []
    for first, last in ((0, 2), (2, 4), (4, 5)):
        lengths = LENGTHS[first:last]
        end = start + int(lengths.sum())
        part, backprop = begin_pass(decoder, IDS[start:end], lengths, halve_updates())
        found.append(part)
        backprop(dY[start:end])
        start = end
    torch.testing.assert_close(torch.cat(found), Y)
    assert_equal(take_gradients(decoder).values(), gradients.values())


def test_a_sequence_that_alone_does_not_fit(decoder_folder, monkeypatch):
    decoder = make_layer(decoder_folder).shims[0].ready.decoder.train()
    limit_forward(monkeypatch, 5)
    message = "to train on 6 subtokens in one sequence. Set gradient_checkpointing = true or"
    with pytest.raises(torch.OutOfMemoryError, match=message):
        update(decoder, halve_updates())


def test_gradients_of_all_weights_are_not_added_twice(decoder_folder, monkeypatch):
    decoder = make_layer(decoder_folder, tuning="full").shims[0].ready.decoder.train()
    Y, backprop = begin_pass(decoder, IDS, LENGTHS, halve_updates())
    backprop(torch.ones_like(Y))
    Y, backprop = begin_pass(decoder, IDS, LENGTHS, halve_updates())

    def fail(*args):
        raise torch.OutOfMemoryError(OOM)

    monkeypatch.setattr(torch.autograd, "backward", fail)
    with pytest.raises(RuntimeError, match=r"cannot be done again in parts\. Use smaller"):
        backprop(torch.ones_like(Y))


def test_a_pipeline_trains_on_less_memory(decoder_folder, monkeypatch):
    from spacy.training import Example
    from thinc.api import SGD

    from ..conftest import entity_examples, make_nlp

    def train():
        nlp = make_nlp(decoder_folder, lora_dropout=0.0)
        examples: list[Example] = entity_examples(nlp)
        losses: dict[str, float] = {}
        for _ in range(2):
            nlp.update(examples, sgd=SGD(0.01), losses=losses, drop=0.0)
        return losses

    expected = train()
    limit_forward(monkeypatch, 20, with_gradients_only=True)
    assert train() == pytest.approx(expected, rel=1e-3)
