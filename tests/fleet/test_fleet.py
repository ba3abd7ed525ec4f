"""Pipelines on one base: the annotations of each alone, in one pass."""

import gc
import threading

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.util import load_config

from spacy_lgu.decoder import loading
from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.decoder.fleet import FleetDecoder
from spacy_lgu.decoder.mixing import MixedBatch
from spacy_lgu.fleet import Fleet
from spacy_lgu.fleet.bases import MisfitError
from spacy_lgu.fleet.requests import Request
from spacy_lgu.fleet.seats import find_tokenizer

from ..conftest import TEXTS, make_decoder, make_nlp

# What the pipelines of a fleet differ in.
PIPELINES = {
    "people": {"unmasking": "ccbb", "pipes": ("ner",)},
    "tags": {
        "unmasking": "bbbb",
        "pipes": ("tagger",),
        "lora_rank": 8,
        "lora_modules": "all-linear",
    },
    "short": {"unmasking": "cb", "n_layers": 2, "repeat": 1, "pipes": ("ner", "tagger")},
    "frozen": {"unmasking": "cccc", "tuning": "frozen", "pipes": ("ner",)},
}
REFERENCE = {"component": {"base_weights": "reference"}}
MIX = [(text, name) for text in TEXTS for name in ("tags", "people", "short", "tags", "frozen")]


@pytest.fixture(scope="module")
def folders(decoder_folder, tmp_path_factory):
    """Four saved pipelines. Not to be changed."""
    root = tmp_path_factory.mktemp("fleet")
    for name, options in PIPELINES.items():
        nlp = make_nlp(decoder_folder, **REFERENCE, **options)
        if name == "people":
            nlp.add_pipe("sentencizer", first=True)
            nlp.add_pipe("doc_cleaner")
        nlp.to_disk(root / name)
    del nlp
    gc.collect()  # as long as these live, their bases are the ones that loading finds
    return {name: root / name for name in PIPELINES}


@pytest.fixture(scope="module")
def fleet(folders):
    return Fleet.load(folders)


@pytest.fixture
def own(folders):
    """A fleet to be changed."""
    return Fleet.load(folders)


@pytest.fixture(scope="module")
def alone(folders):
    return {name: spacy.load(folder) for name, folder in folders.items()}


def same(doc, expected) -> bool:
    """Whether two Docs have equal annotations."""
    parts = [d.to_json() for d in (doc, expected)]
    vectors = [d._.trf_data for d in (doc, expected)]
    if vectors[1] is not None:
        found, wanted = (v.model_output.last_hidden_state for v in vectors)
        if not torch.allclose(torch.tensor(found), torch.tensor(wanted), atol=1e-4):
            return False
    return doc.text == expected.text and parts[0] == parts[1]


def expect(alone, mix):
    return [alone[name](text) for text, name in mix]


def test_annotations_are_those_of_each_pipeline_alone(fleet, alone):
    docs = list(fleet.pipe(MIX))
    assert all(map(same, docs, expect(alone, MIX)))
    assert any(doc.ents for doc in docs)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_batches_do_not_matter(fleet, alone, batch_size):
    assert all(map(same, fleet.pipe(MIX, batch_size=batch_size), expect(alone, MIX)))


def test_a_batch_is_one_pass(fleet, monkeypatch):
    calls = []
    predict = FleetDecoder.predict

    def count(self, ids, lengths, members, max_items):
        calls.append(len(set(members)))
        return predict(self, ids, lengths, members, max_items)

    monkeypatch.setattr(FleetDecoder, "predict", count)
    list(fleet.pipe(MIX))
    assert calls == [4]


def test_contexts_docs_and_single_texts(fleet, alone):
    doc = fleet["tags"].make_doc(TEXTS[0])
    items = [(doc, "tags", 1), ("", "people", 2), (TEXTS[1], "short", 3)]
    found = list(fleet.pipe(items, as_tuples=True))
    assert [context for _, context in found] == [1, 2, 3]
    assert found[0][0] is doc
    assert same(doc, alone["tags"](TEXTS[0]))
    assert len(found[1][0]) == 0
    assert same(fleet(TEXTS[0], "people"), alone["people"](TEXTS[0]))


