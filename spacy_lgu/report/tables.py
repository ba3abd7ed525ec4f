"""Tables and pictures of a study's results: the same results give the same bytes."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import nan
from pathlib import Path
from typing import Any

import numpy
from study_plan import CAUSAL, Study, System, Task

from spacy_lgu.metrics.bootstrap import BootstrapResult, paired_bootstrap
from spacy_lgu.metrics.seeds import mean_and_stdev, paired_t_test
from spacy_lgu.metrics.strict import SpanCounts
from spacy_lgu.replacing import FileContent, replace_files

RunsT = list[dict[str, Any]]  # of one row: lines of the results that differ by seed only
RowT = tuple[str, str | None]  # system and pattern
RowsT = dict[RowT, RunsT]

INTRODUCTION = """\
# Results of the benchmark

Written by `python benchmarks/study.py report` from the results of finished runs; not edited by
hand. What is compared is described in `benchmarks/study.yml`.

- **F1** is strict micro F1 in percent on the test part (borders and label must be right), mean and
  sample standard deviation over seeds. Within a task all systems are trained for the same number
  of steps on as many texts.
- **p (t)** is the paper's test: one-sided, paired by seed, against `cccc` of the same system.
  **p (b)** and the interval of the difference come from a paired bootstrap over the test texts
  ({n_samples:,} samples, counts of all seeds together).
- **Minutes** are those of `spacy train`, evaluation on dev included; **tokens/s** are spaCy's
  tokens through the whole pipeline (what else the machine did meanwhile is in both); **MB** is a
  saved pipeline, frozen weights included if they are in it.
