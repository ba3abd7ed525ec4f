"""Layers, groups and masks as a picture of characters.

┌─────┬─────┬─────┬─────┐
│ 0-1 │ 2-3 │ 4-5 │ 6-7 │  layers, input on the left
│  c  │  c  │  b  │  b  │
└─────┴─────┴─────┴─────┘

c causal          b bidirectional
  ■ · · ·           ■ ■ ■ ■
  ■ ■ · ·           ■ ■ ■ ■
  ■ ■ ■ ·           ■ ■ ■ ■
  ■ ■ ■ ■           ■ ■ ■ ■
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from ..unmasking import LayerKind, describe_fixed, find_groups, parse_pattern

_N_MASK = 4


@dataclass(frozen=True)
class Strokes:
    """Characters to draw with.

    top, bottom (str): Left corner, crossing and right corner.
    horizontal, vertical (str): Lines.
    seen, unseen (str): Cells of a mask.
    """

    top: str
    bottom: str
    horizontal: str
    vertical: str
    seen: str
    unseen: str


UNICODE = Strokes("┌┬┐", "└┴┘", "─", "│", "■", "·")
ASCII = Strokes("+++", "+++", "-", "|", "x", ".")


def choose_strokes(encoding: str | None) -> Strokes:
    """RETURNS (Strokes): Those that an output with this encoding can show."""
    try:
        "".join(vars(UNICODE).values()).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def draw_layers(
    pattern: str, kinds: Sequence[LayerKind], *, strokes: Strokes, width: int
) -> list[str]:
    """Draw the layer groups of a pattern, and below what a layer of each direction sees.

    pattern (str): The unmasking pattern, in letters.
    kinds (Sequence[LayerKind]): What each decoder layer has. Those that no pattern can unmask are
        named below the groups.
    strokes (Strokes): Characters.
    width (int): Columns; groups that do not fit go into another row of boxes.
    RETURNS (list[str]): Lines.
    """
    groups = find_groups(len(kinds), len(pattern))
    spans = [str(g[0]) if len(g) == 1 else f"{g[0]}-{g[-1]}" for g in groups]
    inner = max(map(len, spans)) + 2
    per_row = max(1, (width - 1) // (inner + 1))
    lines: list[str] = []
    for first in range(0, len(spans), per_row):
        lines += _draw_row(
            spans[first : first + per_row], pattern[first : first + per_row], inner, strokes
        )
    lines += textwrap.wrap(describe_fixed(kinds), max(width, 20), break_on_hyphens=False)
    masks = [_draw_mask(unmasked, strokes) for unmasked in sorted(set(parse_pattern(pattern)))]
    return [*lines, "", *("    ".join(parts).rstrip() for parts in zip_longest(*masks))]


def _draw_row(spans: Sequence[str], letters: str, inner: int, strokes: Strokes) -> list[str]:
    line = strokes.horizontal * inner

    def border(corners: str) -> str:
        return corners[0] + corners[1].join([line] * len(spans)) + corners[2]

    def cells(values: Sequence[str]) -> str:
        bar = strokes.vertical
        return bar + bar.join(value.center(inner) for value in values) + bar

    return [border(strokes.top), cells(spans), cells(letters), border(strokes.bottom)]


def _draw_mask(unmasked: bool, strokes: Strokes) -> list[str]:
    """A row for each subtoken, a column for each that it sees."""
    title = "b bidirectional" if unmasked else "c causal"
    rows = [
        "  "
        + " ".join(
            strokes.seen if unmasked or column <= row else strokes.unseen
            for column in range(_N_MASK)
        )
        for row in range(_N_MASK)
    ]
    return [line.ljust(len("b bidirectional")) for line in (title, *rows)]
