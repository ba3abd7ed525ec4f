"""Offsets in characters, UTF-16 code units or bytes, checked against the texts given for spans.

In "🎉 Ann", Ann begins at 2 in code points, at 3 in UTF-16 (JavaScript) and at 5 in bytes.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from ..inputs import cut, shorten
from .quoting import guess_form
from .records import Faults, Note, ReportT

UNITS = ("codepoints", "utf16", "bytes")
_ASTRAL = "\U00010000"  # the first character of two UTF-16 code units
_UNCHECKED = "span after an emoji counted in code points, with no text to check"
_NAMES = {
    "codepoints": "count code points",
    "utf16": "count UTF-16 code units, as JavaScript does",
    "bytes": "count bytes of UTF-8",
}


class Offsets:
    """The offsets of a file. Spans that do not hold the text given for them are errors at its end.

    path (Path): The file.
    unit (str | None): A member of UNITS. None: code points, and a note where it matters and no
        text proves it.
    report (ReportT): Called with these notes.
    """

    def __init__(self, path: Path, unit: str | None, report: ReportT) -> None:
        if unit is not None and unit not in UNITS:
            raise ValueError(f"Expected --offsets {', '.join(UNITS)}, but got {unit!r}.")
        self.path = path
        self.unit = unit or "codepoints"
        self.is_given = unit is not None
        self.report = report
        self.faults = Faults()
        self._fitting = [other for other in UNITS if other != self.unit]
        self._text = ""
        self._starts: dict[str, Sequence[int]] = {}
        self._astral: int | None = None

    def length(self, text: str) -> int:
        """How long a text is, in the unit."""
        return self._find_starts(text, self.unit)[-1]

    def resolve(
        self, text: str, start: int, end: int, said: str | None, where: str, label: str
    ) -> tuple[int, int] | None:
        """Borders of a span in characters.

        text (str): The whole text.
        start (int): Where the span begins, in the unit.
        end (int): Where it ends, exclusive.
        said (str | None): The text that the file gives for it. White space is not compared.
        where (str): File and line, for messages.
        label (str): Its label, for messages.
        RETURNS (tuple[int, int] | None): Start and end. None if the text there is another, which
            `close` raises. Raises ValueError for a border outside the text or inside a character,
            if the file gives no text for the span.
        """
        found = self._locate(text, start, end, self.unit)
        if said is None:
            if found is None:
                raise ValueError(
                    f"{where}: expected a span of whole characters in a text of "
                    f"{self.length(text)} {self.unit}, but found {start} to {end} ({cut(label)})."
                    f"{self.advise(text)}"
                )
            is_open = not self.is_given and "utf16" in self._fitting
            if is_open and self._find_astral(text) < found[1]:
                self.report(Note(_UNCHECKED, f"{where}: {shorten(text[slice(*found)])}"))
            return found
        self._fitting = [
            unit
            for unit in self._fitting
            if _is_said(text, self._locate(text, start, end, unit), said)
        ]
        if _is_said(text, found, said):
            return found
        there = shorten(text[slice(*found)]) if found else "no such place"
        self.faults.add(
            f"{where}: {shorten(said)} ({cut(label)}), but at {start} to {end} there is {there}."
            f"{guess_form(text, said)}"
        )
        return None

    def check_words(
        self, words: list[str], start: int, end: int, said: str, where: str, label: str
    ) -> None:
        """Compare a span of tokens with the text given for it, white space aside."""
        self._fitting = []
        found = words[start:end]
        if end > len(words) or "".join("".join(found).split()) != "".join(said.split()):
            there = shorten(found) if found else "no such place"
            self.faults.add(
                f"{where}: {shorten(said)} ({cut(label)}), but as tokens {start} to {end} there "
                f"is {there}"
            )

    def advise(self, text: str) -> str:
        """What an error about a border should add, if the text has emoji or the like."""
        if max(text, default="") < _ASTRAL:
            return ""
        others = " or ".join(unit for unit in UNITS if unit != self.unit)
        return f" The text has emoji or the like: do offsets count {others}? Give --offsets."

    def close(self) -> None:
        """Raise ValueError if spans do not hold the text given for them, with all of them."""
        if not self.faults.n_faults:
            return
        advice = "Correct these spans, or the text, if it was changed after the annotation"
        if self._fitting:
            unit = self._fitting[0]
            advice = f"All of them do if offsets {_NAMES[unit]}: give --offsets {unit}"
        raise ValueError(
            f"{self.path}: {self.faults.n_faults} spans do not hold the text given for them. "
            f"{advice}:\n{self.faults}"
        )

    def _locate(self, text: str, start: int, end: int, unit: str) -> tuple[int, int] | None:
        starts = self._find_starts(text, unit)
        if end > starts[-1]:
            return None
        first, last = bisect_left(starts, start), bisect_left(starts, end)
        return (first, last) if (starts[first], starts[last]) == (start, end) else None

    def _find_astral(self, text: str) -> int:
        """The place of the first character for which UTF-16 needs two units, else the end."""
        self._note(text)
        if self._astral is None:
            places = (i for i, character in enumerate(text) if character >= _ASTRAL)
            self._astral = next(places, len(text))
        return self._astral

    def _note(self, text: str) -> None:
        """What is known of another text counts no more."""
        if text is not self._text:
            self._text, self._starts, self._astral = text, {}, None

    def _find_starts(self, text: str, unit: str) -> Sequence[int]:
        """Offset of each character, and of the end, in a unit."""
        self._note(text)
        if unit not in self._starts:
            self._starts[unit] = _count(text, unit)
        return self._starts[unit]


def _count(text: str, unit: str) -> Sequence[int]:
    if unit == "utf16" and max(text, default="") >= _ASTRAL:
        return [0, *accumulate(1 + (character >= _ASTRAL) for character in text)]
    if unit == "bytes" and not text.isascii():
        return [0, *accumulate(len(character.encode("utf8")) for character in text)]
    return range(len(text) + 1)


def _is_said(text: str, borders: tuple[int, int] | None, said: str) -> bool:
    return borders is not None and "".join(text[slice(*borders)].split()) == "".join(said.split())
