"""What a client gets of an annotated Doc, as JSON."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from spacy.displacy import EntityRenderer, SpanRenderer
from spacy.tokens import Doc
from spacy.util import escape_html

from ..annotation.annotations import Annotations, read_annotations
from ..annotation.records import dump_fields

OFFSETS = ("codepoints", "utf16")
# Characters that displaCy may draw: it looks at each span once for each token.
MAX_DRAWN = 5000


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a client wants of each text.

    tokens (bool): Whether to have the tokens.
    html (bool): Whether to have displaCy's pictures.
    offsets (str): What is counted: one of OFFSETS.
    """

    tokens: bool = True
    html: bool = False
    offsets: str = "codepoints"


def render(doc: Doc, keys: Sequence[str], wanted: Wanted) -> str:
    """A Doc as JSON, in the words of Doc.to_json.

    doc (Doc): The Doc.
    keys (Sequence[str]): From scored_keys, for its pipeline.
    wanted (Wanted): What the client wants.
    RETURNS (str): An object with ents and spans as read_annotations gives them; tokens with their
        text; html; and what the pipeline wrote beside: sents, cats. Raises ValueError for NaN.
    """
    found = read_annotations(doc, keys)
    rendered: dict[str, Any] = {"ents": found.ents, "spans": found.spans}
    parsed = doc.to_json()
    for name in ("cats", "sents"):
        if parsed.get(name):
            rendered[name] = parsed[name]
    if wanted.html:
        rendered["html"] = _draw(doc, found)
    if wanted.tokens:
        rendered["tokens"] = [
            {"text": token.text, **described}
            for token, described in zip(doc, parsed["tokens"], strict=True)
        ]
    if wanted.offsets == "utf16":
        _count_utf16(doc.text, rendered)
    return dump_fields(rendered)


def _count_utf16(text: str, rendered: dict[str, Any]) -> None:
    """Change all offsets to units of UTF-16, as JavaScript and Java count them."""
    wide = [i for i, c in enumerate(text) if c > "\uffff"]  # these take two units
    if not wide:
        return
    for place in _list_places(rendered):
        for name in ("start", "end"):
            place[name] += bisect_left(wide, place[name])


def _list_places(rendered: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from rendered["ents"]
    for group in rendered["spans"].values():
        yield from group
    yield from rendered.get("sents", [])
    yield from rendered.get("tokens", [])


def _draw(doc: Doc, found: Annotations) -> dict[str, Any]:
    """RETURNS (dict): displaCy's HTML of the entities, and of each span group by key."""
    ents = [
        {"start": ent["start"], "end": ent["end"], "label": _label(ent), "kb_id": _link(ent)}
        for ent in found.ents
    ]
    drawn = EntityRenderer(_options(found.ents)).render([{"text": doc.text, "ents": ents}])
    words = [token.text for token in doc]
    groups = {}
    for key, described in found.spans.items():
        spans = [
            {"start_token": span.start, "end_token": span.end, "label": _label(one),
             "kb_id": _link(one)}
            for span, one in zip(doc.spans[key], described, strict=True)
        ]  # fmt: skip
        renderer = SpanRenderer(_options(described))
        groups[key] = renderer.render([{"tokens": words, "spans": spans}])
    return {"ents": drawn, "spans": groups}


def _options(described: list[dict[str, Any]]) -> dict[str, Any]:
    """displaCy's colours are by label, and ours have the probability in them."""
    renderer = EntityRenderer()
    colors = {_label(one): renderer.colors.get(one["label"].upper(), renderer.default_color)
              for one in described}  # fmt: skip
    return {"colors": colors}


def _label(described: dict[str, Any]) -> str:
    # displaCy escapes texts alone.
    label = escape_html(described["label"])
    return f"{label} {described['score']:.2f}" if "score" in described else label


def _link(described: dict[str, Any]) -> str:
    return escape_html(described.get("kb_id", ""))
