"""Label Studio's exports of named entity recognition, JSON and JSON_MIN.

    [{"data": {"text": "Ann slept"}, "annotations": [{"result": [{"type": "labels",
      "from_name": "label", "to_name": "text",
      "value": {"start": 0, "end": 3, "text": "Ann", "labels": ["PERSON"]}}]}]}]

    [{"text": "Ann slept", "label": [{"start": 0, "end": 3, "text": "Ann", "labels": ["PERSON"]}],
      "annotator": 1, "annotation_id": 7}]

Older versions count UTF-16 code units, newer ones code points: the text of each span shows which.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..inputs import shorten
from .json_records import read_records
from .jsonl import read_char_spans
from .offsets import Offsets
from .records import AnnotatedText, LabeledSpan, Note, ReportT
from .spans import SpanForm, check_record, take_text

ANNOTATIONS = ("annotations", "completions")  # the name before version 1.0
MIN_FIELDS = ("annotation_id", "annotator", "lead_time")
_DATES = ("created_at", "updated_at")
_SPANS = SpanForm(label_field="labels")


class _Form(NamedTuple):
    """Where the text and the regions of a task are, and what goes with the whole file."""

    text_field: str | None
    from_name: str | None
    offsets: Offsets
    report: ReportT


def read_label_studio(
    path: Path,
    *,
    report: ReportT,
    text_field: str | None = None,
    offsets: str | None = None,
    from_name: str | None = None,
) -> Iterator[AnnotatedText]:
    """Read the regions of texts. A region with several labels becomes as many spans.

    path (Path): The file.
    report (ReportT): Called for what is left out (cancelled annotations, regions of other kinds,
        tasks that nobody annotated), and for regions of several labels.
    text_field (str | None): Name of the text in the data of a task. None: the only string there,
        or the one called text.
    offsets (str | None): What start and end count, see offsets.py.
    from_name (str | None): Name of the labels to read, if there are several sets of them. None:
        all, which must then be of one text.
    RETURNS (Iterator[AnnotatedText]): The texts. Raises ValueError with file and line for what is
        not of this form, and for a task that was annotated more than once, unless the
        annotations agree.
    """
    form = _Form(text_field, from_name, Offsets(path, offsets, report), report)
    seen: dict[tuple[str, str], tuple[str, list[LabeledSpan]]] = {}
    for where, _, value in read_records(path):
        record = check_record(value, where)
        read = _read_task if isinstance(record.get("data"), dict) else _read_minimal
        found = read(record, form, where)
        if found is None:
            continue
        # JSON_MIN has a record for each annotation of a task. Another text of the same id is of
        # another project.
        key = json.dumps(record["id"], sort_keys=True) if "id" in record else where
        first, spans = seen.setdefault((key, found.text), (where, found.spans))
        if first == where:
            yield found
        elif _agree([spans, found.spans]):
            report(Note("equal annotations of one task read as one", where))
        else:
            raise _differ(where, f"another one of task {shorten(record['id'])} in {first}")
    form.offsets.close()


def _read_task(task: dict[str, Any], form: _Form, where: str) -> AnnotatedText | None:
    text = _find_text(task["data"], form.text_field, where)
    field = next((name for name in ANNOTATIONS if name in task), ANNOTATIONS[0])
    annotations = _take(task, field, where)
    results: list[list[LabeledSpan]] = []
    for annotation in _check_list(annotations, field, where):
        annotation = check_record(annotation, where)
        if annotation.get("was_cancelled") or annotation.get("skipped"):
            form.report(Note("cancelled annotation left out", where))
            continue
        result = _take(annotation, "result", where)
        results.append(_read_regions(result, text, form, where))
    if not text:
        form.report(Note("task without text left out", where))
    elif not results:
        form.report(Note("task without annotation left out", where))
    elif not _agree(results):
        raise _differ(where, f"{len(results)}")
    else:
        if len(results) > 1:
            form.report(Note("equal annotations of one task read as one", where))
        return AnnotatedText(where, text, results[0])
    return None


def _read_regions(result: object, text: str, form: _Form, where: str) -> list[LabeledSpan]:
    regions = []
    targets: set[str] = set()
    names: set[str] = set()
    for region in _check_list(result, "result", where):
        region = check_record(region, where)
        kind, name = region.get("type"), region.get("from_name")
        _check_kind(kind, where)
        if kind != "labels" or (form.from_name or name) != name:
            form.report(Note(f"region left out: {shorten(kind)} of {shorten(name)}"))
            continue
        targets.add(str(region.get("to_name")))
        names.add(str(name))
        regions.append(_take(region, "value", where))
    if len(targets) > 1:
        raise ValueError(
            f"{where}: expected labels of one text, but found those of {shorten(sorted(targets))}. "
            "Choose with --from-name, and --text-field."
        )
    if len(names) > 1:
        form.report(Note(f"labels of several names read together: {shorten(sorted(names))}", where))
    return _read_values(regions, text, "value", form, where)


def _read_minimal(record: dict[str, Any], form: _Form, where: str) -> AnnotatedText | None:
    fields = [
        name
        for name, value in record.items()
        if isinstance(value, list)
        and value
        and any(isinstance(span, dict) and "labels" in span for span in value)
    ]
    if form.from_name is not None:
        fields = [form.from_name] if form.from_name in record else []
    if len(fields) > 1:
        raise ValueError(
            f"{where}: expected labels in one field, but found them in {shorten(fields)}. Choose "
            "with --from-name."
        )
    text = _find_text(record, form.text_field, where)
    if not text:
        form.report(Note("task without text left out", where))
        return None
    if not any(name in record for name in MIN_FIELDS):
        raise ValueError(
            f"{where}: expected a task of Label Studio with data and annotations, or, of JSON_MIN, "
            f"one of the fields {', '.join(MIN_FIELDS)}, but found {shorten(sorted(record))}."
        )
    for name, value in record.items():
        for region in value if isinstance(value, list) and form.from_name is None else ():
            for kind in region if isinstance(region, dict) else ():
                _check_kind(kind, where)
        if isinstance(value, dict | list) and value and name not in fields:
            form.report(Note(f"field left out: {shorten(name)}"))
    values = record[fields[0]] if fields else []
    name = fields[0] if fields else "labels"
    return AnnotatedText(where, text, _read_values(values, text, name, form, where))


def _read_values(
    values: object, text: str, field: str, form: _Form, where: str
) -> list[LabeledSpan]:
    """Spans of objects that have start, end, text and a list of labels each."""
    flat = []
    for value in _check_list(values, field, where):
        value = check_record(value, where)
        labels = _check_list(_take(value, "labels", where), "labels", where)
        if not labels:
            form.report(Note("region without a label left out", where))
        if len(labels) > 1:
            form.report(Note("region of several labels read as several spans", where))
        flat += [{**value, "labels": label} for label in labels]
    return read_char_spans(text, flat, field, _SPANS, form.offsets, where)


def _find_text(data: dict[str, Any], field: str | None, where: str) -> str:
    if field is None:
        field = "text"
        strings = [name for name in data.keys() - set(_DATES) if isinstance(data[name], str)]
        if field not in data and len(strings) == 1:
            field = strings[0]
    return take_text(data, field, where, "--text-field")


def _agree(results: list[list[LabeledSpan]]) -> bool:
    return all(set(spans) == set(results[0]) for spans in results[1:])


def _differ(where: str, found: str) -> ValueError:
    return ValueError(
        f"{where}: expected one annotation of a task, but found {found}, and they differ. Keep one "
        "of them: cancel the others in Label Studio, or delete them from the file."
    )


def _check_kind(kind: object, where: str) -> None:
    """Raise ValueError for labels of something else, such as hypertextlabels, rectanglelabels."""
    if isinstance(kind, str) and kind.endswith("labels") and kind != "labels":
        raise ValueError(
            f"{where}: expected labels of a plain text, but found a region of the type "
            f"{shorten(kind)}, which has no offsets into one."
        )


def _take(record: dict[str, Any], field: str, where: str) -> Any:
    if field not in record:
        raise ValueError(
            f"{where}: expected Label Studio's export as JSON or JSON_MIN, but there is no "
            f"{field!r} in {shorten(sorted(record))}."
        )
    return record[field]


def _check_list(value: object, field: str, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: expected a list in {field!r}, but found {shorten(value)}.")
    return value
