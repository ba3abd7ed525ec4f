"""The tables of a report, in Markdown."""

from typing import Any

from ..metrics.seeds import mean_and_stdev
from ..metrics.strict import SpanCounts
from ..study.plan import Study, System, Task
from .rows import Comparison, ComparisonsT, RowsT, RunsT, mean

SURE = 0.05  # p of a bootstrap below which the overview marks a row


def render_overview(
    study: Study, rows: dict[str, RowsT], comparisons: dict[str, ComparisonsT]
) -> str:
    """F1 of all systems on all tasks that were run."""
    tasks = [name for name, of_task in rows.items() if any(of_task.values())]
    lines = [
        "## Overview",
        "",
        "F1, mean over seeds. \\* better than the causal pattern of the same system with the same "
        f"seeds, p (b) < {SURE}.",
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
            cells.append(f"{mean([run['f1'] for run in runs]):.1f}{mark}" if runs else "")
        name, pattern = row
        lines.append(
            f"| {_cell(study.systems[name].title)} | {pattern or ''} | {' | '.join(cells)} |"
        )
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
            f"{mean(f1):.2f}",
            f"{mean_and_stdev(f1).stdev:.2f}" if len(f1) > 1 else "",
            str(len(f1)),
            *_render_comparison(comparisons.get((name, pattern))),
            f"{mean([run['train_minutes'] for run in runs]):.1f}",
            f"{mean([run['tokens_per_second'] for run in runs]):,.0f}",
            f"{mean([run['checkpoint_bytes'] for run in runs]) / 1e6:.1f}",
        ]
        table.append(
            f"| {_cell(study.systems[name].title)} | {pattern or ''} | {' | '.join(cells)} |"
        )
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
        "| F1 by label | pattern | " + " | ".join(map(_cell, labels)) + " |",
        "|---|---|" + "---:|" * len(labels),
        "| *gold spans* |  | " + " | ".join(f"*{n_gold[label]:,}*" for label in labels) + " |",
    ]
    for (name, pattern), counts in totals.items():
        cells = [f"{100 * counts.get(label, SpanCounts()).f1:.1f}" for label in labels]
        lines.append(
            f"| {_cell(study.systems[name].title)} | {pattern or ''} | {' | '.join(cells)} |"
        )
    return lines


def _cell(name: str) -> str:
    """A name as one cell of a table."""
    return " ".join(name.split()).replace("|", "\\|")


def _sum_labels(runs: RunsT) -> dict[str, SpanCounts]:
    totals: dict[str, SpanCounts] = {}
    for run in runs:
        for label, counts in run["labels"].items():
            totals[label] = totals.get(label, SpanCounts()) + SpanCounts(*counts)
    return totals


def _render_comparison(comparison: Comparison | None) -> list[str]:
    """p of the t-test, p of the bootstrap, and the difference with its interval."""
    if comparison is None:
        return ["", "", ""]
    found = comparison.bootstrap
    p_value = "" if comparison.p_value is None else _spell_p(comparison.p_value)
    interval = f"{100 * found.difference:+.2f} [{100 * found.low:+.2f}, {100 * found.high:+.2f}]"
    return [p_value, _spell_p(found.p_value), interval]


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
    versions = [f"{name} {machine[name]}" for name in packages if machine[name]]
    return f"{place}{gpu}; {', '.join(versions)}"


def _spell_p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
