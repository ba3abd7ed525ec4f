"""The corpora of a task: found, converted, and checked before anything is trained on them."""

import re
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import spacy
from spacy.tokens import DocBin

from ..corpora.converting import convert_corpus
from ..corpora.records import Notes
from ..metrics.evaluation import read_gold, take_spans
from ..replacing import replace_folder
from .plan import PARTS, Study, Task


def find_converted(study: Study, corpora: Path, *, is_explicit: bool) -> tuple[Study, list[str]]:
    """The study without tasks that are not converted, unless they were named.

    study (Study): The study.
    corpora (Path): Folder of the converted corpora.
    is_explicit (bool): Whether the tasks were named.
    RETURNS (tuple[Study, list[str]]): The study, and the tasks that were left out. Raises
        FileNotFoundError if one was named, or if none is converted.
    """
    missing = [name for name in study.tasks if not (corpora / name / "test.spacy").is_file()]
    if missing and (is_explicit or len(missing) == len(study.tasks)):
        raise FileNotFoundError(
            f"Not converted yet: {', '.join(missing)}. Run `python -m spacy lgu study convert`, "
            "with this study."
        )
    there = [name for name in study.tasks if name not in missing]
    return study.choose(tasks=",".join(there)), missing


def find_files(task: Task, data: Path) -> dict[str, list[Path]]:
    """The raw files of a task by part. Raises FileNotFoundError for patterns without files."""
    if isinstance(task.files, dict):
        return {part: _glob(data, pattern) for part, pattern in task.files.items()}
    files = sorted(_glob(data, task.files), key=_leading_number)
    digits = {digit: part for part, digit in (task.tenths or {}).items()}
    parts: dict[str, list[Path]] = {part: [] for part in PARTS}
    for place, file in enumerate(files):
        parts[digits.get(place % 10, "train")].append(file)
    return parts


def convert_task(task: Task, data: Path, target: Path, *, say: Callable[[str], None]) -> None:
    """Write train.spacy, dev.spacy and test.spacy.

    task (Task): The task.
    data (Path): Folder of the raw files.
    target (Path): Folder to write.
    say (Callable): Called with what is in each part, and what was changed on the way.
    """
    files = find_files(task, data)

    def write(folder: Path) -> None:
        for part, inputs in files.items():
            output = folder / f"{part}.spacy"
            if task.convert is None:
                if len(inputs) != 1 or inputs[0].suffix != ".spacy":
                    raise ValueError(
                        f"Task {task.name}: without convert, expected one .spacy file for {part}, "
                        f"but got {', '.join(map(str, inputs))}."
                    )
                shutil.copyfile(inputs[0], output)
                continue
            options = dict(task.convert)
            if task.hold_out is not None and part == "train":
                options |= {"hold_out": task.hold_out, "hold_out_to": folder / "dev.spacy"}
            notes = Notes()
            written = convert_corpus(
                inputs, output, options.pop("format"), report=notes.add, **options
            )
            for path, counts in written.items():
                say(
                    f"{path.name}: {counts.n_docs} docs, {counts.n_tokens} tokens, "
                    f"{counts.n_spans} spans"
                )
            for kind, n_notes, details in notes.by_kind():
                say("\n  ".join([f"{kind}: {n_notes}", *details]))

    replace_folder(target, write)  # else parts of two conversions could share texts


def convert_tasks(
    study: Study, data: Path, corpora: Path, *, is_explicit: bool, say: Callable[[str], None]
) -> None:
    """Convert the corpora of a study. Tasks whose files are missing are left out, and what was
    converted of them before is removed.

    study (Study): The study.
    data (Path): Folder of the raw files.
    corpora (Path): Folder to write.
    is_explicit (bool): Whether the tasks were named: then a missing file is an error.
    say (Callable): Called with what is done.
    """
    missing = []
    for name, task in study.tasks.items():
        say(f"{name}: {task.title}")
        try:
            convert_task(task, data, corpora / name, say=say)
        except FileNotFoundError as error:
            if is_explicit:
                raise
            say(f"left out: {error}")
            missing.append(corpora / name)
    if len(missing) == len(study.tasks):
        raise FileNotFoundError(f"No task has its files in the folder {str(data)!r}: see --data.")
    for folder in missing:
        # Else it would be trained on what was converted from another folder before.
        if folder.exists():
            shutil.rmtree(folder)
            say(f"removed: {folder}, converted from other files")


def check_corpus(task: Task, corpus: Path, limit: int) -> None:
    """Raise ValueError for what would otherwise show only after training: parts without a span for
    the head, test texts that are not annotated.

    task (Task): The task.
    corpus (Path): Folder with the three parts.
    limit (int): Texts of each part; 0: all.
    """
    nlp = spacy.blank("en")
    for part in PARTS:
        file = corpus / f"{part}.spacy"
        docs = islice(DocBin().from_disk(file).get_docs(nlp.vocab), limit or None)
        if not any(take_spans(doc, task.spans_key) for doc in docs):
            place = "doc.ents" if task.spans_key is None else f"doc.spans[{task.spans_key!r}]"
            raise ValueError(
                f"{file}: there is no span in {place}, where the head {task.head} of task "
                f"{task.name} looks. Convert with target: "
                f"{'ents' if task.spans_key is None else 'spans'}, or choose another head."
            )
    # The threshold of a span categorizer is found on dev.
    for part in ("test",) if task.spans_key is None else ("dev", "test"):
        read_gold(nlp, corpus / f"{part}.spacy", limit, task.spans_key)


def count_texts(path: Path, limit: int) -> int:
    """Texts of a .spacy file, at most as many as the limit unless that is 0."""
    n_texts = len(DocBin().from_disk(path))
    return min(n_texts, limit) if limit else n_texts


def _glob(data: Path, pattern: str) -> list[Path]:
    files = sorted(data.glob(pattern)) if data.is_dir() else []
    if not files:
        raise FileNotFoundError(f"There is no file {pattern} in the folder {str(data)!r}.")
    return files


def _leading_number(file: Path) -> int:
    number = re.match(r"\d+", file.name)
    if number is None:
        raise ValueError(f"{file}: tenths need names that begin with a number.")
    return int(number.group())
