"""The component in a pipeline: predictions, training, saving, listeners."""

import copy
import json
import logging
import pickle
import sys

import numpy
import pytest
import spacy
from numpy.testing import assert_allclose
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry
from thinc.api import SGD, Adam

from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.decoder.pack_size import choose_items
from spacy_lgu.layers.windows import Windows
from spacy_lgu.listeners.stock import USES_STOCK, ComponentBase
from spacy_lgu.pipeline.transformer import LGUTransformer

from ..conftest import (
    LISTENER,
    TEXTS,
    entity_examples,
    layer_config,
    make_decoder,
    make_nlp,
    needs_stock,
    ner_config,
    shake_adapter,
    tagger_config,
    train_nlp,
    update_nlp,
)

MIXED = [TEXTS[0], "", " \n ", "naan", TEXTS[2], " ", "Ann Lee in Zürich"]


@pytest.fixture(scope="module")
def nlp(decoder_folder):
    """Trained for a few steps. Not to be changed."""
    nlp = make_nlp(decoder_folder, pipes=("ner", "tagger"))
    train_nlp(nlp, steps=15)
    return nlp


def answers(docs):
    return [
        ([(e.start, e.end, e.label_) for e in doc.ents], [token.tag_ for token in doc])
        for doc in docs
    ]


def vectors(docs):
    return [doc._.trf_data.model_output.get("last_hidden_state") for doc in docs]


def assert_same(docs, expected, *, atol=1e-4):
    assert [doc.text for doc in docs] == [doc.text for doc in expected]
    assert answers(docs) == answers(expected)
    for X, Y in zip(vectors(docs), vectors(expected), strict=True):
        assert (X is None) == (Y is None)
        if X is not None:
            assert_allclose(X, Y, atol=atol)


def decoder_of(nlp, name="transformer"):
    for node in nlp.get_pipe(name).model.walk():
        for shim in node.shims:
            return shim.ready.decoder
    raise AssertionError(f"No decoder in {name}")


def trained_weights(nlp, name="transformer"):
    return {n: p.detach().clone() for n, p in decoder_of(nlp, name).trainable()}


def test_the_factory_is_found_by_its_entry_point(nlp):
    assert isinstance(nlp.get_pipe("transformer"), LGUTransformer)
    assert isinstance(nlp.get_pipe("transformer"), ComponentBase)
    assert nlp.get_pipe_meta("transformer").factory == "lgu_transformer"
    assert nlp.get_pipe_meta("transformer").assigns == ["doc._.trf_data"]
    assert "spacy-lgu.Tok2VecLGU.v1" in registry.architectures.get_entry_points()


def test_one_by_one_is_in_a_pipe(nlp):
    expected = [nlp(text) for text in MIXED]
    assert_same(list(nlp.pipe(MIXED)), expected)
    assert_same(list(nlp.pipe(MIXED, batch_size=2)), expected)
    for doc, Y in zip(expected, vectors(expected), strict=True):
        if len(doc):
            assert Y.shape == (1, len(doc._.trf_data.wordpieces.strings[0]), 64)


def test_an_empty_stream(nlp):
    assert list(nlp.pipe([])) == []
    assert [len(doc) for doc in nlp.pipe(["", ""])] == [0, 0]


def test_select_pipes(nlp):
    expected = nlp("Ann Lee")
    with nlp.select_pipes(disable=["ner", "tagger"]):
        doc = nlp("Ann Lee")
    assert doc._.trf_data.model_output.last_hidden_state.shape[2] == 64
    assert doc.ents == ()
    assert_same([nlp("Ann Lee")], [expected])


@pytest.mark.parametrize("pooling", ["reduce_first.v1", "reduce_mean.v1", "reduce_last.v1"])
def test_poolings(decoder_folder, pooling):
    listener = {"pooling": {"@layers": pooling}}
    nlp = make_nlp(decoder_folder, pipes=("tagger",), listener=listener)
    docs = list(nlp.pipe(MIXED))
    arrays = nlp.get_pipe("tagger").model.get_ref("tok2vec").predict(docs)
    for doc, X in zip(docs, arrays, strict=True):
        data = doc._.trf_data
        if not len(doc):
            assert X.shape[0] == 0
            continue
        rows = [
            data.model_output.last_hidden_state[0][data.align[i].dataXd.ravel()]
            for i in range(len(doc))
        ]
        take = {"reduce_first.v1": 0, "reduce_last.v1": -1}
        expected = [
            r[take[pooling]] if pooling in take else r.mean(axis=0, dtype="float32") for r in rows
        ]
        assert_allclose(X, numpy.array(expected), atol=1e-5)
    # Gradients come back through each pooling, empty Docs and white space included.
    examples = [Example(doc, nlp.make_doc(doc.text)) for doc in nlp.pipe(MIXED[:4])]
    for example in examples:
        for token in example.reference:
            token.tag_ = "UP"
    before = trained_weights(nlp)
    update_nlp(nlp, examples, SGD(0.1))
    after = trained_weights(nlp)
    assert [name for name in before if (before[name] == after[name]).all()] == []


