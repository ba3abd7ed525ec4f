"""The report of a search: one HTML file that opens offline and asks nobody for anything."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..replacing import replace_file
from ..study.estimates import spell_minutes
from .charts import Point, draw_bars, draw_curves, draw_effects, draw_front, draw_heat_map
from .disagreements import draw_disagreements
from .running import spell_share
from .space import Candidate
from .style import STYLE
from .summary import Comparison, LinesT, Row, Summary, summarize
from .svg import tag, text
from .trials import Task, Trial

# Most rows of a heat map, and candidates with a learning curve.
_MOST_ROWS, _MOST_CURVES = 64, 40
# Groups up to which patterns are laid out as halves against halves.
_MOST_HALVES = 8


def write_page(file: Path, lines: LinesT, task: Task, *, title: str, is_final: bool) -> None:
    """Write the report.

    file (Path): In the search's folder, from which predictions are read.
    lines (LinesT): Finished trials; at least one is an ordinary training.
    task (Task): What is searched.
    title (str): What was searched how.
    is_final (bool): Whether the search has come to its end.
    """
    summary = summarize(lines, task)
    sections = [
        _introduce(summary, title, is_final),
        *_draw_maps(summary),
        *_draw_effects(summary),
        *_draw_comparisons(summary),
        *_draw_costs(summary),
        *_draw_curves(summary),
        *_draw_texts(summary, file.parent, task),
        _list_candidates(summary),
    ]
    head = "".join(
        [
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            # Nothing of what texts and labels hold can run or fetch anything.
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            tag("title", text(f"Search: {title}")),
            tag("style", STYLE),
        ]
    )
    body = tag("main", *sections)
    content = f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'
    replace_file(file, content.encode("utf8", errors="replace"))


def _introduce(summary: Summary, title: str, is_final: bool) -> str:
    best, task = summary.best, summary.task
    state = "" if is_final else tag("p", text("The search is not finished."), class_="warning")
    if best.steps < task.steps:
        state += tag(
            "p",
            text(f"No candidate is trained in full yet: {best.steps} of {task.steps} steps."),
            class_="warning",
        )
    seeds = "1 seed" if len(best.scores) == 1 else f"mean of {len(best.scores)} seeds"
    facts = [
        ("best", str(best.candidate)),
        ("on dev", f"{100 * best.mean:.2f} ({seeds})"),
        ("trials", f"{summary.n_trials:,}, {spell_minutes(summary.seconds / 60)} of training"),
        ("candidates", f"{task.space.n_candidates:,}"),
    ]
    rows = "".join(tag("dt", text(name)) + tag("dd", text(value)) for name, value in facts)
    return tag("header", tag("h1", text(title)), state, tag("dl", rows))


def _draw_maps(summary: Summary) -> Iterator[str]:
    maps = []
    for steps, rows in summary.stages.items():
        after = f" after {steps:,} steps" if len(summary.stages) > 1 else ""
        trained = {row.standing.candidate: (row.standing.mean, _describe(row)) for row in rows}
        note = "Mean over seeds, in percent, on dev."
        maps.append((f"Scores of the candidates{after}", note, trained))
    if summary.shared:
        shared = {
            candidate: (score, f"{candidate}: {100 * score:.2f} with shared weights")
            for candidate, score in summary.shared.items()
        }
        note = "One training under drawn patterns, scored under each. They rank, and are no scores."
        maps.append(("Scores with shared weights", note, shared))
    for title, note, cells in maps:
        picture = _draw_map(cells, summary, title)
        yield _section(title, note, picture)
    if summary.gates:
        bars = [(f"group {i + 1}", gate, f"{gate:.2f}") for i, gate in enumerate(summary.gates)]
        yield _section("Learned gates", "0 keeps the causal mask, 1 removes it.", draw_bars(bars))


def _draw_map(scores: dict[Candidate, tuple[float, str]], summary: Summary, title: str) -> str:
    space = summary.task.space
    is_one_depth = len({(c.n_layers, c.repeat) for c in scores}) == 1
    if is_one_depth and 2 <= space.n_groups <= _MOST_HALVES:
        # Groups near the input down, those near the output across.
        half = space.n_groups // 2
        places = {c: (f"{c.pattern[:half]}··", f"··{c.pattern[half:]}") for c in scores}
    else:
        places = {c: (c.pattern, _name_depth(c)) for c in scores}
    best = sorted(scores, key=lambda c: -scores[c][0])
    rows = sorted({places[c][0] for c in best[:_MOST_ROWS]}, key=_order)
    columns = sorted({place[1] for place in places.values()}, key=_order)
    cells = {places[c]: scores[c] for c in scores if places[c][0] in rows}
    return draw_heat_map(rows, columns, cells, title=title)


def _draw_effects(summary: Summary) -> Iterator[str]:
    if summary.effects:
        note = (
            "Points that opening a group adds, all else equal: the mean over pairs of trials that "
            "differ in it alone, with a 95 % interval. Group 1 is nearest the input."
        )
        if any(effect.is_shared for effect in summary.effects):
            note += " The scores are those with shared weights."
        yield _section("What each group adds", note, draw_effects(summary.effects))


def _draw_comparisons(summary: Summary) -> Iterator[str]:
    if not summary.comparisons:
        note = "Nothing to compare the best with: --compare trains all-causal and all-open as well."
        yield _section("How sure is it?", note)
        return
    header = ("best against", "", "points", "p, seeds (t)", "p, texts (b)", "95 %, texts")
    rows = [_compare(comparison) for comparison in summary.comparisons]
    note = (
        "t: one-sided t-test paired by seed. b: paired bootstrap over the texts of dev. The best "
        "was chosen on these texts, so that p is too small; a test set says more."
    )
    yield _section("How sure is it?", note, _table(header, rows))


def _compare(comparison: Comparison) -> tuple[str, ...]:
    found = comparison.bootstrap
    p_value = comparison.p_value
    return (
        comparison.title,
        str(comparison.candidate),
        f"{100 * comparison.difference:+.2f}",
        comparison.why_not if p_value is None else _spell_p(p_value),
        "" if found is None else _spell_p(found.p_value),
        "" if found is None else f"{100 * found.low:+.2f} to {100 * found.high:+.2f}",
    )


def _spell_p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _draw_costs(summary: Summary) -> Iterator[str]:
    points = [
        Point(1000 / row.words_per_second, row.standing.mean, str(row.standing.candidate),
              _describe(row))
        for row in summary.longest
        if row.words_per_second
    ]  # fmt: skip
    if points:
        note = "On dev. Other work of the machine counts. Those on the line are beaten by none."
        picture = draw_front(points, x_title="seconds for 1,000 words")
        yield _section("Score and speed", note, picture)
    full = summary.task.exhaustive_steps
    bars = [
        ("this search", float(summary.steps), f"{summary.steps:,} training steps"),
        ("all in full", float(full), f"{full:,}"),
    ]
    note = f"{spell_share(summary.steps, full)} of what trying every candidate in full takes."
    yield _section("Cost", note, draw_bars(bars))


def _draw_curves(summary: Summary) -> Iterator[str]:
    curves = [
        (str(row.standing.candidate), row.curve)
        for row in summary.longest[:_MOST_CURVES]
        if len(row.curve) > 1
    ]
    if curves:
        note = "Mean over seeds on dev; the best five are named."
        yield _section("Learning curves", note, draw_curves(curves))


def _draw_texts(summary: Summary, folder: Path, task: Task) -> Iterator[str]:
    causal = next((c for c in summary.comparisons if c.title == "all causal"), None)
    if causal is None:
        return
    best = summary.best
    trials = (
        Trial("train", candidate, causal.seeds[0], best.steps)
        for candidate in (best.candidate, causal.candidate)
    )
    drawn, n_texts = draw_disagreements(folder, *trials)
    if drawn:
        texts = "1 text" if n_texts == 1 else f"{n_texts} texts"
        note = f"In {texts} of dev; those with most differences come first."
        yield _section("Where the best and all-causal disagree", note, drawn)


def _list_candidates(summary: Summary) -> str:
    header = ("candidate", "dev", "by seed", "steps", "minutes", "words/s")
    rows = [
        (
            str(row.standing.candidate),
            f"{100 * row.standing.mean:.2f}",
            ", ".join(f"{100 * score:.2f}" for _, score in sorted(row.standing.scores.items())),
            f"{row.standing.steps:,}",
            f"{row.seconds / 60:.1f}",
            "" if row.words_per_second is None else f"{row.words_per_second:,.0f}",
        )
        for row in summary.rows
    ]
    return _section("Candidates that were trained", "", _table(header, rows))


def _section(title: str, note: str, *content: str) -> str:
    described = [tag("p", text(note))] if note else []
    scrolled = [tag("div", *content, class_="scroll")] if content else []
    return tag("section", tag("h2", text(title)), *described, *scrolled)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = tag("tr", *(tag("th", text(name)) for name in header))
    body = [tag("tr", *(tag("td", text(value)) for value in row)) for row in rows]
    return tag("table", tag("thead", head), tag("tbody", *body))


def _describe(row: Row) -> str:
    standing = row.standing
    by_seed = ", ".join(f"{100 * score:.2f}" for _, score in sorted(standing.scores.items()))
    return (
        f"{standing.candidate}: {100 * standing.mean:.2f} after {standing.steps} steps "
        f"(seeds: {by_seed})"
    )


def _name_depth(candidate: Candidate) -> str:
    return str(candidate).partition(", ")[2] or "score"


def _order(name: str) -> tuple[int, str]:
    """c before b, as patterns are listed; numbers of layers by size."""
    digits = name.split(" ")[0]
    number = int(digits) if digits.isdigit() else 0
    return number, name.replace("c", "0").replace("b", "1")
