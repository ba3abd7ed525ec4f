"""Pipes that listen: an order in which they get no vectors, and Docs without any."""

from functools import partial

import pytest
import spacy
from spacy.language import Language
from thinc.api import Adam

from spacy_lgu.pipeline.calibrating import calibrate_labeler

from ..conftest import CNN, LISTENER, entity_examples, layer_config, ner_config

CLEANER = {"attrs": {"_.trf_data": None, "tensor": None}}
TOK2VEC = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16, "upstream": "*"}
TEXT = "Ann Lee ate naan in New York"


def add_upstream(nlp, upstream, folder, **options):
    config = {"model": CNN if upstream == "tok2vec" else layer_config(folder, tuning="frozen")}
    factory = "tok2vec" if upstream == "tok2vec" else "lgu_transformer"
    nlp.add_pipe(factory, name=upstream, config=config, **options)


def add_labeler(nlp, upstream, **options):
    tok2vec = TOK2VEC if upstream == "tok2vec" else LISTENER
    return nlp.add_pipe("sequence_labeler", config={"model": {"tok2vec": tok2vec}}, **options)


def initialize(nlp):
    nlp.initialize(partial(entity_examples, nlp))
    return nlp


@pytest.fixture(params=["transformer", "tok2vec"])
def upstream(request):
    return request.param


@pytest.fixture
def nlp(upstream, decoder_folder):
    """Pipes in the right order."""
    nlp = spacy.blank("en")
    add_upstream(nlp, upstream, decoder_folder)
    add_labeler(nlp, upstream)
    nlp.add_pipe("doc_cleaner", config=CLEANER)
    return initialize(nlp)


def place_of(upstream):
    return {"transformer": r"doc\._\.trf_data", "tok2vec": r"doc\.tensor"}[upstream]


def test_all_ways_to_predict_in_the_right_order(nlp):
    assert nlp(TEXT).spans["sequence_labeler"] is not None
    docs = list(nlp.pipe([TEXT, "", " "]))
    assert [len(doc) for doc in docs] == [7, 0, 1]
    (pair,) = nlp.pipe([(TEXT, 1)], as_tuples=True)
    assert pair[1] == 1
    with nlp.select_pipes(disable="sequence_labeler"):
        assert "sequence_labeler" not in nlp(TEXT).spans
    nlp.evaluate(entity_examples(nlp))
    restored = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert "sequence_labeler" in restored(TEXT).spans


def test_the_pipe_it_listens_to_is_disabled(nlp, upstream):
    message = (
        rf"1 of 1 Docs have no {place_of(upstream)}, from which 'sequence_labeler' reads .*"
        rf"The order of the pipes is '{upstream}' \(disabled\), 'sequence_labeler', 'doc_cleaner'\."
        ".*Enable it"
    )
    with nlp.select_pipes(disable=upstream):
        with pytest.raises(ValueError, match=message):
            list(nlp.pipe([TEXT, ""]))
        assert nlp("").spans["sequence_labeler"] is not None
    assert nlp(TEXT).spans["sequence_labeler"] is not None


def test_an_error_handler_gets_the_docs_without_vectors(nlp, upstream):
    handled = []

    def note(name, pipe, docs, error):
        handled.append((name, len(docs), type(error)))

    nlp.set_error_handler(note)
    with nlp.select_pipes(disable=upstream):
        assert list(nlp.pipe([TEXT])) == []
    assert handled == [("sequence_labeler", 1, ValueError)]


def test_the_pipe_it_listens_to_is_excluded(nlp, upstream, tmp_path):
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path, exclude=[upstream])
    with pytest.raises(ValueError, match="The order of the pipes is 'sequence_labeler', 'doc_cle"):
        loaded(TEXT)