def test_extra_annotations_are_set(decoder_folder):
    @registry.annotation_setters("tests.first_subtokens")
    def make_setter():
        def set_annotations(docs, batch):
            for doc, data in zip(docs, batch.doc_data, strict=True):
                doc.user_data["subtokens"] = sum(data.wordpieces.lengths)

        return set_annotations

    component = {"set_extra_annotations": {"@annotation_setters": "tests.first_subtokens"}}
    nlp = make_nlp(decoder_folder, pipes=(), component=component)
    docs = list(nlp.pipe(["Ann ate naan", "", "Ann"]))
    assert [doc.user_data["subtokens"] for doc in docs] == [4, 0, 2]
    assert nlp("Ann ate").user_data["subtokens"] == 3


# Batches.


@pytest.fixture
def passes(monkeypatch):
    """The sequence lengths of every forward pass, which has no filler."""
    monkeypatch.setattr("spacy_lgu.decoder.decoder.count_filler", lambda *args: 0)
    recorded = []
    original = LGUDecoder.forward

    def forward(decoder, packed):
        recorded.append(packed.lengths.tolist())
        return original(decoder, packed)

    monkeypatch.setattr(LGUDecoder, "forward", forward)
    return recorded


@pytest.mark.parametrize("max_batch_items", [10, 33, 64])
def test_max_batch_items_bounds_every_forward_pass(decoder_folder, passes, max_batch_items):
    options = {"pipes": (), "window": 10, "stride": 5}
    texts = [*MIXED, " ".join(TEXTS * 3)]
    whole = make_nlp(decoder_folder, component={"max_batch_items": 100_000}, **options)
    passes.clear()
    expected = list(whole.pipe(texts))
    assert len(passes) == 1
    total = sum(passes[0])
    passes.clear()
    nlp = make_nlp(decoder_folder, component={"max_batch_items": max_batch_items}, **options)
    passes.clear()
    assert_same(list(nlp.pipe(texts)), expected)
    assert max(sum(lengths) for lengths in passes) <= max_batch_items
    assert sum(sum(lengths) for lengths in passes) == total
    # One Doc is split as well.
    passes.clear()
    nlp(texts[-1])
    assert len(passes) > 1
    assert max(sum(lengths) for lengths in passes) <= max_batch_items


def test_a_long_doc_never_exceeds_max_batch_items(decoder_folder, passes):
    # No window is given, and the decoder's context of 64 is larger than a pass may be.
    nlp = make_nlp(decoder_folder, component={"max_batch_items": 20})
    doc = nlp.make_doc("Ann ate naan. " * 30)
    passes.clear()
    nlp.get_pipe("transformer")(doc)
    assert max(sum(lengths) for lengths in passes) == 20
    assert (doc._.trf_data.align.lengths > 0).all()


def test_every_copy_counts_in_a_forward_pass(decoder_folder, passes):
    nlp = make_nlp(decoder_folder, component={"max_batch_items": 40}, repeat=1)
    doc = nlp.make_doc("Ann ate naan. " * 30)
    passes.clear()
    nlp.get_pipe("transformer")(doc)
    assert max(sum(lengths) for lengths in passes) == 40  # a window of 20, twice
    assert (doc._.trf_data.align.lengths > 0).all()


@pytest.mark.parametrize("tuning", ["lora", "frozen", "full"])
def test_the_first_layers_with_repeated_texts(decoder_folder, tmp_path, tuning):
    options = {"unmasking": "cb", "n_layers": 3, "repeat": 1, "tuning": tuning}
    nlp = make_nlp(decoder_folder, pipes=("ner", "tagger"), **options)
    losses = train_nlp(nlp, steps=6)
    assert losses[-1]["tagger"] < losses[0]["tagger"]
    expected = list(nlp.pipe(MIXED))
    assert_same([nlp(text) for text in MIXED], expected)
    nlp.to_disk(tmp_path / "x")
    loaded = spacy.load(tmp_path / "x")
    assert decoder_of(loaded).unmasked == (False, False, True)
    assert_same(list(loaded.pipe(MIXED)), expected)
    restored = spacy.util.load_model_from_config(loaded.config).from_bytes(nlp.to_bytes())
    assert_same(list(restored.pipe(MIXED)), expected)
    nlp.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    assert nlp.config["components"]["tagger"]["model"]["tok2vec"]["n_layers"] == 3
    assert decoder_of(nlp, "tagger").repeat == 1
    assert answers(nlp.pipe(MIXED)) == answers(expected)


def test_a_window_larger_than_a_forward_pass_fails_before_weights_are_read(
    decoder_folder, monkeypatch
):
    monkeypatch.delattr("spacy_lgu.decoder.building.load_shared_base")
    with pytest.raises(ValueError, match="window is 32 subtokens, but max_batch_items allows 20"):
        make_nlp(decoder_folder, component={"max_batch_items": 20}, window=32)


