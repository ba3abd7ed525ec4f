"""Which classes are in use, under which names, and that both sets compute the same."""

import json
import warnings

import numpy
import pytest
import spacy
from spacy.util import registry
from thinc.api import reduce_mean

from spacy_lgu.listeners import annotation_setters, building, names, span_getters, stock

from ..conftest import make_nlp, needs_stock, train_nlp
from ..hiding import run_python

NAMES = {
    "architectures": ["TransformerListener"],
    "span_getters": ["doc_spans", "sent_spans", "strided_spans"],
    "annotation_setters": ["null_annotation_setter"],
}
TEXTS = ["Ann Lee ate naan in New York", "", " \n ", "Zürich is a city"]


def test_the_classes_in_use_are_of_one_package():
    package = "spacy_transformers" if stock.USES_STOCK else "spacy_lgu"
    classes = {*stock.__all__} - {"USES_STOCK", "ComponentBase", "ModelOutput"}
    found = {name: getattr(stock, name).__module__.split(".")[0] for name in classes}
    assert found == {name: package for name in classes} | {"PackedTransformerBatch": "spacy_lgu"}
    assert issubclass(stock.PackedTransformerBatch, stock.FullTransformerBatch)


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in NAMES.items() for n in names])
def test_names_of_both_packages_are_found(kind, name):
    attribute = {"TransformerListener": "transformer_listener"}.get(name, name) + "_v1"
    own = {
        "architectures": building,
        "span_getters": span_getters,
        "annotation_setters": annotation_setters,
    }
    expected = {"spacy-lgu": own[kind], "spacy-transformers": names}
    for package, module in expected.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            spacy.blank("en")
            assert registry.has(kind, f"{package}.{name}.v1")
            found = registry.get(kind, f"{package}.{name}.v1")
        assert found is getattr(module, attribute)
        assert getattr(registry, kind).get_all()[f"{package}.{name}.v1"] is found
    # What a package that `spacy package` builds requires: not spacy-transformers.
    assert registry.find(kind, f"spacy-lgu.{name}.v1")["module"].startswith("spacy_lgu.")
    package = "spacy_transformers." if stock.USES_STOCK else "spacy_lgu."
    assert registry.find(kind, f"spacy-transformers.{name}.v1")["module"].startswith(package)


@pytest.mark.parametrize("module", [building, names])
def test_listeners_are_built_of_the_classes_in_use(module):
    layer = module.transformer_listener_v1(reduce_mean(), grad_factor=0.5, upstream="trf")
    assert type(layer.get_ref("listener")) is stock.TransformerListener
    assert layer.get_ref("listener").upstream_name == "trf"
    assert [node.name for node in layer.walk()] == [
        "transformer-listener>>trfs2arrays", "transformer-listener", "trfs2arrays", "reduce_mean",
    ]  # fmt: skip
    assert layer.layers[1].attrs["grad_factor"] == 0.5
    layer = module.transformer_listener_v1(reduce_mean())
    assert layer.get_ref("listener").upstream_name == "*"
    assert layer.layers[1].attrs["grad_factor"] == 1.0


def test_the_setter_that_does_nothing():
    assert (
        annotation_setters.null_annotation_setter_v1()([], stock.PackedTransformerBatch.empty(0))
        is None
    )


def test_the_factory_of_spacy_transformers():
    nlp = spacy.blank("en")
    module = nlp.get_factory_meta("transformer").default_config["set_extra_annotations"]
    package = "spacy-transformers" if stock.USES_STOCK else "spacy-lgu"
    assert module == {"@annotation_setters": f"{package}.null_annotation_setter.v1"}
    if not stock.USES_STOCK:
        with pytest.raises(ValueError, match="missing required argument: 'model'"):
            nlp.add_pipe("transformer")


# In another process that has no spacy-transformers; arguments: a folder to load, and one to write.
OTHER = """
import json, sys
import numpy, spacy
from pathlib import Path
from spacy_lgu.listeners.stock import USES_STOCK
from tests.conftest import make_nlp, train_nlp
from tests.listeners.test_stock import ANSWERS, TEXTS, answer, train
assert not USES_STOCK
loaded = spacy.load({source!r})
answer(loaded, Path({target!r}) / "loaded")
answer(train(Path({decoder!r}), {factory!r}), Path({target!r}) / "trained")
"""
ANSWERS = "answers.json"


def train(decoder_folder, factory):
    """A pipeline under spacy-transformers' names, trained for some steps. Its losses are kept."""
    listener = {"@architectures": "spacy-transformers.TransformerListener.v1"}
    spans = {"@span_getters": "spacy-transformers.doc_spans.v1"}
    setter = {"@annotation_setters": "spacy-transformers.null_annotation_setter.v1"}
    nlp = make_nlp(
        decoder_folder,
        pipes=("ner", "tagger"),
        factory=factory,
        listener=listener,
        get_spans=spans,
        component={"set_extra_annotations": setter},
    )
    history = train_nlp(nlp, steps=8)
    nlp.meta["losses"] = [{k: float(v) for k, v in losses.items()} for losses in history]
    return nlp


def answer(nlp, folder):
    """Save a pipeline, with what it says of some texts."""
    nlp.to_disk(folder)
    docs = list(nlp.pipe(TEXTS))
    said = [[[(e.start, e.end, e.label_) for e in d.ents], [t.tag_ for t in d]] for d in docs]
    (folder / ANSWERS).write_text(json.dumps([said, nlp.meta.get("losses")]))
    numpy.savez(
        folder / "vectors.npz",
        *(d._.trf_data.model_output.last_hidden_state for d in docs if len(d)),
    )


def read(folder):
    said, losses = json.loads((folder / ANSWERS).read_text())
    with numpy.load(folder / "vectors.npz") as arrays:
        return said, losses, [arrays[name] for name in arrays.files]


@needs_stock
@pytest.mark.parametrize("factory", ["lgu_transformer", "transformer"])
def test_pipelines_travel_and_train_alike(decoder_folder, tmp_path, factory):
    """With spacy-transformers here, and without it there: vectors, entities, losses."""
    here, there = tmp_path / "here", tmp_path / "there"
    answer(train(decoder_folder, factory), here)
    code = OTHER.format(
        source=str(here), target=str(there), decoder=str(decoder_folder), factory=factory
    )
    there.mkdir()
    process = run_python(code, hide=True)
    assert process.returncode == 0, process.stderr
    said, losses, vectors = read(here)
    assert said[0][0] != []
    trained = read(there / "trained")
    assert trained[0] == read(there / "loaded")[0] == said
    for one, other in zip(losses, trained[1], strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    answer(spacy.load(there / "trained"), tmp_path / "back")
    for found in (trained[2], read(there / "loaded")[2], read(tmp_path / "back")[2]):
        for X, Y in zip(found, vectors, strict=True):
            numpy.testing.assert_allclose(X, Y, atol=1e-5)
    assert read(tmp_path / "back")[0] == said


def test_nothing_is_imported_of_a_package_that_is_not_there():
    process = run_python(
        "import spacy, sys; spacy.blank('en'); print(sys.modules.keys())", hide=True
    )
    assert process.returncode == 0, process.stderr
    assert "'spacy_lgu.listeners.component'" in process.stdout
    assert "'spacy_transformers.data_classes'" not in process.stdout
    assert "'spacy_lgu.listeners.over_stock'" not in process.stdout
