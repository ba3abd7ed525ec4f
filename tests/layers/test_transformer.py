"""Docs in, a vector per subtoken out, and gradients back to the weights that are trained."""

import numpy
import pytest
import spacy
import torch
from numpy.testing import assert_allclose
from thinc.api import Adam, torch2xp

from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.layers.alignment import encode_docs
from spacy_lgu.listeners.stock import ModelOutput, TransformerData

from ..conftest import TEXTS, build_layer, make_decoder, make_layer

NLP = spacy.blank("en")
STRIDED = {"@span_getters": "spacy-lgu.strided_spans.v1", "window": 6, "stride": 3}


@pytest.fixture(scope="module")
def layer(decoder_folder):
    return make_layer(decoder_folder)


@pytest.fixture(scope="module")
def docs():
    texts = [TEXTS[0], "", TEXTS[2], " \n ", "naan", " ", TEXTS[1]]
    return [NLP.make_doc(text) for text in texts]


def vectors(layer, docs):
    return [data.model_output.get("last_hidden_state") for data in layer.predict(docs).doc_data]


def decode(layer, ids):
    """The vectors of one sequence, run alone."""
    decoder = layer.shims[0].ready.decoder
    packed = PackedBatch.pack(numpy.array(ids), [len(ids)], device=decoder.device)
    with torch.no_grad():
        return decoder(packed).numpy()


def assert_close(X, Y):
    assert_allclose(X, Y, atol=2e-5, rtol=1e-4)


def test_one_row_of_subtokens_per_doc(layer):
    (data,) = layer.predict([NLP.make_doc("Ann ate ☃")]).doc_data
    strings = ["<s>", "Ann", "Ġate", "Ġ", "â", "ĺ", "ĥ"]
    assert data.wordpieces.strings == [strings]
    assert data.model_output.last_hidden_state.shape == (1, 7, 64)
    assert data.model_output.last_hidden_state.dtype == numpy.float32
    assert data.wordpieces.input_ids.shape == data.wordpieces.attention_mask.shape == (1, 7)
    assert data.wordpieces.lengths == [7]
    assert data.align.lengths.tolist() == [1, 1, 3]
    assert data.align.dataXd.tolist() == [1, 2, 4, 5, 6]
    assert data.width == 64
    assert_close(
        data.model_output.last_hidden_state[0], decode(layer, data.wordpieces.input_ids[0])
    )


def test_batched_is_one_by_one(layer, docs):
    together = layer.predict(docs).doc_data
    for doc, data in zip(docs, together, strict=True):
        (alone,) = layer.predict([doc]).doc_data
        if not len(doc):
            assert data.model_output == alone.model_output == {}
            continue
        assert_close(data.model_output.last_hidden_state, alone.model_output.last_hidden_state)
        assert data.wordpieces.strings == alone.wordpieces.strings
        assert data.align.dataXd.tolist() == alone.align.dataXd.tolist()
        assert data.align.lengths.tolist() == alone.align.lengths.tolist()
        assert len(data.align.lengths) == len(doc)
        assert data.align.dataXd.max() < data.model_output.last_hidden_state.shape[1]


def test_order_is_kept(layer, docs):
    forwards, backwards = vectors(layer, docs), vectors(layer, docs[::-1])[::-1]
    for doc, X, Y in zip(docs, forwards, backwards, strict=True):
        if len(doc):
            assert_close(X, Y)


def test_batch_of_empty_docs(layer):
    Y, backprop = layer.begin_update([NLP.make_doc(""), NLP.make_doc("")])
    assert [data.model_output for data in Y.doc_data] == [{}, {}]
    assert [len(data.align.lengths) for data in Y.doc_data] == [0, 0]
    assert backprop(Y) == []
    assert layer.predict([]).doc_data == []