def test_max_batch_items_given_at_load_is_used(nlp, tmp_path, passes):
    nlp.to_disk(tmp_path)
    overrides = {"components": {"transformer": {"max_batch_items": 16}}}
    loaded = spacy.load(tmp_path, config=overrides)
    passes.clear()
    list(loaded.pipe(["Ann ate naan in New York"] * 9))
    assert max(sum(lengths) for lengths in passes) == 14  # two Docs of 7 subtokens
    assert loaded.get_pipe("transformer").shim.max_batch_items == 16
    restored = spacy.util.load_model_from_config(loaded.config).from_bytes(nlp.to_bytes())
    assert restored.get_pipe("transformer").shim.max_batch_items == 16


@pytest.fixture
def memory(monkeypatch):
    """Packs are chosen as on a GPU. RETURNS (list[int]): Its free bytes, to be changed."""
    free = [0]

    def choose(decoder):
        return choose_items(free[0], 1000)

    monkeypatch.setattr("spacy_lgu.layers.shim.find_items", choose)
    return free


def test_auto_is_decided_at_the_first_text(decoder_folder, tmp_path, passes, memory):
    nlp = make_nlp(decoder_folder, component={"max_batch_items": "auto"}, pipes=())
    texts = ["Ann ate naan in New York"] * 200  # of 7 subtokens
    assert nlp.get_pipe("transformer").shim.max_batch_items == "auto"
    memory[0] = 1_100_000  # of which half holds 550
    passes.clear()
    expected = list(nlp.pipe(texts, batch_size=200))
    memory[0] = 2**40  # what others do later changes nothing
    list(nlp.pipe(texts, batch_size=200))
    assert [sum(lengths) for lengths in passes] == [511, 511, 378] * 2
    nlp.to_disk(tmp_path)
    assert nlp.config["components"]["transformer"]["max_batch_items"] == "auto"
    loaded = spacy.load(tmp_path)
    passes.clear()
    assert_same(list(loaded.pipe(texts, batch_size=200)), expected)
    assert [sum(lengths) for lengths in passes] == [1024 // 7 * 7, 1400 - 1024 // 7 * 7]


def test_a_long_doc_has_a_vector_for_every_token(tmp_path):
    folder = make_decoder(tmp_path, n_layers=1)
    nlp = make_nlp(folder, pipes=(), unmasking="b", stride=63)
    nlp.max_length = 10_000_000
    doc = Doc(nlp.vocab, words=["Ann", *["ate"] * 199_999])
    nlp.get_pipe("transformer")(doc)
    data = doc._.trf_data
    assert data.model_output.last_hidden_state.shape == (1, 200_001, 64)
    assert data.align.lengths.tolist() == [1] * 200_000
    assert data.align.dataXd.tolist() == list(range(1, 200_001))
    assert numpy.isfinite(data.model_output.last_hidden_state).all()


# Training.


def test_training_learns(decoder_folder):
    nlp = make_nlp(decoder_folder, pipes=("ner", "tagger"))
    history = train_nlp(nlp, steps=40)
    assert history[-1]["ner"] < 0.05 * history[0]["ner"]
    assert history[-1]["tagger"] < 0.1 * history[0]["tagger"]
    docs = list(nlp.pipe([example.text for example in entity_examples(nlp)]))
    assert [[(e.text, e.label_) for e in doc.ents] for doc in docs] == [
        [("Ann Lee", "PER"), ("New York", "LOC")],
        [("Zürich", "LOC")],
        [("Ann", "PER")],
        [("Lee", "PER")],
    ]
    assert [token.tag_ for token in docs[1]] == ["UP", "LOW", "LOW", "LOW"]


def collect_gradients(nlp, examples):
    """Gradients of one update, taken instead of a step."""
    nlp.update(examples, sgd=False)
    decoder = decoder_of(nlp)
    found = {n: p.grad.clone() for n, p in decoder.trainable() if p.grad is not None}
    for _, parameter in decoder.trainable():
        parameter.grad = None
    return found


def with_tags(nlp, texts):
    return [
        Example.from_dict(doc, {"tags": ["UP" if t.text[0].isupper() else "LOW" for t in doc]})
        for doc in map(nlp.make_doc, texts)
    ]


def test_two_listeners_add_their_gradients_to_the_right_docs(decoder_folder):
    """With empty Docs in between; nothing is moved to another Doc."""
    one = {"pipes": ("tagger",)}
    tagger = make_nlp(decoder_folder, **one)
    ner = make_nlp(decoder_folder, pipes=("ner",))
    both = make_nlp(decoder_folder, pipes=("tagger", "ner"))
    both.get_pipe("tagger").model.from_bytes(tagger.get_pipe("tagger").model.to_bytes())
    both.get_pipe("ner").model.from_bytes(ner.get_pipe("ner").model.to_bytes())
    found = []
    for nlp in (tagger, ner, both):
        empty = [Example(nlp.make_doc(""), nlp.make_doc("")) for _ in range(2)]
        full = entity_examples(nlp)
        found.append(collect_gradients(nlp, [empty[0], full[0], empty[1], *full[1:]]))
    by_tagger, by_ner, by_both = found
    assert len(by_both) == 16
    for name, gradient in by_both.items():
        assert by_tagger[name].abs().sum() > 0
        assert by_ner[name].abs().sum() > 0
        assert_allclose(gradient, by_tagger[name] + by_ner[name], atol=1e-4)


def test_empty_docs_change_no_gradient(decoder_folder):
    nlp = make_nlp(decoder_folder, pipes=("tagger",))
    texts = ["Ann Lee ate", "naan in New York"]
    expected = collect_gradients(nlp, with_tags(nlp, texts))
    mixed = collect_gradients(nlp, with_tags(nlp, ["", texts[0], "", texts[1], ""]))
    for name, gradient in mixed.items():
        assert_allclose(gradient, expected[name], atol=1e-5)
    assert collect_gradients(nlp, with_tags(nlp, ["", ""])) == {}


def test_accumulated_gradients_are_one_step_over_the_merged_batch(decoder_folder):
    texts = ["Ann Lee ate", "naan in New York", "It paid Lee"]
    weights = []
    for n_parts in (1, 3):
        nlp = make_nlp(decoder_folder, pipes=("tagger",))
        optimizer = Adam(0.01, use_averages=False, grad_clip=0)
        examples = with_tags(nlp, texts)
        # As in spaCy's training loop with accumulate_gradient.
        for i in range(n_parts):
            part = examples if n_parts == 1 else examples[i : i + 1]
            nlp.update(part, sgd=False)
        for name in ("transformer", "tagger"):
            nlp.get_pipe(name).finish_update(optimizer)
        weights.append(trained_weights(nlp))
    for name, merged in weights[0].items():
        assert_allclose(weights[1][name], merged, atol=1e-4)


def test_grad_factor_scales_what_reaches_the_decoder(decoder_folder):
    found = []
    for factor in (1.0, 0.5, 0.0):
        nlp = make_nlp(decoder_folder, pipes=("tagger",), listener={"grad_factor": factor})
        found.append(collect_gradients(nlp, with_tags(nlp, ["Ann ate naan"])))
    for name, gradient in found[0].items():
        assert gradient.abs().sum() > 0
        assert_allclose(found[1][name], 0.5 * gradient, atol=1e-6)
        assert found[2][name].abs().sum() == 0


@pytest.mark.parametrize("pipes", [("ner", "tagger"), ("tagger", "ner")])
@pytest.mark.parametrize("is_frozen", [True, False])
def test_the_decoder_learns_from_one_pipe_where_another_gives_nothing(
    decoder_folder, pipes, is_frozen
):
    """Whichever comes last: frozen, or without annotation in the batch."""
    nlp = make_nlp(decoder_folder, pipes=pipes)
    examples = entity_examples(nlp) if is_frozen else with_tags(nlp, TEXTS)
    alone = make_nlp(decoder_folder, pipes=("tagger",))
    expected = collect_gradients(alone, examples)
    nlp.update(examples, sgd=False, exclude=["ner"] if is_frozen else [])
    component, decoder = nlp.get_pipe("transformer"), decoder_of(nlp)
    before = trained_weights(nlp)
    component.finish_update(SGD(1.0, grad_clip=0.0))
    assert sum(float(gradient.abs().sum()) for gradient in expected.values()) > 0
    for name, weights in trained_weights(nlp).items():
        assert_allclose(before[name] - weights, expected[name], atol=1e-5)
    assert all(p.grad is None for p in decoder.parameters())


@pytest.mark.parametrize("own_optimizer", [False, True])
def test_updates_with_an_optimizer_step_after_the_gradients_are_there(
    decoder_folder, own_optimizer
):
    """nlp.update(sgd=optimizer) is what `spacy train` does, from the first batch to the last."""
    options = {"optimizer": {"@misc": "spacy-lgu.adamw.v1"}} if own_optimizer else {}
    found = []
    for update in (update_nlp, Language.update):
        nlp = make_nlp(decoder_folder, pipes=("tagger", "ner"), **options)
        optimizer = Adam(0.01, use_averages=False)
        for _ in range(3):
            update(nlp, entity_examples(nlp), sgd=optimizer)
        found.append(trained_weights(nlp))
    before = trained_weights(make_nlp(decoder_folder))
    for name, weights in found[0].items():
        assert (weights != before[name]).any()
        assert_allclose(found[1][name], weights, atol=1e-6)


def test_gradients_of_earlier_batches_are_stepped_if_the_last_has_none(decoder_folder):
    nlp = make_nlp(decoder_folder, pipes=("ner",))
    expected = collect_gradients(nlp, entity_examples(nlp))
    before = trained_weights(nlp)
    nlp.update(entity_examples(nlp), sgd=False)
    nlp.update(with_tags(nlp, TEXTS), sgd=False)  # tags, which nothing here learns
    nlp.get_pipe("transformer").finish_update(SGD(1.0, grad_clip=0.0))
    for name, weights in trained_weights(nlp).items():
        assert_allclose(before[name] - weights, expected[name], atol=1e-5)


def test_an_update_that_teaches_nothing(decoder_folder):
    nlp = make_nlp(decoder_folder, pipes=("tagger",))
    before = trained_weights(nlp)
    optimizer = SGD(1.0)
    for _ in range(2):
        losses = nlp.update(with_tags(nlp, TEXTS), sgd=optimizer, exclude=["tagger"])
        assert losses == {"transformer": 0.0}
    assert nlp.update(with_tags(nlp, [""]), sgd=optimizer) == {"tagger": 0.0}
    assert all((weights == before[name]).all() for name, weights in trained_weights(nlp).items())


def test_averages_are_used_and_given_back(decoder_folder):
    nlp = make_nlp(decoder_folder, pipes=("tagger",))
    optimizer = Adam(0.05, use_averages=True)
    for _ in range(4):
        update_nlp(nlp, entity_examples(nlp), optimizer)
    shim = nlp.get_pipe("transformer").shim
    kept, before = trained_weights(nlp), vectors([nlp("Ann ate naan")])[0]
    with nlp.use_params(optimizer.averages):
        for name, weights in trained_weights(nlp).items():
            assert_allclose(weights, optimizer.averages[shim.id, name])
        assert not numpy.allclose(vectors([nlp("Ann ate naan")])[0], before, atol=1e-3)
    assert (vectors([nlp("Ann ate naan")])[0] == before).all()
    for name, weights in trained_weights(nlp).items():
        assert (weights == kept[name]).all()


def test_only_the_head_is_trained_when_the_transformer_is_frozen(decoder_folder):
    nlp = make_nlp(decoder_folder, pipes=("tagger",))
    before = trained_weights(nlp)
    history = train_nlp(nlp, steps=30, exclude=("transformer",), annotates=["transformer"])
    assert history[-1]["tagger"] < 0.5 * history[0]["tagger"]
    assert all((weights == before[name]).all() for name, weights in trained_weights(nlp).items())
    assert all(p.grad is None for p in decoder_of(nlp).parameters())


@pytest.mark.parametrize("tuning", ["full", "frozen"])
def test_other_tunings_train(decoder_folder, tuning):
    nlp = make_nlp(decoder_folder, pipes=("tagger",), tuning=tuning)
    before = {n: p.detach().clone() for n, p in decoder_of(nlp).named_parameters()}
    history = train_nlp(nlp, steps=20, learn_rate=0.003 if tuning == "full" else 0.02)
    assert history[-1]["tagger"] < 0.5 * history[0]["tagger"]
    changed = {n for n, p in decoder_of(nlp).named_parameters() if (p != before[n]).any()}
    assert changed == (set(before) if tuning == "full" else set())


# Saving.


@pytest.mark.parametrize(
    ("tuning", "quantization"),
    [
        ("lora", "none"),
        ("lora", "nf4"),
        ("lora", "int8"),
        ("full", "none"),
        ("frozen", "none"),
        ("frozen", "nf4"),
    ],
)
def test_saved_and_loaded_is_as_before(decoder_folder, tmp_path, tuning, quantization):
    nlp = make_nlp(decoder_folder, tuning=tuning, quantization=quantization)
    train_nlp(nlp, steps=5)
    expected = list(nlp.pipe(MIXED))
    nlp.to_disk(tmp_path / "saved")
    saved = {path.name for path in (tmp_path / "saved" / "transformer").iterdir()}
    expected_names = {
        "lora": {"lgu.json", "tokenizer", "base", "adapter"},
        "full": {"lgu.json", "tokenizer", "weights"},
        "frozen": {"lgu.json", "tokenizer", "base"},
    }
    assert saved - {"vocab"} == expected_names[tuning]
    files = [path for path in (tmp_path / "saved" / "transformer").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors"}
    loaded = spacy.load(tmp_path / "saved")
    assert loaded.get_pipe("transformer").model.get_dim("nO") == 64
    assert_same(list(loaded.pipe(MIXED)), expected)
    restored = spacy.util.load_model_from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert_same(list(restored.pipe(MIXED)), expected)
    # Saving over a save, and training on after loading.
    loaded.to_disk(tmp_path / "saved")
    again = spacy.load(tmp_path / "saved")
    assert_same(list(again.pipe(MIXED)), expected)
    if tuning == "lora":
        train_nlp(again, steps=2)
        assert all(p.requires_grad for _, p in decoder_of(again).trainable())
        moved = trained_weights(again)
        assert any((moved[n] != w).any() for n, w in trained_weights(loaded).items())


def test_a_pipeline_trained_on_shared_subtokens_keeps_its_vectors(decoder_folder, tmp_path):
    """東京 is two subtokens, of which the second one shows parts of both characters."""

    def read(nlp):
        doc = nlp(Doc(nlp.vocab, words=["東", "京"], spaces=[False, False]))
        return doc._.trf_data.wordpieces.strings[0], doc._.trf_data.model_output.last_hidden_state

    nlp = make_nlp(decoder_folder, pipes=("tagger",))
    split, _ = read(nlp)
    assert split == ["<s>", "æĿ", "±", "ä", "º¬"]
    nlp.to_disk(tmp_path / "old")
    file = tmp_path / "old" / "transformer" / "lgu.json"
    old = json.loads(file.read_text())
    for name in ("subtokens", "files", "pipeline", "heads", "checksum"):
        del old[name]
    file.write_text(json.dumps({**old, "format": 1}))  # as the version that shared wrote it

    loaded = spacy.load(tmp_path / "old")
    shared, expected = read(loaded)
    assert shared == ["<s>", "æĿ", "±äº¬"]
    ids = numpy.array(loaded.get_pipe("transformer").shim.ready.tokenizer("東京")["input_ids"])
    direct = decoder_of(loaded).predict(ids, numpy.array([len(ids)]), 64)
    assert_allclose(expected[0], direct, atol=1e-5)

    loaded.to_disk(tmp_path / "again")
    empty = spacy.util.load_model_from_config(loaded.config)
    for other in (
        spacy.load(tmp_path / "again"),
        empty.from_bytes(loaded.to_bytes()),
        copy.deepcopy(loaded),
        pickle.loads(pickle.dumps(loaded)),
    ):
        strings, found = read(other)
        assert strings == shared
        assert_allclose(found, expected, atol=1e-5)
    loaded.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    shims = [s for node in loaded.get_pipe("tagger").model.walk() for s in node.shims]
    assert [shim.ready.subtokens for shim in shims] == ["shared"]


def test_loading_excluding_the_model_leaves_it_alone(nlp, tmp_path):
    nlp.get_pipe("transformer").to_disk(tmp_path / "saved")
    fresh = spacy.util.load_model_from_config(nlp.config)
    pipe = fresh.get_pipe("transformer").from_disk(tmp_path / "saved", exclude=["model", "vocab"])
    assert pipe.shim.built is None


def test_the_component_is_saved_and_loaded_alone(nlp, tmp_path):
    nlp.get_pipe("transformer").to_disk(tmp_path / "alone")
    pipe = spacy.util.load_model_from_config(nlp.config).get_pipe("transformer")
    pipe.from_disk(str(tmp_path / "alone"))
    doc = pipe(nlp.make_doc("Ann ate"))
    assert_allclose(vectors([doc])[0], vectors([nlp("Ann ate")])[0], atol=1e-5)
    assert "naan" in pipe.vocab.strings


def test_a_pipeline_without_weights_is_not_saved(decoder_folder, nlp, tmp_path):
    blank = spacy.blank("en")
    blank.add_pipe("lgu_transformer", config={"model": layer_config(decoder_folder)})
    with pytest.raises(ValueError, match=r"no weights yet: initialize the pipeline"):
        blank.to_disk(tmp_path / "blank")
    nlp.to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "transformer" / "lgu.json").unlink()
    with pytest.raises(ValueError, match=r"no decoder in .*transformer.*lgu.json is missing"):
        spacy.load(tmp_path / "saved")


def test_lora_settings_that_a_save_does_not_have_are_named(nlp, tmp_path, caplog):
    nlp.to_disk(tmp_path)
    with caplog.at_level(logging.WARNING, logger="spacy_lgu"):
        spacy.load(tmp_path)
        assert caplog.text == ""
        lora = "components.transformer.model.lora."
        spacy.load(tmp_path, config={f"{lora}rank": 16, f"{lora}dropout": 0.5})
    assert "keeps its own rank = 4, dropout = 0.0" in caplog.text
    assert "the config's [lora] says rank = 16, dropout = 0.5" in caplog.text


def test_base_weights_reach_the_save(decoder_folder, tmp_path):
    for base_weights in ("reference", "bundle"):
        component = {"base_weights": base_weights}
        nlp = make_nlp(decoder_folder, pipes=(), component=component)
        nlp.to_disk(tmp_path / base_weights)
        folder = tmp_path / base_weights / "transformer"
        assert (folder / "base").is_dir() == (base_weights == "bundle")
        assert json.loads((folder / "lgu.json").read_text())["base_weights"] == base_weights
        expected = nlp("Ann ate naan")
        assert_same([spacy.load(tmp_path / base_weights)("Ann ate naan")], [expected])
    large, small = (
        len(make_nlp(decoder_folder, pipes=(), component={"base_weights": b}).to_bytes())
        for b in ("bundle", "reference")
    )
    assert large - small > 500_000  # 150,000 weights in float32


@needs_stock
def test_another_architecture_in_the_factory():
    model = {"@architectures": "spacy-transformers.TransformerModel.v3", "name": "gpt2"}
    model["get_spans"] = {"@span_getters": "spacy-lgu.doc_spans.v1"}
    config = {"model": {**model, "tokenizer_config": {}, "transformer_config": {}}}
    config["model"]["mixed_precision"] = False
    config["model"]["grad_scaler_config"] = {}
    with pytest.raises(ValueError, match=r"needs the architecture spacy-lgu.LGUTransformer.v1"):
        LGUTransformer(spacy.blank("en").vocab, registry.resolve(config)["model"])


# In other places.


def test_in_the_stock_transformer_factory(decoder_folder, tmp_path):
    nlp = make_nlp(decoder_folder, factory="transformer")
    found = type(nlp.get_pipe("transformer")).__module__
    assert found == (
        "spacy_transformers.pipeline_component" if USES_STOCK else "spacy_lgu.listeners.component"
    )
    train_nlp(nlp, steps=5)
    expected = list(nlp.pipe(MIXED))
    nlp.to_disk(tmp_path)
    assert_same(list(spacy.load(tmp_path).pipe(MIXED)), expected)
    restored = spacy.util.load_model_from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert_same(list(restored.pipe(MIXED)), expected)


@pytest.fixture
def inside(decoder_folder):
    """A ner and a tagger with decoders of their own."""
    nlp = spacy.blank("en")
    tok2vec = layer_config(decoder_folder)
    tok2vec["@architectures"] = "spacy-lgu.Tok2VecLGU.v1"
    tok2vec["pooling"] = {"@layers": "reduce_mean.v1"}
    nlp.add_pipe("ner", config=ner_config(tok2vec))
    nlp.add_pipe("tagger", config=tagger_config(tok2vec))
    examples = entity_examples(nlp)

    def get_examples():
        return examples

    nlp.initialize(get_examples)
    shake_adapter(nlp.get_pipe("tagger").model)
    return nlp


def pooled(nlp, name="tagger"):
    tok2vec = nlp.get_pipe(name).model.get_ref("tok2vec")
    return tok2vec.predict([nlp.make_doc(text) for text in MIXED if text])


def test_inside_another_pipe(inside, tmp_path):
    before = trained_weights(inside, "ner")
    history = train_nlp(inside, steps=25)
    assert history[-1]["ner"] < 0.2 * history[0]["ner"]
    assert any((before[n] != w).any() for n, w in trained_weights(inside, "ner").items())
    expected = answers(inside.pipe(MIXED))
    assert expected[0][0] != []
    inside.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert answers(loaded.pipe(MIXED)) == expected
    for X, Y in zip(pooled(loaded), pooled(inside), strict=True):
        assert_allclose(X, Y, atol=1e-4)
    weight = next(decoder_of(inside, "ner").base.parameters())
    assert next(decoder_of(inside, "tagger").base.parameters()).data_ptr() == weight.data_ptr()


def test_replaced_listeners_predict_save_and_load_as_before(decoder_folder, tmp_path):
    nlp = make_nlp(decoder_folder, pipes=("ner", "tagger"))
    train_nlp(nlp, steps=10)
    expected = answers(nlp.pipe(MIXED))
    nlp.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    nlp.replace_listeners("transformer", "ner", ["model.tok2vec"])
    config = nlp.config["components"]["tagger"]["model"]["tok2vec"]
    assert config["@architectures"] == "spacy-lgu.Tok2VecLGU.v1"
    assert config["pooling"] == LISTENER["pooling"]
    assert config["grad_factor"] == 1.0
    pointers = {
        next(decoder_of(nlp, name).base.parameters()).data_ptr()
        for name in ("transformer", "ner", "tagger")
    }
    assert len(pointers) == 1  # the base is there once
    assert answers(nlp.pipe(MIXED)) == expected
    nlp.remove_pipe("transformer")
    assert answers(nlp.pipe(MIXED)) == expected
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert answers(loaded.pipe(MIXED)) == expected
    for X, Y in zip(pooled(loaded), pooled(nlp), strict=True):
        assert_allclose(X, Y, atol=1e-4)


def test_sourced_into_another_pipeline(nlp, tmp_path):
    expected = list(nlp.pipe(MIXED))
    other = spacy.blank("en")
    for name in ("transformer", "ner", "tagger"):
        other.add_pipe(name, source=nlp)
    assert_same(list(other.pipe(MIXED)), expected)
    other.to_disk(tmp_path)
    assert_same(list(spacy.load(tmp_path).pipe(MIXED)), expected)


def test_sourced_components_keep_their_weights_when_others_are_initialized(nlp, tmp_path):
    nlp.to_disk(tmp_path)
    text = f"""
[nlp]
lang = "en"
pipeline = ["transformer","tagger"]

[components]

[components.transformer]
source = "{tmp_path}"

[components.tagger]
source = "{tmp_path}"

[initialize]
"""
    from thinc.api import Config

    other = spacy.util.load_model_from_config(Config().from_str(text), auto_fill=True)
    examples = entity_examples(other)

    def get_examples():
        return examples

    with other.select_pipes(disable=["tagger"]):
        other.initialize(get_examples)
    assert_allclose(vectors([other("Ann ate")])[0], vectors([nlp("Ann ate")])[0], atol=1e-5)


def test_predicting_reads_no_file(nlp):
    opened = []
    nlp("Ann")
    watching = True

    def note(event, args):
        if watching and event == "open":
            opened.append(args[0])

    sys.addaudithook(note)  # for good: there is no way to remove one
    assert len(nlp("Ann ate naan")) == 3
    watching = False
    assert opened == []


def test_errors_go_to_the_handler(decoder_folder):
    """A Doc without sentences among those that have them."""
    spans = {"@span_getters": "spacy-lgu.sent_spans.v1"}
    nlp = make_nlp(decoder_folder, pipes=(), get_spans=spans)
    docs = [nlp.make_doc(text) for text in ("Ann ate", "Bo ate", "Cy ate")]
    for doc in (docs[0], docs[2]):
        doc[0].is_sent_start = True
        doc[1].is_sent_start = False
    with pytest.raises(ValueError, match="E030"):
        list(nlp.get_pipe("transformer").pipe(docs, batch_size=1))
    failed = []
    nlp.set_error_handler(lambda name, pipe, docs, error: failed.append((name, docs[0].text)))
    kept = list(nlp.get_pipe("transformer").pipe(docs, batch_size=1))
    assert [doc.text for doc in kept] == ["Ann ate", "Cy ate"]
    assert failed == [("transformer", "Bo ate")]


def test_pipelines_are_copied_and_pickled(nlp):
    expected = list(nlp.pipe(MIXED))
    for other in (copy.deepcopy(nlp), pickle.loads(pickle.dumps(nlp))):
        assert_same(list(other.pipe(MIXED)), expected)


def test_replaced_listeners_keep_the_options_of_the_component(decoder_folder, tmp_path, passes):
    component = {"max_batch_items": 8, "base_weights": "reference"}
    nlp = make_nlp(decoder_folder, pipes=("tagger",), component=component)
    nlp.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    config = nlp.config["components"]["tagger"]["model"]["tok2vec"]
    assert (config["max_batch_items"], config["base_weights"]) == (8, "reference")
    expected = nlp(TEXTS[0])
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    passes.clear()
    assert_same([loaded(TEXTS[0])], [expected])
    assert max(map(sum, passes)) <= 8
    shims = [s for node in loaded.get_pipe("tagger").model.walk() for s in node.shims]
    assert shims[0].base_weights == "reference"


def test_resuming_after_replaced_listeners(decoder_folder):
    nlp = make_nlp(decoder_folder, pipes=("tagger",))
    nlp.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    optimizer = nlp.resume_training()
    losses = nlp.update(entity_examples(nlp), sgd=optimizer)
    assert losses["tagger"] > 0


def test_the_window_of_the_config_stays_when_bytes_are_read(decoder_folder):
    nlp = make_nlp(decoder_folder, pipes=())
    other = make_nlp(decoder_folder, pipes=(), window=8, stride=3)
    other.from_bytes(nlp.to_bytes())
    assert other.get_pipe("transformer").shim.windows == Windows(window=8, stride=3)


def test_the_window_of_the_config_stays_inside_another_pipe(decoder_folder, tmp_path, passes):
    nlp = make_nlp(decoder_folder, pipes=("tagger",))
    nlp.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    nlp.to_disk(tmp_path)
    window = {"components.tagger.model.tok2vec.window": 8}
    loaded = spacy.load(tmp_path, exclude=["transformer"], config=window)
    passes.clear()
    loaded(" ".join(TEXTS))
    assert {length for lengths in passes for length in lengths} == {8}


def test_saving_without_the_model_leaves_the_saved_one_alone(nlp, tmp_path):
    component = nlp.get_pipe("transformer")
    component.to_disk(tmp_path / "x")
    before = sorted(path.name for path in (tmp_path / "x").iterdir())
    component.to_disk(tmp_path / "x", exclude=["model"])
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == before
    assert "lgu.json" in before
    (tmp_path / "x").rename(tmp_path / ".x.previous")  # as a killed save leaves it
    component.to_disk(tmp_path / "x", exclude=["model"])
    assert not (tmp_path / "x").exists()


def test_a_vocab_that_is_excluded_is_not_read(decoder_folder, tmp_path):
    nlp = make_nlp(decoder_folder, pipes=())
    nlp.vocab.strings.add("zzz-saved")
    pipe = nlp.get_pipe("transformer")
    pipe.to_disk(tmp_path / "x")
    data = pipe.to_bytes()
    for exclude in (["vocab"], []):
        for source in ("disk", "bytes"):
            fresh = spacy.blank("en")
            config = {"model": layer_config(decoder_folder)}
            other = fresh.add_pipe("lgu_transformer", name="transformer", config=config)
            if source == "disk":
                other.from_disk(tmp_path / "x", exclude=exclude)
            else:
                other.from_bytes(data, exclude=exclude)
            assert ("zzz-saved" in fresh.vocab.strings) == (not exclude), source
