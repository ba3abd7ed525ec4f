"""A report as a Markdown file with pictures beside it."""

from functools import partial
from pathlib import Path

from ..replacing import FileContent, replace_files
from ..study.plan import Study
from .pictures import draw_bars, draw_differences
from .rows import N_SAMPLES, RunsT, compare_rows, find_comparable, find_rows
from .tables import render_overview, render_runs, render_task

INTRODUCTION = """\
# {title}

{about}\
Written by `python -m spacy lgu study report` from the results of finished runs; not edited by
hand. What is compared is described in `{source}`.

- **F1** is strict micro F1 in percent on the test part (borders and label must be right), mean and
  sample standard deviation over seeds. Within a task all systems are trained for the same number
  of steps on as many texts.
- **p (t)** is the paper's test: one-sided, paired by seed, against the causal pattern of the same
  system. **p (b)** and the interval of the difference come from a paired bootstrap over the test
  texts ({n_samples:,} samples, counts of all seeds together).
- **Minutes** are those of `spacy train`, evaluation on dev included; **tokens/s** are spaCy's
  tokens through the whole pipeline (what else the machine did meanwhile is in both); **MB** is a
  saved pipeline, frozen weights included if they are in it.
"""


def write_report(
    study: Study, results: RunsT, output: Path, *, source: Path, limit: int = 0
) -> None:
    """Write the report and a bar chart per task.

    study (Study): Gives the order, and what is shown as not run.
    results (RunsT): Lines of the results file.
    output (Path): Markdown file; pictures are named after it. Raises ValueError if no result
        belongs to the study, ImportError if scipy or matplotlib is missing.
    source (Path): The study's file, named in the report.
    limit (int): Only runs with this limit are shown.
    """
    results_of_limit = [line for line in results if line["limit"] == limit]
    rows = {task: find_rows(study, task, results_of_limit) for task in study.tasks}
    if not any(runs for of_task in rows.values() for runs in of_task.values()):
        raise ValueError(
            f"None of the {len(results)} results belongs to a task of the study with the limit "
            f"{limit}. Run `python -m spacy lgu study run` first, or give another --results or "
            "--limit."
        )
    comparisons = {task: compare_rows(of_task) for task, of_task in rows.items()}
    about = f"{study.about.strip()}\n\n" if study.about else ""
    parts = [
        INTRODUCTION.format(
            title=study.title, about=about, source=source.as_posix(), n_samples=N_SAMPLES
        )
    ]
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
    shown = [run for of_task in rows.values() for runs in of_task.values() for run in runs]
    parts.append(render_runs(study, shown))
    replace_files({output: "\n".join(parts).encode("utf8"), **pictures})
