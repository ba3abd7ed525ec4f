"""Draw what each layer group may see under an unmasking pattern, as an SVG.

python scripts/draw_masks.py docs/masks.svg --pattern ccbb
"""

from pathlib import Path
from typing import Annotated

import typer

from spacy_lgu.replacing import replace_file
from spacy_lgu.unmasking import group_sizes, parse_pattern

WORDS = ["Ann", "flew", "to", "New", "York"]
CELL = 22
GAP = 46
LEFT = 56
TOP = 64
COLORS = {False: "#2b6cb0", True: "#c05621"}


def draw_masks(pattern: str, n_layers: int) -> str:
    """One mask per layer group, from the input on the left to the output on the right.

    pattern (str): Unmasking pattern.
    n_layers (int): Decoder layers.
    RETURNS (str): An SVG document.
    """
    groups = parse_pattern(pattern)
    size = CELL * len(WORDS)
    width = LEFT + len(groups) * (size + GAP)
    height = TOP + size + 52
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f"<title>What each layer group sees under the pattern {pattern}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    first = 0
    for i, (unmasked, n) in enumerate(zip(groups, group_sizes(n_layers, len(groups)), strict=True)):
        parts += _draw_mask(LEFT + i * (size + GAP), unmasked, f"layers {first}-{first + n - 1}")
        first += n
    parts.append(
        f'<text x="{LEFT}" y="{height - 12}" fill="#4a5568">input</text>'
        f'<text x="{width - GAP}" y="{height - 12}" fill="#4a5568" text-anchor="end">output</text>'
        f'<path d="M {LEFT + 40} {height - 16} H {width - GAP - 48}" stroke="#a0aec0"/>'
        f'<path d="M {width - GAP - 48} {height - 20} l 8 4 l -8 4 z" fill="#a0aec0"/>'
    )
    return "\n".join([*parts, "</svg>", ""])


def _draw_mask(x: int, unmasked: bool, layers: str) -> list[str]:
    letter, name = ("b", "bidirectional") if unmasked else ("c", "causal")
    middle = x + CELL * len(WORDS) / 2
    parts = [
        f'<text x="{middle}" y="20" text-anchor="middle" font-weight="bold" '
        f'fill="{COLORS[unmasked]}">{letter}: {name}</text>',
        f'<text x="{middle}" y="36" text-anchor="middle" fill="#4a5568">{layers}</text>',
    ]
    for row, word in enumerate(WORDS):
        y = TOP + row * CELL
        parts.append(
            f'<text x="{x - 6}" y="{y + 15}" text-anchor="end" font-size="10" '
            f'fill="#4a5568">{word}</text>'
        )
        for column in range(len(WORDS)):
            sees = unmasked or column <= row
            parts.append(
                f'<rect x="{x + column * CELL}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" '
                f'rx="3" fill="{COLORS[unmasked] if sees else "#edf2f7"}"/>'
            )
    return parts


def main(
    output: Annotated[Path, typer.Argument(help="SVG file to write")],
    pattern: str = "ccbb",
    layers: int = 32,
) -> None:
    """Write the picture."""
    replace_file(output, draw_masks(pattern, layers).encode("utf8"))


if __name__ == "__main__":
    typer.run(main)
