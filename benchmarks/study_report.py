"""Tables and pictures of a study's results: the same results give the same bytes."""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from math import nan
from pathlib import Path
from typing import Any

import numpy
from study_plan import CAUSAL, Study, System, Task

from spacy_lgu.metrics.bootstrap import paired_bootstrap
from spacy_lgu.metrics.seeds import mean_and_stdev, paired_t_test
from spacy_lgu.metrics.strict import SpanCounts

RunsT = list[dict[str, Any]]  # of one row: lines of the results that differ by seed only
RowsT = dict[tuple[str, str | None], RunsT]  # by system and pattern

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
  tokens through the whole pipeline; **MB** is a saved pipeline, frozen weights included if they
  are in it.
"""
N_SAMPLES = 10_000


def write_report(study: Study, results: RunsT, output: Path, *, limit: int = 0) -> None:
    """Write the report and a bar chart per task.

    study (Study): Gives the order, and what is shown as not run.
    results (RunsT): Lines of the results file.
    output (Path): Markdown file; pictures are named after it. Raises ValueError if no result
        belongs to the study, ImportError if matplotlib is missing.
    """
    rows = {
        task: find_rows(study, task, [line for line in results if line["limit"] == limit])
        for task in study.tasks
    }
    if not any(runs for of_task in rows.values() for runs in of_task.values()):
        raise ValueError(
            f"None of the {len(results)} results belongs to a task of the study with the limit "
            f"{limit}. Run `python benchmarks/study.py run` first, or give another --results or "
            "--limit."
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    parts = [INTRODUCTION.format(n_samples=N_SAMPLES)]
    if limit:
        parts.append(
            f"**Of each part only the first {limit} texts: not comparable to anything.**\n"
        )
    missing = []
    for name, task in study.tasks.items():
        of_task = rows[name]
        if not any(of_task.values()):
            missing.append(name)
            continue
        picture = output.with_name(f"{output.stem}-{name}.svg")
        draw_bars(of_task, study, picture, title=task.title)
        parts.append(render_task(task, study, of_task, picture.name))
    if missing:
        parts.append(f"## Not run\n\n{', '.join(missing)}\n")
    parts.append(render_runs(list(_all_runs(rows))))
    output.write_text("\n".join(parts), encoding="utf8")


def find_rows(study: Study, task: str, results: RunsT) -> RowsT:
    """The runs of each system and pattern, in the study's order; what is not run has none.

    Of runs with different settings those of the latest are taken, of runs with the same seed the
    latest one.
    """
    lines = [line for line in results if line["task"] == task]
    rows: RowsT = {}
    for name, system in study.systems.items():
        own = [line for line in lines if line["system"] == name]
        patterns = list(dict.fromkeys([*system.patterns, *(line["pattern"] for line in own)]))
        for pattern in patterns or [None]:
            runs = [line for line in own if line["pattern"] == pattern]
            by_seed = {r["seed"]: r for r in runs if r["settings"] == runs[-1]["settings"]}
            rows[name, pattern] = [by_seed[seed] for seed in sorted(by_seed)]
    return rows


def render_task(task: Task, study: Study, rows: RowsT, picture: str) -> str:
    """The section of a task."""
    n_texts = {len(runs[0]["documents"]) for runs in rows.values() if runs}
    steps = {runs[0]["steps"] for runs in rows.values() if runs}
    table = [
        "| system | pattern | F1 | stdev | seeds | p (t) | p (b) | difference, 95 % "
        "| minutes | tokens/s | MB |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (name, pattern), runs in _missing_last(rows):
        label = f"| {study.systems[name].title} | {pattern or ''} "
        if not runs:
            table.append(f"{label}| not run |  |  |  |  |  |  |  |  |")
            continue
        f1 = [run["f1"] for run in runs]
        cells = [
            f"{_mean(f1):.2f}",
            f"{mean_and_stdev(f1).stdev:.2f}" if len(f1) > 1 else "",
            str(len(f1)),
            *_compare(runs, [] if pattern == CAUSAL else rows.get((name, CAUSAL), [])),
            f"{_mean([run['train_minutes'] for run in runs]):.1f}",
            f"{_mean([run['tokens_per_second'] for run in runs]):,.0f}",
            f"{_mean([run['checkpoint_bytes'] for run in runs]) / 1e6:.1f}",
        ]
        table.append(f"{label}| {' | '.join(cells)} |")
    return "\n".join(
        [
            f"## {task.title}",
            "",
            f"`{task.name}`: head `{task.head}`, {_range(steps)} steps of {study.training.batch} "
            f"texts, {_range(n_texts)} test texts.",
            "",
            f"![F1 by system and pattern]({picture})",
            "",
            *table,
            "",
            *_render_labels(study, rows),
            "",
        ]
    )


def render_runs(runs: RunsT) -> str:
    """Where the figures come from: commits, machines and decoders."""
    decoders = {_describe_decoder(run["decoder"]) for run in runs if run["decoder"]}
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
    if find_spec("matplotlib") is None:
        raise ImportError("The pictures need matplotlib: pip install 'spacy-lgu[reports]'.")
    import matplotlib

    matplotlib.use("Agg")
    # Without it the names inside an SVG are random.
    matplotlib.rcParams["svg.hashsalt"] = "spacy-lgu"
    from matplotlib import pyplot

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


def _missing_last(rows: RowsT) -> Iterator[tuple[tuple[str, str | None], RunsT]]:
    """The rows, those of a system that were not run as one, after the others."""
    for name in dict.fromkeys(name for name, _ in rows):
        own = {pattern: runs for (system, pattern), runs in rows.items() if system == name}
        yield from (((name, pattern), runs) for pattern, runs in own.items() if runs)
        missing = [pattern for pattern, runs in own.items() if not runs]
        if missing:
            yield (name, ", ".join(filter(None, missing))), []


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


def _compare(runs: RunsT, baseline: RunsT) -> list[str]:
    """p of the t-test, p of the bootstrap, interval of the difference; empty without both, and
    "other conditions" where corpus, batches or steps were not the same."""
    of_runs, of_baseline = ({run["seed"]: run for run in both} for both in (runs, baseline))
    seeds = sorted(of_runs.keys() & of_baseline.keys())
    if not seeds:
        return ["", "", ""]
    pairs = [(of_runs[seed], of_baseline[seed]) for seed in seeds]
    if len({run["conditions"] for pair in pairs for run in pair}) > 1:
        return ["", "", "other conditions"]
    differences = [ours["f1"] - theirs["f1"] for ours, theirs in pairs]
    p_value = ""
    if len(seeds) > 1 and max(differences) - min(differences) > 1e-9:
        # Without spread of the differences t is not defined.
        ours, theirs = zip(*((a["f1"], b["f1"]) for a, b in pairs), strict=True)
        p_value = _spell_p(paired_t_test(ours, theirs).p_value)
    counts = [
        numpy.sum([pair[side]["documents"] for pair in pairs], axis=0) for side in (0, 1)
    ]  # (documents, 3) each
    found = paired_bootstrap(*counts, n_samples=N_SAMPLES)
    interval = f"{100 * found.difference:+.2f} [{100 * found.low:+.2f}, {100 * found.high:+.2f}]"
    return [p_value, _spell_p(found.p_value), interval]


def _all_runs(rows: dict[str, RowsT]) -> Iterable[dict[str, Any]]:
    for of_task in rows.values():
        for runs in of_task.values():
            yield from runs


def _name_bar(system: System, pattern: str | None) -> str:
    return f"{system.title}, {pattern}" if pattern else system.title


def _describe_decoder(decoder: dict[str, Any]) -> str:
    bits = decoder["bits_per_byte"]
    score = "bits per byte not known" if bits is None else f"{bits:.3f} bits per byte"
    return f"`{decoder['name']}` ({decoder['identity']}), {score}"


def _describe_machine(machine: dict[str, Any]) -> str:
    place = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['gib']} GiB, "
        f"threads of a run: {machine['threads']}"
    )
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    packages = ("torch", "spacy", "spacy-transformers", "transformers")
    return f"{place}{gpu}; {', '.join(f'{name} {machine[name]}' for name in packages)}"


def _range(values: Iterable[int]) -> str:
    ends = sorted({min(values), max(values)})
    return " to ".join(f"{end:,}" for end in ends)


def _spell_p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
