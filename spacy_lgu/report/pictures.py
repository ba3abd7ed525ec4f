"""The pictures of a report, as SVG: the same results give the same bytes."""

from importlib.util import find_spec
from math import nan
from pathlib import Path
from typing import Any

import numpy

from ..metrics.seeds import mean_and_stdev
from ..study.plan import Study, System
from .rows import ComparisonsT, RowsT, mean


def draw_bars(rows: RowsT, study: Study, path: Path, *, title: str) -> None:
    """A bar per row that was run, with its standard deviation, as SVG.

    Raises ImportError naming the extra if matplotlib is not installed.
    """
    pyplot = _import_pyplot()
    present = {key: [run["f1"] for run in runs] for key, runs in rows.items() if runs}
    names = [_name_bar(study.systems[name], pattern) for name, pattern in present]
    means = [mean(f1) for f1 in present.values()]
    errors = [mean_and_stdev(f1).stdev if len(f1) > 1 else nan for f1 in present.values()]
    colors = ["#2b6cb0" if pattern else "#a0aec0" for _, pattern in present]
    figure, axes = pyplot.subplots(figsize=(8, 0.9 + 0.32 * len(names)), layout="constrained")
    # By place: titles need not be different.
    axes.barh(range(len(names)), means, xerr=errors, color=colors, ecolor="#1a202c", capsize=3)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(title=title, xlabel="strict F1 (%), mean and standard deviation over seeds")
    axes.set_xlim(0, 100)
    for place, value in enumerate(means):
        left, color = (1.0, "#ffffff") if value > 8 else (value + 1.0, "#1a202c")
        axes.text(left, place, f"{value:.1f}", va="center", color=color, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


# Panels side by side: more could not be read on a page.
_COLUMNS = 3


def draw_differences(study: Study, comparisons: dict[str, ComparisonsT], path: Path) -> None:
    """What each pattern is worth on each task, with the intervals of the bootstrap, as SVG: a panel
    per system.

    Raises ImportError naming the extra if matplotlib is not installed.
    """
    pyplot = _import_pyplot()
    found = {
        (name, pattern, task): comparison.bootstrap
        for task, of_task in comparisons.items()
        for (name, pattern), comparison in of_task.items()
    }
    systems = [name for name in study.systems if any(name == key[0] for key in found)]
    tasks = [task for task in study.tasks if any(task == key[2] for key in found)]
    patterns = sorted({pattern for _, pattern, _ in found if pattern}, reverse=True)
    n_columns = min(len(systems), _COLUMNS)
    n_rows = -(-len(systems) // n_columns)
    figure, panels = pyplot.subplots(
        n_rows,
        n_columns,
        sharex=True,
        sharey=True,
        squeeze=False,
        figsize=(2 + 4 * n_columns, n_rows * (1.2 + 0.2 * len(tasks) * (len(patterns) + 1))),
        layout="constrained",
    )
    for axes in panels.flat[len(systems) :]:
        axes.set_visible(False)
    for name, axes in zip(systems, panels.flat, strict=False):
        for i, pattern in enumerate(patterns):
            shown = [
                (place, found[name, pattern, task])
                for place, task in enumerate(tasks)
                if (name, pattern, task) in found
            ]
            if not shown:
                continue
            x = [100 * entry.difference for _, entry in shown]
            ends = [[entry.low for _, entry in shown], [entry.high for _, entry in shown]]
            errors = abs(100 * numpy.array(ends) - x)
            y = [place + (i + 1) / (len(patterns) + 1) - 0.5 for place, _ in shown]
            style = {"fmt": "o", "markersize": 4, "capsize": 2, "color": f"C{i}"}
            axes.errorbar(x, y, xerr=errors, label=pattern, **style)
        axes.axvline(0, color="#a0aec0", zorder=0)
        axes.set(title=study.systems[name].title, xlabel="points of F1 over causal, 95 %")
        axes.tick_params(labelbottom=True)
        axes.legend(loc="best", fontsize=8)
    panels[0][0].set_yticks(range(len(tasks)), tasks)
    panels[0][0].set_ylim(len(tasks) - 0.5, -0.5)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _import_pyplot() -> Any:
    if find_spec("matplotlib") is None:
        raise ImportError("The pictures need matplotlib: pip install 'spacy-lgu[study]'.")
    import matplotlib

    matplotlib.use("Agg")
    # Without it the names inside an SVG are random.
    matplotlib.rcParams["svg.hashsalt"] = "spacy-lgu"
    from matplotlib import pyplot

    return pyplot


def _name_bar(system: System, pattern: str | None) -> str:
    return f"{system.title}, {pattern}" if pattern else system.title