"""
N_SAMPLES = 10_000
SURE = 0.05  # p of a bootstrap below which the overview marks a row


@dataclass(frozen=True)
class Comparison:
    """The runs of a row against those of `cccc` of the same system, paired by seed.

    p_value (float | None): Of the t-test; None where t is not defined.
    """

    p_value: float | None
    bootstrap: BootstrapResult


ComparisonsT = dict[RowT, Comparison]


def write_report(study: Study, results: RunsT, output: Path, *, limit: int = 0) -> None:
    """Write the report and a bar chart per task.

    study (Study): Gives the order, and what is shown as not run.
    results (RunsT): Lines of the results file.
    output (Path): Markdown file; pictures are named after it. Raises ValueError if no result
        belongs to the study, ImportError if matplotlib is missing.
    """
    results_of_limit = [line for line in results if line["limit"] == limit]
    rows = {task: find_rows(study, task, results_of_limit) for task in study.tasks}
    if not any(runs for of_task in rows.values() for runs in of_task.values()):
        raise ValueError(
            f"None of the {len(results)} results belongs to a task of the study with the limit "
            f"{limit}. Run `python benchmarks/study.py run` first, or give another --results or "
            "--limit."
        )
    comparisons = {task: compare_rows(of_task) for task, of_task in rows.items()}
    parts = [INTRODUCTION.format(n_samples=N_SAMPLES)]
    pictures: dict[Path, FileContent] = {}
    if limit:
        parts.append(
            f"**Of each part only the first {limit} texts: not comparable to anything.**\n"
        )
    parts.append(render_overview(study, rows, comparisons))
    if any(comparisons.values()):
        picture = output.with_name(f"{output.stem}-differences.svg")
        pictures[picture] = partial(draw_differences, study, comparisons)
        parts.append(f"![Differences in F1 to the causal decoder]({picture.name})\n")
    missing = []
    for name, task in study.tasks.items():
        of_task = rows[name]
        if not any(of_task.values()):
            missing.append(name)
            continue
        picture = output.with_name(f"{output.stem}-{name}.svg")
        pictures[picture] = partial(draw_bars, of_task, study, title=task.title)
        parts.append(render_task(task, study, of_task, comparisons[name], picture.name))
        n_others = sum(
            line["task"] == name and line["system"] in study.systems for line in results_of_limit
        ) - len(find_comparable(study, name, results_of_limit))
        if n_others:
            parts.append(
                f"Left out, because of another corpus, batches or steps: {n_others} earlier runs.\n"
            )
    if missing:
        parts.append(f"## Not run\n\n{', '.join(missing)}\n")
    parts.append(render_runs(study, list(_all_runs(rows))))
    replace_files({output: "\n".join(parts).encode("utf8"), **pictures})


def find_rows(study: Study, task: str, results: RunsT) -> RowsT:
    """The runs of each system and pattern, in the study's order; what is not run has none.

    Taken are runs with corpus, batches and steps of the latest run of the task; of those of a row
    with different settings the ones of the latest, of those with the same seed the latest one.
    """
    lines = find_comparable(study, task, results)
    rows: RowsT = {}
    for name, system in study.systems.items():
        own = [line for line in lines if line["system"] == name]
        patterns = list(dict.fromkeys([*system.patterns, *(line["pattern"] for line in own)]))
        for pattern in patterns or [None]:
            runs = [line for line in own if line["pattern"] == pattern]
            by_seed = {r["seed"]: r for r in runs if r["settings"] == runs[-1]["settings"]}
            rows[name, pattern] = [by_seed[seed] for seed in sorted(by_seed)]
    return rows


def find_comparable(study: Study, task: str, results: RunsT) -> RunsT:
    """The runs of a task with the corpus, batches and steps of the latest of them."""
    lines = [line for line in results if line["task"] == task and line["system"] in study.systems]
    return [line for line in lines if line["conditions"] == lines[-1]["conditions"]]


def compare_rows(rows: RowsT) -> ComparisonsT:
    """Each row of a decoder against the row `cccc` of the same system, if both have a seed."""
    compared = {
        (name, pattern): _compare(runs, rows.get((name, CAUSAL), []))
        for (name, pattern), runs in rows.items()
        if pattern != CAUSAL
    }
    return {row: comparison for row, comparison in compared.items() if comparison is not None}


def render_overview(
    study: Study, rows: dict[str, RowsT], comparisons: dict[str, ComparisonsT]
) -> str:
    """F1 of all systems on all tasks that were run."""
    tasks = [name for name, of_task in rows.items() if any(of_task.values())]
    lines = [
        "## Overview",
        "",
        f"F1, mean over seeds. \\* better than `{CAUSAL}` of the same system with the same seeds, "
        f"p (b) < {SURE}.",
        "",
        f"| system | pattern | {' | '.join(f'`{task}`' for task in tasks)} |",
        "|---|---|" + "---:|" * len(tasks),
    ]
    order = list(study.systems)
    known = dict.fromkeys(row for task in tasks for row in rows[task])
    for row in sorted(known, key=lambda row: order.index(row[0])):
        if not any(rows[task].get(row) for task in tasks):
            continue
        cells = []
        for task in tasks:
            runs = rows[task].get(row, [])
            compared = comparisons[task].get(row)
            mark = "\\*" if compared and compared.bootstrap.p_value < SURE else ""
            cells.append(f"{_mean([run['f1'] for run in runs]):.1f}{mark}" if runs else "")
        name, pattern = row
        lines.append(f"| {study.systems[name].title} | {pattern or ''} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def render_task(
    task: Task, study: Study, rows: RowsT, comparisons: ComparisonsT, picture: str
) -> str:
    """The section of a task."""
    n_texts = next(len(runs[0]["documents"]) for runs in rows.values() if runs)
    # The same in all runs that are shown.
    steps, batch = next((runs[0]["steps"], runs[0]["batch"]) for runs in rows.values() if runs)
    table = [
        "| system | pattern | F1 | stdev | seeds | p (t) | p (b) | difference, 95 % "
        "| minutes | tokens/s | MB |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (name, pattern), runs in rows.items():
        if not runs:
            continue
        f1 = [run["f1"] for run in runs]
        cells = [
            f"{_mean(f1):.2f}",
            f"{mean_and_stdev(f1).stdev:.2f}" if len(f1) > 1 else "",
            str(len(f1)),
            *_render_comparison(comparisons.get((name, pattern))),
            f"{_mean([run['train_minutes'] for run in runs]):.1f}",
            f"{_mean([run['tokens_per_second'] for run in runs]):,.0f}",
            f"{_mean([run['checkpoint_bytes'] for run in runs]) / 1e6:.1f}",
        ]
        table.append(f"| {study.systems[name].title} | {pattern or ''} | {' | '.join(cells)} |")
    table += _list_missing(study, rows)
    return "\n".join(
        [
            f"## {task.title}",
            "",
            f"`{task.name}`: head `{task.head}`, {steps:,} steps of {batch} texts, "
            f"{n_texts:,} test texts.{_describe_thresholds(rows)}",
            "",
            f"![F1 by system and pattern]({picture})",
            "",
            *table,
            "",
            *_render_labels(study, rows),
            "",
        ]
    )


def render_runs(study: Study, runs: RunsT) -> str:
    """Where the figures come from: commits, machines and decoders."""
    decoders = {
        _describe_decoder(study.systems[run["system"]], run["decoder"])
        for run in runs
        if run["decoder"]
    }
    machines = {_describe_machine(run["machine"]) for run in runs}
    commits = {run["commit"] or "unknown" for run in runs}
    seconds = sum(run["train_minutes"] for run in runs) * 60
    lines = [
        "## Runs",
        "",
        f"{len(runs)} runs, {seconds / 3600:.1f} hours of training.",
        "",
        f"- Commits: {', '.join(sorted(commits))}",
        *(f"- Machine: {machine}" for machine in sorted(machines)),
        *(f"- Decoder: {decoder}" for decoder in sorted(decoders)),
        "",
    ]
    return "\n".join(lines)


def draw_bars(rows: RowsT, study: Study, path: Path, *, title: str) -> None:
    """A bar per row that was run, with its standard deviation, as SVG.

    Raises ImportError naming the extra if matplotlib is not installed.
    """
    pyplot = _import_pyplot()
    present = {key: [run["f1"] for run in runs] for key, runs in rows.items() if runs}
    names = [_name_bar(study.systems[name], pattern) for name, pattern in present]
    means = [_mean(f1) for f1 in present.values()]
    errors = [mean_and_stdev(f1).stdev if len(f1) > 1 else nan for f1 in present.values()]
    colors = ["#2b6cb0" if pattern else "#a0aec0" for _, pattern in present]
    figure, axes = pyplot.subplots(figsize=(8, 0.9 + 0.32 * len(names)), layout="constrained")
    axes.barh(names, means, xerr=errors, color=colors, ecolor="#1a202c", capsize=3)
    axes.invert_yaxis()
    axes.set(title=title, xlabel="strict F1 (%), mean and standard deviation over seeds")
    axes.set_xlim(0, 100)
    for place, mean in enumerate(means):
        left, color = (1.0, "#ffffff") if mean > 8 else (mean + 1.0, "#1a202c")
        axes.text(left, place, f"{mean:.1f}", va="center", color=color, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def draw_differences(study: Study, comparisons: dict[str, ComparisonsT], path: Path) -> None:
    """What each pattern is worth on each task, with the intervals of the bootstrap, as SVG: a panel
    per system. Raises ImportError naming the extra if matplotlib is not installed."""
    pyplot = _import_pyplot()
    found = {
        (name, pattern, task): comparison.bootstrap
        for task, of_task in comparisons.items()
        for (name, pattern), comparison in of_task.items()
    }
    systems = [name for name in study.systems if any(name == key[0] for key in found)]
    tasks = [task for task in study.tasks if any(task == key[2] for key in found)]
    patterns = sorted({pattern for _, pattern, _ in found if pattern}, reverse=True)
    figure, panels = pyplot.subplots(
        ncols=len(systems),
        sharex=True,
        sharey=True,
        squeeze=False,
        figsize=(2 + 4 * len(systems), 1.2 + 0.2 * len(tasks) * (len(patterns) + 1)),
        layout="constrained",
    )
    for name, axes in zip(systems, panels[0], strict=True):
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
        axes.set(title=study.systems[name].title, xlabel=f"points of F1 gained over {CAUSAL}, 95 %")
        axes.legend(loc="best", fontsize=8)
    panels[0][0].set_yticks(range(len(tasks)), tasks)
    panels[0][0].set_ylim(len(tasks) - 0.5, -0.5)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _import_pyplot() -> Any:
    if find_spec("matplotlib") is None:
        raise ImportError("The pictures need matplotlib: pip install 'spacy-lgu[reports]'.")
    import matplotlib

    matplotlib.use("Agg")
    # Without it the names inside an SVG are random.
    matplotlib.rcParams["svg.hashsalt"] = "spacy-lgu"
    from matplotlib import pyplot

    return pyplot


def _list_missing(study: Study, rows: RowsT) -> list[str]:
    missing: dict[str, list[str | None]] = {}
    for (name, pattern), runs in rows.items():
        if not runs:
            missing.setdefault(study.systems[name].title, []).append(pattern)
    entries = [
        title if patterns == [None] else f"{title} ({', '.join(map(str, patterns))})"
        for title, patterns in missing.items()
    ]
    return ["", f"Not run: {'; '.join(entries)}."] if entries else []


def _render_labels(study: Study, rows: RowsT) -> list[str]:
    """F1 by label, from the counts of all seeds together; with their number of gold spans."""
    totals = {key: _sum_labels(runs) for key, runs in rows.items() if runs}
    n_gold: dict[str, int] = {}
    for key, counts in totals.items():
        for label, count in counts.items():
            n_gold[label] = max(n_gold.get(label, 0), count.n_gold // len(rows[key]))
    labels = sorted(n_gold, key=lambda label: (-n_gold[label], label))
    lines = [
        "| F1 by label | pattern | " + " | ".join(labels) + " |",
        "|---|---|" + "---:|" * len(labels),
        "| *gold spans* |  | " + " | ".join(f"*{n_gold[label]:,}*" for label in labels) + " |",
    ]
    for (name, pattern), counts in totals.items():
        cells = [f"{100 * counts.get(label, SpanCounts()).f1:.1f}" for label in labels]
        lines.append(f"| {study.systems[name].title} | {pattern or ''} | {' | '.join(cells)} |")
    return lines


def _sum_labels(runs: RunsT) -> dict[str, SpanCounts]:
    totals: dict[str, SpanCounts] = {}
    for run in runs:
        for label, counts in run["labels"].items():
            totals[label] = totals.get(label, SpanCounts()) + SpanCounts(*counts)
    return totals


def _compare(runs: RunsT, baseline: RunsT) -> Comparison | None:
    of_runs, of_baseline = ({run["seed"]: run for run in both} for both in (runs, baseline))
    seeds = sorted(of_runs.keys() & of_baseline.keys())
    if not seeds:
        return None
    pairs = [(of_runs[seed], of_baseline[seed]) for seed in seeds]
    differences = [ours["f1"] - theirs["f1"] for ours, theirs in pairs]
    p_value = None
    if len(seeds) > 1 and max(differences) - min(differences) > 1e-9:
        # Without spread of the differences t is not defined.
        ours, theirs = zip(*((a["f1"], b["f1"]) for a, b in pairs), strict=True)
        p_value = paired_t_test(ours, theirs).p_value
    counts = [
        numpy.sum([pair[side]["documents"] for pair in pairs], axis=0) for side in (0, 1)
    ]  # (documents, 3) each
    return Comparison(p_value, paired_bootstrap(*counts, n_samples=N_SAMPLES))


def _render_comparison(comparison: Comparison | None) -> list[str]:
    """p of the t-test, p of the bootstrap, and the difference with its interval."""
    if comparison is None:
        return ["", "", ""]
    found = comparison.bootstrap
    p_value = "" if comparison.p_value is None else _spell_p(comparison.p_value)
    interval = f"{100 * found.difference:+.2f} [{100 * found.low:+.2f}, {100 * found.high:+.2f}]"
    return [p_value, _spell_p(found.p_value), interval]


def _all_runs(rows: dict[str, RowsT]) -> Iterable[dict[str, Any]]:
    for of_task in rows.values():
        for runs in of_task.values():
            yield from runs


def _name_bar(system: System, pattern: str | None) -> str:
    return f"{system.title}, {pattern}" if pattern else system.title


def _describe_decoder(system: System, decoder: dict[str, Any]) -> str:
    # By its name in the study: the folder is known only where the runs were made.
    if system.untrained:
        return f"`{system.decoder}` with random weights"
    bits = decoder["bits_per_byte"]
    score = "bits per byte not known" if bits is None else f"{bits:.3f} bits per byte"
    return f"`{system.decoder}` ({decoder['identity']}), {score}"


def _describe_thresholds(rows: RowsT) -> str:
    found = sorted({run["threshold"] for runs in rows.values() for run in runs} - {None})
    if not found:
        return ""
    ends = sorted({found[0], found[-1]})
    return f" Threshold of each run chosen on dev: {' to '.join(f'{end:.2f}' for end in ends)}."


def _describe_machine(machine: dict[str, Any]) -> str:
    place = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['gib']} GiB, "
        f"threads of a run: {machine['threads']}"
    )
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    packages = ("torch", "spacy", "spacy-transformers", "transformers")
    return f"{place}{gpu}; {', '.join(f'{name} {machine[name]}' for name in packages)}"


def _spell_p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
