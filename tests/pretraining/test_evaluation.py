import math

import numpy
import pytest
import torch
from torch.testing import assert_close

from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.pretraining import evaluation
from spacy_lgu.pretraining.evaluation import bits_per_byte, prediction_scores
from spacy_lgu.pretraining.objectives import LinearCrossEntropy, Objective
from tests.conftest import TEXTS, make_tokenizer


@pytest.mark.parametrize(("window", "context"), [(64, 1), (32, 16), (30, 1)])
def test_uniform_decoder_spends_log2_of_the_vocabulary(load, tokenizer, window, context):
    decoder = load()
    head = torch.zeros(len(tokenizer), decoder.width)
    texts = [" ".join(TEXTS * 3), "naan"]
    n_subtokens = sum(len(tokenizer(t, add_special_tokens=False)["input_ids"]) for t in texts)
    n_bytes = sum(len(t.encode("utf8")) for t in texts)
    expected = n_subtokens * math.log2(len(tokenizer)) / n_bytes
    found = bits_per_byte(decoder, head, tokenizer, texts, window=window, context=context)
    assert found == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_windows_score_what_one_by_one_would(load, tokenizer, monkeypatch):
    decoder = load()
    head = decoder.base.get_input_embeddings().weight
    text = " ".join(TEXTS[:2])
    ids = torch.tensor(tokenizer(text)["input_ids"])
    nats, n_scored = 0.0, 0
    for start, context in ((0, 1), (24, 8)):  # windows of 32 that share 8
        piece = ids[start : start + 32]
        packed = PackedBatch.pack(piece.numpy(), [len(piece)], device=torch.device("cpu"))
        log_probs = torch.log_softmax(decoder(packed) @ head.T, dim=-1)
        nats -= float(log_probs[torch.arange(context - 1, len(piece) - 1), piece[context:]].sum())
        n_scored += len(piece) - context
    assert n_scored == len(ids) - 1
    expected = nats / math.log(2) / len(text.encode("utf8"))
    for size in (32, 4096):
        monkeypatch.setattr(evaluation, "_PASS", size)
        found = bits_per_byte(decoder, head, tokenizer, [text], window=32, context=8)
        assert found == pytest.approx(expected, rel=1e-5)


def test_an_unmasked_decoder_has_no_bits_per_byte(load, tokenizer):
    decoder = load((False, False, False, True))
    with pytest.raises(ValueError, match="layers are all causal"):
        bits_per_byte(decoder, torch.zeros(4, 4), tokenizer, ["a"])


def test_a_tokenizer_without_bos_has_no_score_for_the_first_subtoken(load):
    with pytest.raises(ValueError, match="no BOS before a text"):
        bits_per_byte(load(), torch.zeros(4, 4), make_tokenizer(bos=False), ["a"])


@pytest.mark.parametrize(("window", "context"), [(32, 0), (32, 32), (32, 40)])
def test_windows_need_context_and_room_for_more(load, tokenizer, window, context):
    with pytest.raises(ValueError, match=rf"got a context of {context} and a window of {window}"):
        bits_per_byte(load(), torch.zeros(4, 4), tokenizer, ["a"], window=window, context=context)


@pytest.mark.parametrize("texts", [[], [""]])
def test_no_text_has_no_bits_per_byte(load, tokenizer, texts):
    with pytest.raises(ValueError, match="no text to score"):
        bits_per_byte(load(), torch.zeros(4, 4), tokenizer, texts)


def test_nothing_masked_has_no_score(load, tokenizer):
    objective = Objective("masked", mask_id=1, vocab_size=len(tokenizer), mask_rate=1e-9)
    packed = PackedBatch.pack(numpy.array([5, 6, 7]), [3], device=torch.device("cpu"))
    with pytest.raises(ValueError, match=r"None of the 6 subtokens .* mask rate \(it is 1e-09\)"):
        prediction_scores(load((True,) * 4), torch.zeros(4, 64), objective, [packed, packed])


def test_prediction_scores_mask_the_same_subtokens_each_time(load, tokenizer):
    decoder = load((True,) * 4)
    objective = Objective("masked", mask_id=1, special_ids=(0, 1), vocab_size=len(tokenizer))
    ids = numpy.array(tokenizer(" ".join(TEXTS))["input_ids"][:64])
    packed = PackedBatch.pack(ids, [len(ids)], device=torch.device("cpu"))
    head = torch.zeros(len(tokenizer), decoder.width)
    loss, accuracy = prediction_scores(decoder, head, objective, [packed, packed])
    assert loss == pytest.approx(math.log(len(tokenizer)), rel=1e-4)
    assert accuracy == 0  # of a uniform decoder, the arg max is subtoken 0, which is never masked
    head = torch.randn(len(tokenizer), decoder.width)
    assert_close(
        prediction_scores(decoder, head, objective, [packed]),
        prediction_scores(decoder, head, objective, [packed]),
    )


def test_scores_do_not_depend_on_the_rows_computed_at_once(load, tokenizer, monkeypatch):
    objective = Objective("causal", vocab_size=len(tokenizer))
    ids = numpy.array(tokenizer(" ".join(TEXTS))["input_ids"][:64])
    packed = PackedBatch.pack(ids, [len(ids)], device=torch.device("cpu"))
    decoder = load()
    head = decoder.base.get_input_embeddings().weight
    found = []
    for n in (512, 5):
        monkeypatch.setattr(LinearCrossEntropy, "ROWS", n)
        bits = bits_per_byte(decoder, head, tokenizer, TEXTS, window=32, context=8)
        found.append((bits, *prediction_scores(decoder, head, objective, [packed])))
    assert found[1] == pytest.approx(found[0], rel=1e-5)