def test_nothing_but_empty_texts(fleet):
    assert [len(doc) for doc in fleet.pipe([("", "people"), ("", "tags")])] == [0, 0]


def test_names_and_descriptions(fleet):
    assert fleet.names == list(PIPELINES)
    assert len(fleet) == 4
    assert "tags" in fleet
    assert fleet.describe()[2] == "short: cb in 2 layers, adapter of 0.0 MiB in 4 modules"


def test_the_base_is_in_memory_once(fleet):
    bases = [fleet[name].get_pipe("transformer").shim.ready.decoder.base for name in fleet.names]
    places = [base.embed_tokens.weight.data_ptr() for base in bases]
    assert len(set(places)) == 1


# Errors


@Language.component("fleet_breaks_on_mask")
def fleet_breaks_on_mask(doc):
    if "mask" in doc.text:
        raise RuntimeError(f"cannot read {doc.text[:3]}")
    return doc


@pytest.mark.parametrize("place", ["first", "last"])
def test_an_error_does_not_lose_its_neighbours(own, alone, place, caplog):
    own["people"].add_pipe("fleet_breaks_on_mask", **{place: True})
    failed = []
    with caplog.at_level("WARNING", logger="spacy_lgu"):
        docs = list(own.pipe(MIX, on_error=lambda *told: failed.append(told)))
    told = [record.getMessage() for record in caplog.records if record.name == "spacy_lgu"]
    side = {"first": "before", "last": "after"}[place]
    assert told == [
        f"The pipeline 'people': {what} failed (RuntimeError: cannot read The). Its texts of this "
        "batch are annotated again."
        for what in (f"a pipe {side} the decoder", "the pipeline")
    ]
    assert [(text, name, str(e)) for text, name, e in failed] == [
        (TEXTS[1], "people", "cannot read The")
    ]
    left = [pair for pair in MIX if pair != (TEXTS[1], "people")]
    assert all(map(same, docs, expect(alone, left)))
    assert len(docs) == len(left)


def test_a_failure_that_does_not_come_again_is_told(own, alone, caplog):
    failures = [RuntimeError("once")]

    def break_once(doc):
        if failures:
            raise failures.pop()
        return doc

    Language.component("fleet_breaks_once", func=break_once)
    own["people"].add_pipe("fleet_breaks_once")
    with caplog.at_level("WARNING", logger="spacy_lgu"):
        assert all(map(same, own.pipe(MIX), expect(alone, MIX)))
    assert "'people': a pipe after the decoder failed (RuntimeError: once)." in caplog.text


def test_without_a_handler_an_error_is_raised_after_the_docs_before_it(own):
    own["people"].add_pipe("fleet_breaks_on_mask")
    stream = own.pipe([(text, "people") for text in TEXTS])
    assert next(stream).text == TEXTS[0]
    with pytest.raises(RuntimeError, match="cannot read The"):
        next(stream)


@pytest.mark.parametrize("place", ["first", "last"])
def test_error_handlers_of_a_pipeline_leave_out_what_fails(own, alone, place):
    own["people"].add_pipe("fleet_breaks_on_mask", **{place: True})
    told = []
    for name in PIPELINES:
        own[name].default_error_handler = lambda name, pipe, docs, e: told.append(docs[0].text)
    docs = list(own.pipe(MIX))
    left = [pair for pair in MIX if pair != (TEXTS[1], "people")]
    assert all(map(same, docs, expect(alone, left)))
    assert len(docs) == len(left)
    assert told == [TEXTS[1]]


def poison_spans(nlp):
    attrs = nlp.get_pipe("transformer").model.attrs
    get_spans = attrs["get_spans"]

    def get_some(docs):
        if any("mask" in doc.text for doc in docs):
            raise LookupError("no spans")
        return get_spans(docs)

    attrs["get_spans"] = get_some


def test_a_transformer_that_fails_is_heard_of_by_its_own_pipeline(own, alone):
    poison_spans(own["people"])
    told = []
    for name in PIPELINES:
        own[name].get_pipe("transformer").set_error_handler(
            lambda name, pipe, docs, e: told.append((pipe, docs[0].text, len(docs)))
        )
    docs = list(own.pipe(MIX))
    left = [pair for pair in MIX if pair != (TEXTS[1], "people")]
    assert all(map(same, docs, expect(alone, left)))
    assert told == [(own["people"].get_pipe("transformer"), TEXTS[1], 1)]


