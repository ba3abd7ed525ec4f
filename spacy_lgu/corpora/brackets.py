"""Spans in brackets: the tags of CoNLL-2005, CoNLL-2011 and CoNLL-2012 (OntoNotes).

    Mira    (PERSON*    a span opens
    Holt    *)          it closes
    left    *           nothing opens or closes
    Lund    (GPE)       a span of one token, also written (GPE*)

Spans may nest, as in (ORG(GPE*), and several may close with one token, as in *)).
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..inputs import cut
from .records import LabeledSpan

_TAG = re.compile(r"(?P<opened>(?:\([^\s()*]+)*)(?P<star>\*?)(?P<closed>[^\s(*]*)")
_OUTSIDE = "*"


class Fault(NamedTuple):
    """A tag that its scheme does not allow: its place in the sentence, and what is wrong."""

    place: int
    message: str


class Parse(NamedTuple):
    """The spans of a sentence from left to right, a span before those inside it, or a fault."""

    spans: list[LabeledSpan]
    fault: Fault | None


def parse_brackets(tags: Sequence[str]) -> Parse:
    """Read the brackets of a sentence.

    tags (Sequence[str]): One tag per token.
    RETURNS (Parse): The spans, none if there is a fault.
    """
    spans: list[LabeledSpan | None] = []
    open_spans: list[tuple[int, int, str]] = []  # its place among the spans, its start, its label
    for place, tag in enumerate(tags):
        found = _TAG.fullmatch(tag)
        if found is None or not (found["star"] or found["opened"]):
            return Parse(
                [], Fault(place, f"{cut(tag)} is not one of {_OUTSIDE}, (LABEL*, *) and (LABEL)")
            )
        for label in found["opened"].split("(")[1:]:
            open_spans.append((len(spans), place, label))
            spans.append(None)
        # A closing bracket may repeat the label, as in (V*V).
        for name in found["closed"].split(")")[: found["closed"].count(")")]:
            if not open_spans:
                return Parse([], Fault(place, f"{cut(tag)} closes a span, but none is open"))
            number, start, label = open_spans.pop()
            if name not in ("", label):
                return Parse(
                    [], Fault(place, f"{cut(tag)} closes {cut(name)}, but {cut(label)} is open")
                )
            spans[number] = LabeledSpan(start, place + 1, label)
        if found["closed"].rpartition(")")[2]:
            return Parse([], Fault(place, f"{cut(tag)} does not end with * or )"))
    if open_spans:
        _, start, label = open_spans[-1]
        return Parse([], Fault(start, f"the span of {cut(label)} that opens here never closes"))
    return Parse([span for span in spans if span is not None], None)
