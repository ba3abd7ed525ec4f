"""From files and folders to Docs, in a format that is given or detected."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import spacy
from spacy.tokens import Doc
from spacy.util import get_lang_class
from spacy.vocab import create_vocab

from ..inputs import shorten
from . import detection
from .docs import make_docs
from .records import Note, ReportT
from .registry import FORMATS, find_format
from .spacing import choose_spaces, has_spaces
from .tokenizing import tokenize_texts, trim_spans

AUTO = "auto"


def read_docs(
    inputs: Iterable[Path],
    format_name: str,
    *,
    report: ReportT,
    spans_key: str | None = None,
    **options: Any,
) -> Iterator[Doc]:
    """Read corpora as Docs.

    inputs (Iterable[Path]): Files, or folders, see list_files.
    format_name (str): Name of their format.
    report (ReportT): Called for whatever is left out or changed.
    spans_key (str | None): Key of doc.spans; None: entities.
    options: Those of the format's reader; misaligned (see tokenize_texts and trim_spans); lang,
        the language of the texts; and for formats with tokens sentences_per_doc (see make_docs)
        and spaces (see choose_spaces).
    RETURNS (Iterator[Doc]): The Docs. Raises ValueError for options that the format does not
        have, and with file and line for what is not valid.
    """
    format_ = find_format(format_name)
    common = ("sentences_per_doc", "spaces") if format_.is_tokenized else ()
    allowed = dict.fromkeys((*format_.options, *common, "misaligned", "lang"))
    unknown = [name for name in options if name not in allowed]
    if unknown:
        raise ValueError(
            f"The format {format_name} has no option {_spell(unknown)}, only {_spell(allowed)}."
        )
    misaligned, given = options.get("misaligned", "error"), options.get("spaces")
    language = get_lang_class(options.get("lang", "en"))
    lang = str(language.lang)
    own = {name: value for name, value in options.items() if name in format_.options}
    # Each once: the two files of a document in brat's format may both be given.
    files = dict.fromkeys(file for path in inputs for file in list_files(path, format_name))
    is_spaced = has_spaces(given, lang)
    if "spaces" in format_.options and not format_.is_tokenized:
        own["spaces"] = "all" if is_spaced else "none"
    texts: Iterator[Any] = chain.from_iterable(
        _report_if_empty(format_.read(file, report=report, **own), file, report) for file in files
    )
    if format_.is_tokenized:
        # No tokenizer: those of Japanese, Thai and others need packages of their own.
        vocab = create_vocab(lang, language.Defaults)
        texts = choose_spaces(texts, given=given, lang=lang, report=report)
        texts = trim_spans(texts, report=report, misaligned=misaligned)
    else:
        nlp = spacy.blank(lang)
        nlp.max_length = sys.maxsize  # it protects parser and NER, which are not there
        vocab = nlp.vocab
        texts = tokenize_texts(texts, nlp.make_doc, report=report, misaligned=misaligned)
    size = options.get("sentences_per_doc", 1)
    return make_docs(
        texts, vocab, spans_key=spans_key, sentences_per_doc=size, has_spaces=is_spaced
    )


def detect_format(inputs: Sequence[Path], *, report: ReportT) -> str:
    """Detect the one format of all inputs from how the files begin.

    inputs (Sequence[Path]): Files, or folders, with all files in them and below that are not
        hidden.
    report (ReportT): Called with the format.
    RETURNS (str): Its name. Raises ValueError with the file if no format or several claim it,
        and if the files are in several formats; FileNotFoundError as list_files does.
    """
    found: dict[str, Path] = {}
    others: list[detection.Head] = []
    unreadable: list[tuple[Path, ValueError]] = []
    for path in inputs:
        for file in [path] if path.is_file() else sorted(_list_below(path)):
            try:
                head = detection.read_head(file)
            except ValueError as error:  # of another kind, as the others; or it is said below
                unreadable.append((file, error))
                continue
            name = _find_claim(head)
            if name:
                found.setdefault(name, file)
            elif head.lines:
                others.append(head)
    if len(found) > 1:
        each = ", ".join(f"{path} is {name}" for name, path in found.items())
        raise ValueError(f"Expected files of one format, but {each}. Convert them one by one.")
    name = next(iter(found), "")
    # A folder may hold files of other kinds, such as brat's annotation.conf.
    for file, fault in unreadable:
        if not name or file in inputs or file.suffix in FORMATS[name].suffixes:
            raise fault
    for head in others:
        if not name or head.path in inputs or head.path.suffix in FORMATS[name].suffixes:
            raise _unknown(head)
    if not name:
        raise ValueError(f"There is no text in {', '.join(map(str, inputs))}.")
    report(Note(f"format detected: {name}", str(found[name])))
    return name


def _find_claim(head: detection.Head) -> str:
    claims = [name for name, kind in FORMATS.items() if kind.looks_like(head)]
    general = {other for name in claims for other in FORMATS[name].refines}
    claims = [name for name in claims if name not in general]
    if len(claims) > 1:
        raise ValueError(
            f"{head.path}: expected a file of one format, but it could be {' or '.join(claims)}. "
            "Say which, with --format."
        )
    return claims[0] if claims else ""


def _unknown(head: detection.Head) -> ValueError:
    shown = f"it begins {shorten(head.lines[0])}"
    if head.fault:
        shown += f", and as JSON: {head.fault.removesuffix('.')}"
    elif head.records:
        shown = f"its JSON records have the fields {shorten(detection.find_fields(head.records))}"
    return ValueError(
        f"{head.path}: expected a file of one of the formats {', '.join(FORMATS)}, but {shown}. If "
        "it is one of these with other columns or names of fields, give --format, and these."
    )


def _list_below(path: Path) -> list[Path]:
    """The files in a folder and below, but what is hidden: editors keep copies there."""
    if not path.is_dir():
        raise FileNotFoundError(f"There is no file or folder {str(path)!r}.")
    return [
        file
        for file in path.rglob("*")
        if file.is_file() and not any(p.startswith(".") for p in file.relative_to(path).parts)
    ]


def list_files(path: Path, format_name: str) -> list[Path]:
    """The files to read: the path itself, or those of a folder that belong to the format, sorted.

    path (Path): A file or a folder, which is searched with its subfolders, but for what is hidden.
    format_name (str): Name of the format.
    RETURNS (list[Path]): At least one. Raises FileNotFoundError if there is none, ValueError for
        a folder if files of the format have no common suffix.
    """
    suffixes = find_format(format_name).suffixes
    if path.is_file():
        return [_first_of_pair(path, format_name)]
    below = _list_below(path)
    if not suffixes:
        raise ValueError(
            f"{str(path)!r} is a folder, but files of the format {format_name} have no suffix in "
            "common. Give the files themselves."
        )
    files = {_first_of_pair(file, format_name) for file in below if file.suffix.lower() in suffixes}
    if not files:
        raise FileNotFoundError(
            f"There is no file *{' or *'.join(suffixes)} in the folder {str(path)!r} or below. "
            "Give the files themselves if they are named otherwise."
        )
    return sorted(files)


def _first_of_pair(file: Path, format_name: str) -> Path:
    suffixes = FORMATS[format_name].suffixes
    if FORMATS[format_name].is_pair and file.suffix.lower() in suffixes[1:]:
        return file.with_suffix(suffixes[0])
    return file


def _report_if_empty(texts: Iterator[Any], file: Path, report: ReportT) -> Iterator[Any]:
    first = next(texts, None)
    if first is None:
        report(Note("file without a text", str(file)))
    else:
        yield first
        yield from texts


def _spell(options: Iterable[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in options)