def test_one_text_of_many_that_fails_costs_a_few_tries(own):
    own["people"].add_pipe("fleet_breaks_on_mask")
    failed, sizes = [], []
    pipe = own["people"].pipe

    def count(texts, **options):
        if options.get("as_tuples"):
            sizes.append(len(texts))
        return pipe(texts, **options)

    own["people"].pipe = count
    texts = [TEXTS[1] if i == 40 else f"{i}" for i in range(64)]
    docs = list(own.pipe([(t, "people") for t in texts], on_error=lambda *t: failed.append(t[0])))
    assert [doc.text for doc in docs] == [text for text in texts if text != TEXTS[1]]
    assert failed == [TEXTS[1]]
    assert len(sizes) == 13


@pytest.mark.parametrize("good", [1, 30, 63])
def test_many_texts_that_fail_do_not_speak_for_another(own, good):
    own["people"].add_pipe("fleet_breaks_on_mask")
    failed = []
    texts = ["Rome" if i == good else f"{TEXTS[1]} {i}" for i in range(64)]
    docs = list(own.pipe([(t, "people") for t in texts], on_error=lambda *t: failed.append(t[0])))
    assert [doc.text for doc in docs] == ["Rome"]
    assert failed == [text for text in texts if text != "Rome"]


def test_a_pipe_that_gives_new_docs_beside_one_that_fails(own):
    Language.component("fleet_new_doc", func=lambda doc: doc.copy())
    own["people"].add_pipe("fleet_breaks_on_mask", first=True)
    own["people"].add_pipe("fleet_new_doc")
    own["people"].default_error_handler = lambda *args: None
    docs = list(own.pipe([(text, "people") for text in TEXTS]))
    assert [doc.text for doc in docs] == [TEXTS[0], TEXTS[2]]


def test_a_decoder_that_fails_leaves_each_to_its_own(own, alone, monkeypatch, caplog):
    def fail(*args):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(FleetDecoder, "predict", fail)
    with caplog.at_level("WARNING", logger="spacy_lgu"):
        assert all(map(same, own.pipe(MIX), expect(alone, MIX)))
    assert "One pass for 4 pipelines failed (OutOfMemoryError: CUDA out of memory.)" in caplog.text


def test_a_text_that_does_not_fit_fails_alone(own, alone, monkeypatch):
    mix, forward = MixedBatch.mix, LGUDecoder.forward
    tokenizer = own["people"].get_pipe("transformer").shim.ready.tokenizer
    large = tokenizer("§")["input_ids"][-1]

    def check(ids):
        if large in ids:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    def limited_mix(ids, *args, **options):
        check(ids)
        return mix(ids, *args, **options)

    def limited_forward(self, packed):
        check(packed.ids)
        return forward(self, packed)

    monkeypatch.setattr(MixedBatch, "mix", limited_mix)
    monkeypatch.setattr(LGUDecoder, "forward", limited_forward)
    failed = []
    requests = [*MIX[:4], ("§ 1", "people"), *MIX[4:]]
    docs = list(own.pipe(requests, on_error=lambda *told: failed.append(told)))
    assert len(docs) == len(MIX)
    assert all(map(same, docs, expect(alone, MIX)))
    ((text, name, told),) = failed
    assert (text, name) == ("§ 1", "people")
    assert "too little memory on cpu for" in str(told)


def test_unknown_names_and_other_items(fleet):
    failed = []
    mix = [(TEXTS[0], "tags"), (TEXTS[0], "tgas"), (TEXTS[1], "tags")]
    docs = list(fleet.pipe(mix, on_error=lambda *told: failed.append(told)))
    assert [doc.text for doc in docs] == TEXTS[:2]
    assert str(failed[0][2]) == (
        "The fleet has no pipeline named 'tgas'. Its pipelines: people, tags, short, frozen."
    )
    with pytest.raises(ValueError, match="no pipeline named 'x'"):
        fleet("text", "x")
    with pytest.raises(ValueError, match=r"tuples \(text, name\), but got 'text'"):
        list(fleet.pipe(["text"]))
    with pytest.raises(ValueError, match=r"\(text, name, context\)"):
        list(fleet.pipe(MIX, as_tuples=True))