def test_the_pipe_it_listens_to_is_not_sourced(nlp, upstream):
    other = spacy.blank("en")
    other.add_pipe("sequence_labeler", source=nlp)
    with pytest.raises(ValueError, match=r"reads its vectors \(upstream = '\*'\)\. Expected: the "):
        other(TEXT)
    other.add_pipe(upstream, source=nlp, first=True)
    assert "sequence_labeler" in other(TEXT).spans


def test_a_copy_of_what_it_listens_to_needs_no_other_pipe(nlp, upstream):
    nlp.replace_listeners(upstream, "sequence_labeler", ["model.tok2vec"])
    other = spacy.blank("en")
    other.add_pipe("sequence_labeler", source=nlp)
    assert "sequence_labeler" in other(TEXT).spans


def test_calibration_needs_vectors(nlp, upstream):
    with pytest.raises(ValueError, match=rf"4 of 4 Docs have no {place_of(upstream)}"):
        calibrate_labeler(nlp.get_pipe("sequence_labeler"), entity_examples(nlp))


def test_training_behind_a_cleaner(nlp, upstream):
    message = (
        rf"The pipe 'doc_cleaner' removes {place_of(upstream)}, from which 'second' after it .*"
        rf"order of the pipes is '{upstream}', 'sequence_labeler', 'doc_cleaner', 'second'\..*"
        "add 'second' with before='doc_cleaner'"
    )
    if upstream == "transformer":
        with pytest.warns(UserWarning, match=message):
            labeler = add_labeler(nlp, upstream, name="second")
    else:
        labeler = add_labeler(nlp, upstream, name="second")
    with pytest.raises(ValueError, match=message):
        labeler.initialize(partial(entity_examples, nlp), nlp=nlp)


@pytest.mark.parametrize("has_upstream", [True, False])
def test_training_before_what_it_listens_to(decoder_folder, upstream, has_upstream):
    nlp = spacy.blank("en")
    add_labeler(nlp, upstream)
    if has_upstream:
        add_upstream(nlp, upstream, decoder_folder)
    order = f"'sequence_labeler', '{upstream}'" if has_upstream else "'sequence_labeler'"
    message = f"No pipe before 'sequence_labeler' writes .*order of the pipes is {order}"
    with pytest.raises(ValueError, match=message):
        initialize(nlp)


def test_training_on_a_pipe_with_another_name(decoder_folder):
    nlp = spacy.blank("en")
    add_upstream(nlp, "transformer", decoder_folder)
    listener = {**LISTENER, "upstream": "decoder"}
    nlp.add_pipe("sequence_labeler", config={"model": {"tok2vec": listener}})
    with pytest.raises(ValueError, match=r"No pipe before .*\(upstream = 'decoder'\)"):
        initialize(nlp)
    nlp.rename_pipe("transformer", "decoder")
    assert "sequence_labeler" in initialize(nlp)(TEXT).spans


def test_training_on_a_frozen_pipe_that_does_not_annotate(nlp, upstream):
    labeler = nlp.get_pipe("sequence_labeler")
    nlp.config["training"]["frozen_components"] = [upstream]
    with nlp.select_pipes(disable=upstream):
        message = f"no vectors in training: '{upstream}', .*frozen_components, but not in annot"
        with pytest.raises(ValueError, match=message):
            labeler.initialize(partial(entity_examples, nlp), nlp=nlp)
        nlp.config["training"]["annotating_components"] = [upstream]
        labeler.initialize(partial(entity_examples, nlp), nlp=nlp)
    optimizer = Adam(0.01)
    nlp.update(entity_examples(nlp), sgd=optimizer, exclude=[upstream], annotates=[upstream])


def test_a_pipe_that_is_in_no_pipeline_has_no_order(nlp, upstream):
    tok2vec = TOK2VEC if upstream == "tok2vec" else LISTENER
    alone = nlp.create_pipe("sequence_labeler", config={"model": {"tok2vec": tok2vec}})
    nlp.get_pipe(upstream).find_listeners(alone)
    alone.initialize(partial(entity_examples, nlp), nlp=nlp)
    with pytest.raises(ValueError, match=r"1 of 1 Docs have no .*'sequence_labeler' reads its vec"):
        alone(nlp.make_doc(TEXT))