def test_windows_read_each_vector_from_its_window(decoder_folder):
    layer = make_layer(decoder_folder, window=5, stride=2)
    doc = NLP.make_doc("Ann Lee ate naan in New York on 3 May 2021")
    (data,) = layer.predict([doc]).doc_data
    ids = data.wordpieces.input_ids[0].tolist()
    assert len(ids) == 12
    # <s> and 11 subtokens: windows of 4 start at 0, 2, 4, 6 and 7.
    windows = [decode(layer, [ids[0], *ids[1 + s : 5 + s]]) for s in (0, 2, 4, 6, 7)]
    Y = data.model_output.last_hidden_state[0]
    assert_close(Y[:4], windows[0][:4])  # <s> and the first three
    assert_close(Y[4:6], windows[1][2:4])
    assert_close(Y[6:8], windows[2][2:4])
    assert_close(Y[8:10], windows[3][2:4])
    assert_close(Y[10:], windows[4][3:])


def test_overlapping_spans_read_each_vector_from_its_span(decoder_folder):
    layer = make_layer(decoder_folder, get_spans=STRIDED)
    doc = NLP.make_doc("Ann ate naan in New York on May")  # one or two subtokens per word
    (data,) = layer.predict([doc]).doc_data
    first, second = (layer.predict([doc[s:e].as_doc()]).doc_data[0] for s, e in ((0, 6), (3, 8)))

    def vectors_of(data, token):
        Y = data.model_output.last_hidden_state[0]
        return Y[data.align[token].dataXd.ravel()]

    for token in range(4):
        assert_close(vectors_of(data, token), vectors_of(first, token))
    for token in (6, 7):
        # as_doc() starts with "in", as the span does.
        assert_close(vectors_of(data, token), vectors_of(second, token - 3))


def test_repeated_windows_read_their_last_copy(decoder_folder):
    """With the special subtokens, which are repeated as well. What lies to the right counts for a
    causal decoder, too."""
    layer = make_layer(decoder_folder, window=5, repeat=2, unmasking="cccc")
    doc = NLP.make_doc("Ann Lee ate naan in New")
    (data,) = layer.predict([doc]).doc_data
    ids = data.wordpieces.input_ids[0].tolist()
    assert len(ids) == 7
    # <s> and 6 subtokens: windows of 4 start at 0 and 2.
    windows = [[ids[0], *ids[1 + s : 5 + s]] for s in (0, 2)]
    first, last = (decode(layer, window * 3)[10:] for window in windows)
    Y = data.model_output.last_hidden_state[0]
    assert_close(Y[:4], first[:4])
    assert_close(Y[4:], last[2:])


def test_copies_fill_the_context(decoder_folder):
    layer = make_layer(decoder_folder, repeat=3)
    assert layer.shims[0].find_window(layer.shims[0].ready.decoder.base.config) == 16
    with pytest.raises(ValueError, match="repeat = 40 runs each sequence 41 times"):
        make_layer(decoder_folder, repeat=40)
    # Two subtokens, of which the tokenizer takes one.
    assert make_layer(decoder_folder, repeat=31).predict([NLP.make_doc(TEXTS[0])]).doc_data


def test_a_window_larger_than_the_context(decoder_folder):
    with pytest.raises(ValueError, match="window is 65 subtokens, but the decoder was made for at"):
        make_layer(decoder_folder, window=65)


def test_the_stride_is_checked_when_the_tokenizer_is_known(decoder_folder):
    with pytest.raises(ValueError, match=r"holds 9 besides the special ones.* stride of 1 to 9"):
        make_layer(decoder_folder, window=10, stride=10)


def test_without_weights(decoder_folder):
    model = build_layer(decoder_folder)
    with pytest.raises(ValueError, match="decoder has no weights yet: initialize the pipeline"):
        model.predict([NLP.make_doc("a")])


def test_initializing_twice_keeps_what_was_trained(layer):
    before = vectors(layer, [NLP.make_doc("naan")])
    layer.initialize()
    assert (vectors(layer, [NLP.make_doc("naan")])[0] == before[0]).all()
    assert layer.get_dim("nO") == 64