# Adding and removing


def test_pipelines_come_and_go(own, folders, alone):
    nlp = own.remove("tags")
    assert own.names == ["people", "short", "frozen"]
    with pytest.raises(ValueError, match="no pipeline named 'tags'"):
        own.remove("tags")
    with pytest.raises(ValueError, match="named 'people' already"):
        own.add("people", folders["people"])
    own.add("again", nlp)
    mix = [(text, name) for text in TEXTS for name in ("again", "short")]
    wanted = [(text, {"again": "tags"}.get(name, name)) for text, name in mix]
    assert all(map(same, own.pipe(mix), expect(alone, wanted)))


def test_the_layers_of_a_deep_pipeline_that_is_gone_are_not_kept(own):
    depths = {name: own._state.seats[name].member.n_layers for name in own.names}
    deepest = max(depths.values())
    assert min(depths.values()) < deepest == own._state.decoder.n_layers
    mix = [(text, "short") for text in TEXTS]
    expected = list(own.pipe(mix))
    for name, depth in depths.items():
        if depth == deepest:
            own.remove(name)
    assert own._state.decoder.n_layers == depths["short"] < deepest
    assert all(map(same, own.pipe(mix), expected))


def test_docs_are_annotated_once_even_if_a_neighbour_fails(own):
    ruler = own["tags"].add_pipe("span_ruler", config={"overwrite": False, "spans_key": "r"})
    ruler.add_patterns([{"label": "W", "pattern": TEXTS[0].split()[0]}])

    @Language.component("fails_at_bad")
    def fail(doc):
        if doc.text.startswith("Bad"):
            raise ValueError("bad")
        return doc

    own["tags"].add_pipe("fails_at_bad", last=True)
    make = own["tags"].make_doc
    docs = [make(text) for text in (TEXTS[0], "Bad one", TEXTS[0])]
    outcomes = own.run([Request(text=doc, name="tags") for doc in docs])
    assert isinstance(outcomes[1], ValueError)
    assert [len(outcomes[place].spans["r"]) for place in (0, 2)] == [1, 1]


