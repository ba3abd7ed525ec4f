"""Texts of dev in which two candidates find different entities, as displaCy shows them."""

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from .svg import tag, text
from .trials import Trial

# Most texts that are shown.
_MOST = 25
SpansT = list[list[Any]]  # start, end, label


def draw_disagreements(folder: Path, best: Trial, other: Trial) -> tuple[str, int]:
    """The texts in which two candidates differ most, with what is annotated.

    folder (Path): Of the search.
    best, other (Trial): Whose predictions are compared.
    RETURNS (tuple[str, int]): Their markup, and in how many texts they differ; ("", 0) if the
        predictions are not there.
    """
    files = [
        folder / "predictions" / name
        for name in ("gold.json", f"{best.name}.json", f"{other.name}.json")
    ]
    if not all(file.exists() for file in files):
        return "", 0
    gold, ours, theirs = (json.loads(file.read_text(encoding="utf8")) for file in files)
    if not len(gold["texts"]) == len(ours) == len(theirs):  # not the same texts
        return "", 0
    names = (f"best: {best.candidate}", f"all causal: {other.candidate}")
    differing = [
        (len(_differ(a, b)), place) for place, (a, b) in enumerate(zip(ours, theirs, strict=True))
    ]
    found = sorted((-n, place) for n, place in differing if n)
    shown = [
        _draw_text(
            gold["texts"][place],
            [
                ("annotated", gold["gold"][place]),
                (names[0], ours[place]),
                (names[1], theirs[place]),
            ],
        )
        for _, place in found[:_MOST]
    ]
    return "".join(shown), len(found)


def _draw_text(content: str, versions: Sequence[tuple[str, SpansT]]) -> str:
    from spacy import displacy

    rows = []
    style = "span" if any(_overlap(spans) for _, spans in versions) else "ent"
    for name, spans in versions:
        # displaCy escapes texts, but no labels.
        named = [(start, end, text(of_span)) for start, end, of_span in sorted(spans)]
        if style == "ent":
            ents = [{"start": s, "end": e, "label": of_span} for s, e, of_span in named]
            doc = {"text": content, "ents": ents, "title": None}
        else:
            doc = _cut(content, named)
        drawn = displacy.render(doc, style=style, manual=True, page=False, jupyter=False)
        rows.append(tag("div", tag("span", text(name), class_="who"), drawn))
    return tag("article", *rows)


def _overlap(spans: SpansT) -> bool:
    ordered = sorted(spans)
    return any(after[0] < before[1] for before, after in pairwise(ordered))


def _cut(content: str, spans: Sequence[tuple[int, int, str]]) -> dict[str, Any]:
    """A text as displaCy wants it where spans overlap: in tokens, cut where spans begin and end."""
    ends = {end for start, end, _ in spans} | {start for start, _, _ in spans}
    ends |= {match.end() for match in re.finditer(r"\s+", content)}
    starts = sorted({0, *ends} - {len(content)})
    place = {start: i for i, start in enumerate(starts)} | {len(content): len(starts)}
    return {
        "text": content,
        "tokens": [content[a:b] for a, b in pairwise([*starts, len(content)])],
        "spans": [
            {"start_token": place[start], "end_token": place[end], "label": label}
            for start, end, label in spans
        ],
        "title": None,
    }


def _differ(ours: SpansT, theirs: SpansT) -> set[tuple[Any, ...]]:
    return set(map(tuple, ours)) ^ set(map(tuple, theirs))