def test_initializing_again_says_that_the_decoder_keeps_what_it_learned(decoder_folder, caplog):
    layer = make_layer(decoder_folder)
    layer.initialize()
    assert "keeps what it has learned" not in caplog.text
    Y, backprop = layer.begin_update([NLP.make_doc("naan")])
    backprop(Y)
    layer.finish_update(Adam(0.01))
    layer.initialize()
    assert "The decoder keeps what it has learned: initializing again" in caplog.text


def test_initialize_logs_the_layer_map(decoder_folder, caplog):
    with caplog.at_level("INFO", logger="spacy_lgu"):
        make_layer(decoder_folder)
    assert "ccbb = layers 0-1 causal, layers 2-3 bidirectional" in caplog.text
    assert "parameters are trained" in caplog.text


# Gradients.


def gradients(layer):
    decoder = layer.shims[0].ready.decoder
    found = {n: p.grad.clone() for n, p in decoder.trainable() if p.grad is not None}
    for _, parameter in decoder.trainable():
        parameter.grad = None
    return found


def backprop_random(layer, docs, seed=0):
    """Run backprop with random gradients. RETURNS: Those gradients per Doc with tokens."""
    batch, backprop = layer.begin_update(docs)
    rng = numpy.random.default_rng(seed)
    d_docs = [
        rng.normal(size=data.model_output.last_hidden_state.shape).astype("float32")
        for data in batch.doc_data
        if "last_hidden_state" in data.model_output
    ]
    assert backprop(batch.unsplit_by_doc([[dY] for dY in d_docs])) == docs
    return d_docs


def recorded_sequences(layer, docs):
    built = layer.shims[0].ready
    return encode_docs(
        docs,
        layer.attrs["get_spans"](docs),
        built.tokenizer,
        window=layer.shims[0].find_window(built.decoder.base.config),
        stride=layer.shims[0].windows.stride,
        causal=not any(built.decoder.unmasked) and not built.decoder.repeat,
    )


def _pack_by_hand(ids, decoder):
    ids = numpy.tile(ids, decoder.repeat + 1)
    return PackedBatch.pack(ids, [len(ids)], device=decoder.device)


@pytest.mark.parametrize(
    "options",
    [
        {"tuning": "lora"},
        {"tuning": "lora", "gradient_checkpointing": True},
        {"tuning": "lora", "window": 7, "stride": 3},
        {"tuning": "lora", "get_spans": STRIDED},
        {"tuning": "full"},
        {"tuning": "full", "unmasking": "bbbb", "window": 7, "get_spans": STRIDED},
        {"tuning": "lora", "repeat": 2, "window": 7, "unmasking": "cccc"},
    ],
    ids=str,
)
def test_gradients_are_those_of_autograd(decoder_folder, docs, options):
    layer = make_layer(decoder_folder, **options)
    d_docs = backprop_random(layer, docs)
    found = gradients(layer)
    # By hand: run every sequence alone, read the same rows, and sum vector times gradient.
    decoder = layer.shims[0].ready.decoder
    encoded = recorded_sequences(layer, docs)
    hidden = torch.cat(
        [
            decoder(_pack_by_hand(ids, decoder))[-len(ids) :]
            for ids in numpy.split(encoded.ids, encoded.lengths.cumsum()[:-1])
        ]
    )
    rows = slice(None) if encoded.rows is None else torch.from_numpy(encoded.rows)
    dY = torch.from_numpy(numpy.concatenate(d_docs, axis=1)[0])
    (hidden[rows] * dY).sum().backward()
    expected = gradients(layer)
    assert found.keys() == expected.keys()
    assert len(found) == (16 if options["tuning"] == "lora" else 38)
    for name in found:
        scale = expected[name].abs().max().item()
        assert_allclose(found[name], expected[name], atol=1e-4 * max(scale, 1), err_msg=name)
    assert sum(float(g.abs().sum()) for g in found.values()) > 1