def test_pipelines_come_and_go_while_threads_are_served(own, folders, alone):
    mix = [pair for pair in MIX if pair[1] in ("people", "short")]
    expected = expect(alone, mix)
    done, wrong, served = threading.Event(), [], []

    def serve() -> None:
        while not done.is_set():
            docs = list(own.pipe(mix, batch_size=4))
            served.append(len(docs))
            wrong.extend(d for d, e in zip(docs, expected, strict=True) if not same(d, e))

    threads = [threading.Thread(target=serve) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        own.remove("tags")
        own.add("tags", folders["tags"])
    done.set()
    for thread in threads:
        thread.join()
    assert served
    assert not wrong


def test_an_empty_fleet_takes_another_base(own, tmp_path):
    other = make_nlp(make_decoder(tmp_path / "decoder", seed=3))
    with pytest.raises(MisfitError, match=r"'other' does not fit this fleet: identity of its base"):
        own.add("other", other)
    for name in list(own.names):
        own.remove(name)
    own.add("other", other)
    assert next(own.pipe([(TEXTS[0], "other")])).text == TEXTS[0]


def test_another_base_is_found_before_its_weights_are_read(own, folders, tmp_path, monkeypatch):
    make_nlp(make_decoder(tmp_path / "decoder", seed=3), **REFERENCE).to_disk(tmp_path / "other")
    make_nlp(tmp_path / "decoder", quantization="nf4", **REFERENCE).to_disk(tmp_path / "nf4")

    def refuse(*args, **options):
        raise AssertionError("A base was loaded.")

    monkeypatch.setattr(loading, "load_decoder", refuse)
    with pytest.raises(MisfitError, match=r"'other' does not fit .*decoder', not the fleet's"):
        own.add("other", tmp_path / "other")
    with pytest.raises(ValueError, match=r"'b' does not fit .* They have one name"):
        Fleet.load({"a": tmp_path / "other", "b": tmp_path / "nf4"})


def test_a_batch_tells_what_became_of_each_text(own, alone):
    own["people"].add_pipe("fleet_breaks_on_mask")
    texts = [Request(text=text, name="people") for text in TEXTS]
    first, second, third = own.run([*texts[:2], Request(text=TEXTS[2], name="tags")])
    assert same(first, alone["people"](TEXTS[0]))
    assert str(second) == "cannot read The"
    assert same(third, alone["tags"](TEXTS[2]))
    assert own.run([]) == []


# Pipelines that run apart


def test_who_runs_apart_is_told_and_served(own, decoder_folder, alone, caplog):
    inside = make_nlp(decoder_folder)
    inside.replace_listeners("transformer", "ner", ["model.tok2vec"])
    inside.remove_pipe("transformer")
    with caplog.at_level("WARNING", logger="spacy_lgu"):
        own.add("inside", inside)
    assert "inside: apart, because its decoder is inside the pipe 'ner'" in caplog.text
    own.add("blank", spacy.blank("en"))
    assert find_tokenizer(own["blank"]) is None
    assert len(find_tokenizer(inside)) == len(find_tokenizer(own["people"]))
    own.add("full", make_nlp(decoder_folder, tuning="full"))
    assert [line for line in own.describe() if "apart" in line] == [
        "inside: apart, because its decoder is inside the pipe 'ner', not in an lgu_transformer",
        "blank: apart, because it has no decoder",
        "full: apart, because all its weights were trained (tuning = 'full')",
    ]
    mix = [(text, name) for text in TEXTS for name in ("people", "inside", "blank", "full")]
    expected = [(alone.get(name) or own[name])(text) for text, name in mix]
    assert all(map(same, own.pipe(mix), expected))


def test_a_transformer_that_is_disabled_is_not_run(own):
    own["tags"].select_pipes(enable=[])
    docs = list(own.pipe([(TEXTS[0], "tags"), (TEXTS[0], "people")]))
    assert not docs[0].has_annotation("TAG")
    assert docs[1].has_annotation("SENT_START")


def test_a_fleet_of_pipelines_without_a_shared_base(decoder_folder):
    own = Fleet()
    own.add("full", make_nlp(decoder_folder, tuning="full"))
    own.add("people", make_nlp(decoder_folder))
    assert [doc.text for doc in own.pipe([("a", "full"), ("b", "people")])] == ["a", "b"]


def test_a_shorter_pipeline_saves_what_it_would_alone(decoder_folder, tmp_path):
    options = {"unmasking": "cb", "n_layers": 2, "quantization": "nf4"}
    loading._shared_bases.clear()
    make_nlp(decoder_folder, **options).to_disk(tmp_path / "alone")
    loading._shared_bases.clear()
    deeper = make_nlp(decoder_folder, quantization="nf4")
    nlp = make_nlp(decoder_folder, **options)
    first, second = (n.get_pipe("transformer").shim.ready.decoder.base for n in (deeper, nlp))
    assert first.embed_tokens.weight is second.embed_tokens.weight
    nlp.to_disk(tmp_path / "beside")
    files = ("config.json", "model.safetensors")
    one, other = (
        [(tmp_path / name / "transformer" / "base" / file).read_bytes() for file in files]
        for name in ("alone", "beside")
    )
    assert one == other
    config = load_config(tmp_path / "beside" / "config.cfg")
    assert config["components"]["transformer"]["model"]["n_layers"] == 2


def test_no_pass_is_larger_than_a_pipeline_allows(decoder_folder, tmp_path, monkeypatch):
    for name, items in (("small", 50), ("large", 500)):
        component = {"max_batch_items": items}
        make_nlp(decoder_folder, pipes=(), component=component).to_disk(tmp_path / name)
    fleet = Fleet.load({name: tmp_path / name for name in ("small", "large")})
    predict, seen = FleetDecoder.predict, []

    def remember(self, ids, lengths, members, max_items):
        seen.append(max_items)
        return predict(self, ids, lengths, members, max_items)

    monkeypatch.setattr(FleetDecoder, "predict", remember)
    list(fleet.pipe([("Ann", "small"), ("Bo", "large")]))
    assert seen == [50]