# spaCy's own heads on the decoder.


def test_spacys_head_behind_a_cleaner(decoder_folder):
    nlp = spacy.blank("en")
    add_upstream(nlp, "transformer", decoder_folder)
    nlp.add_pipe("doc_cleaner", config=CLEANER)
    message = r"'doc_cleaner' removes doc\._\.trf_data, .*add 'ner' with before='doc_cleaner'"
    with pytest.warns(UserWarning, match=message):
        nlp.add_pipe("ner", config=ner_config(LISTENER))
    with pytest.raises(ValueError, match=message):
        initialize(nlp)


def test_spacys_head_before_the_decoder(decoder_folder):
    nlp = spacy.blank("en")
    add_upstream(nlp, "transformer", decoder_folder)
    initialize(nlp)
    nlp.add_pipe("ner", config=ner_config(LISTENER), first=True)
    with pytest.raises(ValueError, match=r"No pipe before 'ner' writes doc\._\.trf_data"):
        nlp.get_pipe("transformer").initialize(list, nlp=nlp)


def test_a_cleaner_of_other_things_may_stand_anywhere(decoder_folder):
    nlp = spacy.blank("en")
    add_upstream(nlp, "transformer", decoder_folder)
    cleaner = nlp.add_pipe("doc_cleaner")
    cleaner.cfg["attrs"] = {"tensor": None}
    nlp.add_pipe("ner", config=ner_config(LISTENER))
    nlp.add_pipe("doc_cleaner", name="last", config=CLEANER)
    assert initialize(nlp)(TEXT)._.trf_data is None


def listen_to(name):
    return {"model": {"tok2vec": {**LISTENER, "upstream": name}}}


def test_a_second_transformer_in_between_is_refused(decoder_folder):
    nlp = spacy.blank("en")
    for name in ("t1", "t2"):
        add_upstream(nlp, name, decoder_folder)
    nlp.add_pipe("sequence_labeler", name="second", config=listen_to("t2"))
    message = (
        r"'t2' writes doc\._\.trf_data after 't1', to which 'first' listens, .* add 'first' with "
        "before='t2'"
    )
    with pytest.warns(UserWarning, match=message):
        nlp.add_pipe("sequence_labeler", name="first", config=listen_to("t1"))
    with pytest.raises(ValueError, match=message):
        initialize(nlp)
    nlp.remove_pipe("first")
    nlp.add_pipe("sequence_labeler", name="first", config=listen_to("t1"), before="t2")
    initialize(nlp)


def test_docs_that_were_retokenized_are_refused(decoder_folder):
    nlp = spacy.blank("en")
    add_upstream(nlp, "transformer", decoder_folder)
    add_labeler(nlp, "transformer")
    initialize(nlp)
    nlp.add_pipe("merge_noun_chunks_of_test", after="transformer")
    with pytest.raises(ValueError, match="has 6 tokens, but vectors of 7: it was retokenized"):
        nlp(TEXT)


@Language.component("merge_noun_chunks_of_test", retokenizes=True)
def merge_first(doc):
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[:2])
    return doc


@pytest.mark.parametrize("annotating", ["${training.frozen_components}", "${vars.frozen}"])
def test_variables_in_the_config_are_filled_in(decoder_folder, annotating):
    nlp = spacy.blank("en")
    add_upstream(nlp, "transformer", decoder_folder)
    add_labeler(nlp, "transformer")
    nlp.config["vars"] = {"frozen": ["transformer"]}
    nlp.config["training"]["frozen_components"] = "${vars.frozen}"
    with pytest.raises(ValueError, match=r"is in \[training\] frozen_components, but not in annot"):
        initialize(nlp)
    nlp.config["training"]["annotating_components"] = annotating
    initialize(nlp)
