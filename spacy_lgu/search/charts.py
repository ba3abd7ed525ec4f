"""The pictures of a search's report, as SVG. Colours of lines and text are the page's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .summary import Effect, find_front
from .svg import label, picture, tag, tip

_LETTER = 7.8  # width of a letter
_LINE = 22
# From the worst to the best, readable on light and dark pages.
_COLD, _WARM = (232, 238, 247), (24, 78, 148)


@dataclass(frozen=True)
class Point:
    """A place in a picture, with what is said of it."""

    x: float
    y: float
    name: str
    tip: str


def draw_heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Mapping[tuple[str, str], tuple[float, str]],
    *,
    title: str,
) -> str:
    """Scores by row and column.

    rows, columns (Sequence[str]): Their names.
    cells (Mapping): Score from 0 to 1 and tooltip by the names of row and column; others are empty.
    title (str): What it shows.
    RETURNS (str): The picture.
    """
    left = 12 + _LETTER * max(map(len, rows))
    width = max(56.0, 14 + _LETTER * max(map(len, columns)))
    values = [score for score, _ in cells.values()]
    low, high = min(values), max(values)
    parts = [
        label(left + (j + 0.5) * width, 14, name, text_anchor="middle", class_="mono")
        for j, name in enumerate(columns)
    ]
    for i, row in enumerate(rows):
        y = _LINE * (i + 1)
        parts.append(label(left - 8, y + 15, row, text_anchor="end", class_="mono"))
        for j, column in enumerate(columns):
            x = left + j * width
            if (row, column) not in cells:
                box = tag("rect", x=x, y=y, width=width - 2, height=_LINE - 2, class_="none")
                parts.append(box)
                continue
            score, said = cells[row, column]
            share = (score - low) / (high - low) if high > low else 1.0
            box = tag("rect", x=x, y=y, width=width - 2, height=_LINE - 2, rx=3, fill=_mix(share))
            ink = "#fff" if share > 0.55 else "#111"
            number = label(
                x + width / 2 - 1,
                y + 14.5,
                f"{100 * score:.1f}",
                text_anchor="middle",
                style=f"fill:{ink}",
            )
            parts.append(tag("g", tip(said), box, number))
    return picture(left + width * len(columns), _LINE * (len(rows) + 1), parts, title=title)


def draw_effects(effects: Sequence[Effect]) -> str:
    """What each group adds, with intervals.

    effects (Sequence[Effect]): At least one.
    RETURNS (str): The picture.
    """
    ends = [0.0, *(end for effect in effects for end in (effect.low, effect.high))]
    axis = _Axis(min(ends), max(ends), 130.0, 560.0)
    height = _LINE * len(effects) + 34
    parts = [_vertical(axis.place(0.0), 4, height - 30), *_draw_ticks(axis, height - 12)]
    for i, effect in enumerate(effects):
        y = _LINE * (i + 0.7)
        said = (
            f"group {effect.group + 1}: {100 * effect.difference:+.2f} "
            f"[{100 * effect.low:+.2f}, {100 * effect.high:+.2f}], {effect.n_pairs} pairs"
        )
        line = tag(
            "line", x1=axis.place(effect.low), x2=axis.place(effect.high), y1=y, y2=y, class_="bar"
        )
        dot = tag("circle", cx=axis.place(effect.difference), cy=y, r=5, class_="dot")
        name = label(120, y + 5, f"group {effect.group + 1}", text_anchor="end")
        parts.append(tag("g", tip(said), name, line, dot))
    return picture(580, height, parts, title="What opening each group adds to the score")


def draw_front(points: Sequence[Point], *, x_title: str) -> str:
    """Scores against costs, and those that no other beats.

    points (Sequence[Point]): Cost, and score from 0 to 1.
    x_title (str): What the cost is.
    RETURNS (str): The picture.
    """
    xs, ys = ([getattr(point, name) for point in points] for name in ("x", "y"))
    # From 0 only where that does not press all points together.
    low = 0.0 if min(xs) < 0.7 * max(xs) else min(xs)
    across, down = _Axis(low, max(xs), 50.0, 590.0), _Axis(min(ys), max(ys), 250.0, 16.0)
    front = find_front([(point.x, point.y) for point in points])
    places = [(across.place(points[i].x), down.place(points[i].y)) for i in front]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [
        *_draw_frame(across, down, x_title=x_title),
        tag("polyline", points=path, class_="front"),
    ]
    for i, point in enumerate(points):
        x, y = across.place(point.x), down.place(point.y)
        dot = tag("circle", cx=x, cy=y, r=5, class_="dot" if i in front else "weak dot")
        shift, anchor = (8, "start") if x < 320 else (-8, "end")
        name = label(x + shift, y + 4, point.name, text_anchor=anchor, class_="mono small")
        name = name if i in front else ""
        parts.append(tag("g", tip(point.tip), dot, name))
    return picture(620, 300, parts, title=f"Score against {x_title}")


def draw_curves(curves: Sequence[tuple[str, Sequence[tuple[int, float]]]]) -> str:
    """Scores on dev in the course of training.

    curves (Sequence): Names with steps and scores; the first five are told apart.
    RETURNS (str): The picture.
    """
    steps = [step for _, curve in curves for step, _ in curve]
    scores = [score for _, curve in curves for _, score in curve]
    across, down = _Axis(0, max(steps), 50.0, 470.0), _Axis(min(scores), max(scores), 250.0, 16.0)
    width = 510 + 6.7 * max(len(name) for name, _ in curves[:5])
    parts = _draw_frame(across, down, x_title="steps")
    for i, (name, curve) in reversed(list(enumerate(curves))):
        path = " ".join(f"{across.place(x):.1f},{down.place(y):.1f}" for x, y in curve)
        kind = f"curve c{i}" if i < 5 else "curve weak"
        line = tag("polyline", points=path, class_=kind)
        said = tip(f"{name}: {100 * curve[-1][1]:.2f} at the end")
        key = label(484, 26 + 18 * i, f"- {name}", class_=f"mono small k{i}") if i < 5 else ""
        parts.append(tag("g", said, line, key))
    return picture(width, 300, parts, title="Learning curves")


def draw_bars(bars: Sequence[tuple[str, float, str]]) -> str:
    """Bars from 0.

    bars (Sequence): Name, value, and what is said of it.
    RETURNS (str): The picture.
    """
    axis = _Axis(0.0, max(value for _, value, _ in bars), 150.0, 440.0)
    parts = []
    for i, (name, value, said) in enumerate(bars):
        y = _LINE * i
        width = max(1.0, axis.place(value) - 150)
        box = tag("rect", x=150, y=y + 3, width=width, height=_LINE - 6, class_="fill")
        parts += [
            label(140, y + 16, name, text_anchor="end"),
            box,
            label(158 + width, y + 16, said, class_="small"),
        ]
    return picture(620, _LINE * len(bars), parts, title="Cost")


class _Axis:
    """Places of values between two ends, with a little room around them."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        room = (high - low or abs(high) or 1.0) * 0.06
        self.low = low if low == 0 else low - room
        self.high = high + room
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self._start + share * (self._end - self._start)

    def find_ticks(self) -> list[float]:
        """Four to eight round values."""
        size = 1.0
        while size * 4 > self.high - self.low:
            size /= 10
        while size * 4 <= self.high - self.low:
            size *= 10
        most = (self.high - self.low) / 4
        size = next(smaller for smaller in (size, size / 2, size / 5, size / 10) if smaller <= most)
        first = int(self.low / size) - 1
        places = [size * i for i in range(first, first + 20)]
        return [value for value in places if self.low <= value <= self.high]


def _draw_frame(across: _Axis, down: _Axis, *, x_title: str) -> list[str]:
    """Axes, with scores in percent from bottom to top."""
    parts = []
    for value in down.find_ticks():
        y = down.place(value)
        parts.append(tag("line", x1=50, x2=across.place(across.high), y1=y, y2=y, class_="grid"))
        number = f"{100 * value:.4g}"
        parts.append(label(44, y + 4, number, text_anchor="end", class_="small"))
    for value in across.find_ticks():
        x = across.place(value)
        parts.append(label(x, 268, f"{value:,g}", text_anchor="middle", class_="small"))
    parts.append(label(across.place(across.high), 288, x_title, text_anchor="end", class_="small"))
    return parts


def _draw_ticks(axis: _Axis, y: float) -> list[str]:
    return [
        label(axis.place(value), y, f"{100 * value:+.3g}", text_anchor="middle", class_="small")
        for value in axis.find_ticks()
    ]


def _vertical(x: float, top: float, bottom: float) -> str:
    return tag("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid")


def _mix(share: float) -> str:
    mixed = (round(a + share * (b - a)) for a, b in zip(_COLD, _WARM, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)
