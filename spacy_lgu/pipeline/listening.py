"""Whether the vectors that a pipe listens for can reach it, and whether they did.

spaCy's listeners read what an earlier pipe wrote on the Docs. Where it wrote nothing, or a
doc_cleaner has removed it, they silently read zeros.
"""

import weakref
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.pipeline.functions import DocCleaner
from spacy.tokens import Doc
from thinc.api import Model

from ..listeners.data import check_tokens

# Where the listeners of spacy-transformers and of spaCy look, by the name of the layer: a pipeline
# without the former need not import it.
_PLACES = {"transformer-listener": "_.trf_data", "tok2vec-listener": "tensor"}

# Which pipeline a pipe was made in, for error messages. Not an attribute: pipes are pickled and
# copied.
_pipelines: "weakref.WeakKeyDictionary[TrainablePipe, weakref.ref[Language]]" = (
    weakref.WeakKeyDictionary()
)


def remember_pipeline(pipe: TrainablePipe, nlp: Language) -> None:
    """Note which pipeline a pipe is in, for error messages."""
    _pipelines[pipe] = weakref.ref(nlp)


def known_pipeline(pipe: TrainablePipe) -> Language | None:
    """The pipeline a pipe was made in, if it is still there. Others may source the pipe."""
    reference = _pipelines.get(pipe)
    return None if reference is None else reference()


def find_obstacle(nlp: Language, pipe: Any) -> str | None:
    """Why the order of the pipes, disabled ones included, keeps vectors from a pipe's listeners.

    nlp (Language): The pipeline.
    pipe (Any): One of its pipes.
    RETURNS (str | None): Names the order, and what to do, when no pipe before this one writes the
        vectors, or another pipe removes or overwrites them. None if all is well.
    """
    place_in_order = [i for i, (_, other) in enumerate(nlp.components) if other is pipe]
    for i, (listener, place) in product(place_in_order, _listeners(pipe)):
        name, before = nlp.component_names[i], nlp.components[:i]
        writers = [k for k, (other, _) in enumerate(before) if _writes(nlp, other, listener, place)]
        if not writers:
            return (
                f"No pipe before {name!r} writes doc.{place}, from which it reads its vectors "
                f"(upstream = {listener.upstream_name!r}). {_order(nlp)} {_advice(name)}"
            )
        for between, other in before[writers[-1] + 1 :]:
            if isinstance(other, DocCleaner) and place in other.cfg["attrs"]:
                return (
                    f"The pipe {between!r} removes doc.{place}, from which {name!r} after it "
                    f"reads its vectors. {_order(nlp)} Put {between!r} after all pipes that "
                    f"listen: add {name!r} with before={between!r}."
                )
            if _assigns(nlp, between, place):
                writer = before[writers[-1]][0]
                return (
                    f"The pipe {between!r} writes doc.{place} after {writer!r}, to which {name!r} "
                    f"listens, so that {name!r} would read the vectors of {between!r}. "
                    f"{_order(nlp)} Put each pipe directly after the one that it listens to: add "
                    f"{name!r} with before={between!r}."
                )
    return None


def check_training(nlp: Language, pipe: Any) -> None:
    """Check that vectors can reach a pipe's listeners when it is trained and used.

    nlp (Language): The pipeline.
    pipe (Any): One of its pipes.
    RETURNS (None): Raises ValueError for what find_obstacle finds, and when a pipe that writes the
        vectors is frozen and does not annotate in training.
    """
    if obstacle := find_obstacle(nlp, pipe):
        raise ValueError(obstacle)
    training = nlp.config.interpolate()["training"]
    frozen = {*training["frozen_components"]} - {*training["annotating_components"]}
    for name in frozen.intersection(nlp.component_names):
        if any(_writes(nlp, name, *listener) for listener in _listeners(pipe)):
            raise ValueError(
                f"{pipe.name!r} gets no vectors in training: {name!r}, which writes them, is in "
                "[training] frozen_components, but not in annotating_components. Put it into both."
            )


def check_vectors(pipe: TrainablePipe, docs: Sequence[Doc]) -> None:
    """Check that Docs have the vectors that a pipe listens for; a Doc without tokens needs none.

    pipe (TrainablePipe): The pipe.
    docs (Sequence[Doc]): What it is about to read.
    RETURNS (None): Raises ValueError naming the order of the pipes, if it is known, and for Docs
        whose tokens are not those that the vectors were made for.
    """
    for listener, place in _listeners(pipe):
        without = [doc for doc in docs if len(doc) and not _has_vectors(doc, place)]
        if without:
            nlp = known_pipeline(pipe)
            # A pipe that was sourced runs in another one, which has a vocab of its own.
            order = _order(nlp) + " " if nlp and nlp.vocab is without[0].vocab else ""
            raise ValueError(
                f"{len(without)} of {len(docs)} Docs have no doc.{place}, from which {pipe.name!r} "
                f"reads its vectors (upstream = {listener.upstream_name!r}). "
                f"{order}{_advice(pipe.name)}"
            )
        if place == "_.trf_data":
            check_tokens(docs)


def listens_to(pipe: Any, transformer: str) -> bool:
    """Whether a pipe has a listener for a transformer of this name."""
    return any(
        place == "_.trf_data" and listener.upstream_name in ("*", transformer)
        for listener, place in _listeners(pipe)
    )


def _listeners(pipe: Any) -> Iterator[tuple[Any, str]]:
    """The listening layers of a pipe, each with the place where it looks."""
    model = getattr(pipe, "model", None)
    for node in model.walk() if isinstance(model, Model) else ():
        if node.name in _PLACES:
            yield node, _PLACES[node.name]


def _writes(nlp: Language, name: str, listener: Any, place: str) -> bool:
    return listener.upstream_name in ("*", name) and _assigns(nlp, name, place)


def _assigns(nlp: Language, name: str, place: str) -> bool:
    return f"doc.{place}" in nlp.get_pipe_meta(name).assigns


def _has_vectors(doc: Doc, place: str) -> bool:
    if place == "tensor":
        return doc.tensor is not None and doc.tensor.size > 0
    return doc.has_extension("trf_data") and doc._.trf_data is not None


def _order(nlp: Language) -> str:
    names = [f"{n!r} (disabled)" if n in nlp.disabled else repr(n) for n in nlp.component_names]
    return f"The order of the pipes is {', '.join(names)}."


def _advice(name: str) -> str:
    return (
        f"Expected: the pipe that it listens to, enabled, before {name!r}, and no doc_cleaner in "
        "between. Enable it (nlp.enable_pipe, or spacy.load without disable and exclude), source "
        f"it too (nlp.add_pipe('transformer', source=..., before={name!r})), put doc_cleaner last, "
        f"or call nlp.replace_listeners where {name!r} was trained."
    )
