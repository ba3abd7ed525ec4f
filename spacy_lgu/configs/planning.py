"""Heads in order, with what they need from each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from .heads import HEADS, find_shared

TRANSFORMER, DOC_CLEANER, SENTENCIZER = "transformer", "doc_cleaner", "sentencizer"
# Part of a pipeline wherever they are needed, named or not.
ALWAYS = (TRANSFORMER, DOC_CLEANER)
SENTENCIZER_TEXT = """
# By punctuation, for the entity_linker; a parser or a senter in its place would learn it.
[components.sentencizer]
factory = "sentencizer"
overwrite = false
punct_chars = null

[components.sentencizer.scorer]
@scorers = "spacy.senter_scorer.v1"
"""
# How well the helper scores says nothing about what is trained.
SENTENCIZER_SCORES: Mapping[str, float | None] = {
    "sents_f": 0.0,
    "sents_p": 0.0,
    "sents_r": 0.0,
}


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The pipes of a config.

    heads (tuple[str, ...]): Names in HEADS, in their order.
    helpers (tuple[str, ...]): Other pipes that a head needs, each before it.
    names (tuple[str, ...]): All pipes, in their order.
    annotating (tuple[str, ...]): Pipes whose annotations others need while they are trained.
    remarks (tuple[str, ...]): What the user should know before training.
    """

    heads: tuple[str, ...]
    names: tuple[str, ...]
    helpers: tuple[str, ...] = ()
    annotating: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def plan_pipeline(names: Sequence[str]) -> Pipeline:
    """Put heads into a pipeline, with what they need.

    names (Sequence[str]): Names in HEADS, in the order of the pipeline. ALWAYS may be among them.
    RETURNS (Pipeline): Raises ValueError for no name, an unknown one, one that comes twice, and for
        an order in which a head would not get what it reads.
    """
    heads = tuple(name for name in names if name not in ALWAYS)
    known = f"The heads are {', '.join(HEADS)}."
    if not heads:
        raise ValueError(
            f"The pipeline has no head, which would learn from the decoder's vectors. {known}"
        )
    for i, name in enumerate(heads):
        if name not in HEADS:
            close = get_close_matches(name, HEADS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"There is no head {name!r}.{hint} {known} Pipes that are not trained can be added "
                "to the written config."
            )
        if name in heads[:i]:
            raise ValueError(
                f"The head {name!r} is in the pipeline twice: expected each once. For a second "
                "one, copy its sections in the written config under another name."
            )
        if late := [other for other in heads[i + 1 :] if other in HEADS[name].after]:
            raise ValueError(
                f"{late[0]!r} stands after {name!r}, which reads what it writes. Name "
                f"{late[0]!r} first."
            )
    return _add_needs(heads)


def _add_needs(heads: tuple[str, ...]) -> Pipeline:
    annotating: list[str] = []
    helpers: list[str] = []
    remarks = [
        f"{' and '.join(names)} write {place}: see the remarks in the config."
        for place, names in find_shared(heads).items()
    ]
    if "span_finder" in heads and any(name.startswith("spancat") for name in heads):
        annotating.append("span_finder")
    if "entity_linker" in heads:
        sentences = [name for name in heads if name in ("parser", "senter")]
        if not sentences:
            helpers.append(SENTENCIZER)
        annotating += sentences[:1] or helpers
        remarks.append(
            "The entity_linker needs a knowledge base: --paths.kb FOLDER, as "
            "spacy.kb.InMemoryLookupKB.to_disk writes it."
        )
        if not any(HEADS[name].writes == "doc.ents" for name in heads):
            remarks.append(
                "No pipe finds entities for the entity_linker to link: add ner, sequence_labeler "
                "or an entity_ruler before it."
            )
    is_heard = any(HEADS[name].listens for name in heads)
    if any(name in HEADS for name in annotating):
        annotating.insert(0, TRANSFORMER)  # they read its vectors
    pipes = list(heads)
    if helpers:
        pipes[pipes.index("entity_linker") : pipes.index("entity_linker")] = helpers
    # The entity_linker is scored on Docs that all pipes have seen, and reads them again.
    is_cleaned = is_heard and "entity_linker" not in heads
    names = (*[TRANSFORMER] * is_heard, *pipes, *[DOC_CLEANER] * is_cleaned)
    return Pipeline(
        heads=heads,
        names=names,
        helpers=tuple(helpers),
        annotating=tuple(name for name in names if name in annotating),
        remarks=tuple(remarks),
    )