def test_gradients_go_to_their_docs(layer):
    # Only the last Doc gets a gradient, behind an empty one: as if it were alone.
    last = NLP.make_doc("Ann ate naan")
    docs = [NLP.make_doc("Zürich"), NLP.make_doc(""), last]
    batch, backprop = layer.begin_update(docs)
    shapes = [d.model_output.last_hidden_state.shape for d in batch.doc_data[::2]]
    backprop(
        batch.unsplit_by_doc(
            [[numpy.zeros(shapes[0], dtype="float32")], [numpy.ones(shapes[1], dtype="float32")]]
        )
    )
    found = gradients(layer)
    batch, backprop = layer.begin_update([last])
    backprop(batch.unsplit_by_doc([[numpy.ones(shapes[1], dtype="float32")]]))
    for name, expected in gradients(layer).items():
        assert_allclose(found[name], expected, atol=1e-4)


def test_gradients_of_two_updates_add_up(layer):
    a, b = [NLP.make_doc("Ann ate")], [NLP.make_doc("naan in York")]
    backprop_random(layer, a)
    first = gradients(layer)
    backprop_random(layer, b)
    second = gradients(layer)
    backprop_random(layer, a)
    backprop_random(layer, b)
    for name, both in gradients(layer).items():
        assert_allclose(both, first[name] + second[name], atol=1e-5)


def test_gradients_for_other_docs(layer):
    batch, _ = layer.begin_update([NLP.make_doc("Ann"), NLP.make_doc("Lee")])
    gradient = numpy.zeros((1, 2, 64), dtype="float32")
    with pytest.raises(ValueError, match=r"gradients for \d+ subtokens of 2 Docs, but got 2"):
        batch.unsplit_by_doc([[gradient]])


def test_frozen_decoders_get_no_gradients(decoder_folder, docs):
    layer = make_layer(decoder_folder, tuning="frozen")
    backprop_random(layer, docs)
    assert gradients(layer) == {}


def test_training_output_is_that_of_predict(layer, docs):
    trained, _ = layer.begin_update(docs)
    for X, Y in zip(trained.doc_data, layer.predict(docs).doc_data, strict=True):
        for name in X.model_output:
            assert_close(X.model_output[name], Y.model_output[name])


def test_subtoken_data_survives_bytes(layer):
    (data,) = layer.predict([NLP.make_doc("Ann ate naan")]).doc_data
    restored = TransformerData.empty().from_bytes(data.to_bytes())
    assert isinstance(restored.model_output, ModelOutput)
    assert (restored.model_output["last_hidden_state"] == data.tensors[0]).all()
    assert restored.align.dataXd.tolist() == data.align.dataXd.tolist()


def test_half_precision_crosses_as_float32(decoder_folder):
    layer = make_layer(decoder_folder, dtype="bfloat16")
    full = make_layer(decoder_folder)
    docs = [NLP.make_doc(TEXTS[0])]
    Y = vectors(layer, docs)[0]
    assert Y.dtype == numpy.float32
    assert_allclose(Y, vectors(full, docs)[0], atol=0.3)


def test_direction_reaches_the_layer(tmp_path):
    folder = make_decoder(tmp_path, bos=False)
    before, after = (NLP.make_doc(text) for text in ("Ann ate naan", "Ann ate York"))
    for pattern, sees_the_future in (("cccc", False), ("cccb", True), ("bccc", True)):
        layer = make_layer(folder, unmasking=pattern)
        X, Y = vectors(layer, [before, after])
        assert numpy.allclose(X[0, 0], Y[0, 0], atol=1e-5) != sees_the_future


def test_torch_output_is_a_batch_of_one_row(layer):
    batch = layer.predict([NLP.make_doc("Ann"), NLP.make_doc("Lee")])
    hidden = torch2xp(batch.model_output.last_hidden_state)
    assert hidden.shape == (1, len(batch.wordpieces.strings[0]), 64)
