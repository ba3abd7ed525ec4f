"""The formats by name: how each is read, which options it has, and the way to Docs."""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import spacy
from spacy.tokens import Doc

from .absa import read_e2e_absa, read_semeval_xml
from .alignment import tokenize_texts
from .brat import read_brat
from .conll import read_conll
from .conllu import read_conllu
from .docs import make_docs
from .germeval import read_germeval
from .inline import read_inline
from .jsonl import read_char_jsonl, read_token_jsonl
from .litbank import read_litbank_entities, read_litbank_events
from .pubtator import read_pubtator
from .records import Note, ReportT
from .webanno import read_webanno

_TAGS = ("column", "scheme", "outside", "label")
_SPAN_FIELDS = ("spans_field", "start_field", "end_field", "label_field")


@dataclass(frozen=True, slots=True)
class Format:
    """A format of corpora.

    read (Callable): Path, report and options -> what the file holds.
    is_tokenized (bool): Whether that are TokenizedTexts; else AnnotatedTexts, to be tokenized.
    options (tuple[str, ...]): Names of the options that `read` takes.
    is_nested (bool): Whether its spans usually overlap, so that they go to doc.spans.
    suffixes (tuple[str, ...]): Ends of the names of its files in a folder; the first is that of
        the files to read. Empty: they have none in common.
    """

    read: Callable[..., Iterator[Any]]
    is_tokenized: bool
    options: tuple[str, ...] = ()
    is_nested: bool = False
    suffixes: tuple[str, ...] = ()


FORMATS = {
    "conll": Format(read_conll, is_tokenized=True, options=(*_TAGS, "token_column", "comment")),
    "conllu": Format(
        read_conllu,
        is_tokenized=True,
        options=(*_TAGS, "misc_key", "merge_subtokens"),
        suffixes=(".conllu",),
    ),
    "germeval": Format(read_germeval, is_tokenized=True, is_nested=True, suffixes=(".tsv",)),
    "webanno-tsv": Format(
        read_webanno,
        is_tokenized=True,
        options=("layer", "feature", "label", "misaligned"),
        suffixes=(".tsv",),
    ),
    "litbank-entities": Format(
        read_litbank_entities, is_tokenized=True, is_nested=True, suffixes=(".tsv",)
    ),
    "litbank-events": Format(read_litbank_events, is_tokenized=True, suffixes=(".tsv",)),
    "token-jsonl": Format(
        read_token_jsonl,
        is_tokenized=True,
        options=("tokens_field", *_SPAN_FIELDS, "document_field", "label"),
        suffixes=(".jsonl",),
    ),
    "char-jsonl": Format(
        read_char_jsonl,
        is_tokenized=False,
        options=("text_field", *_SPAN_FIELDS),
        suffixes=(".jsonl",),
    ),
    "semeval-xml": Format(read_semeval_xml, is_tokenized=False, suffixes=(".xml",)),
    "e2e-absa": Format(read_e2e_absa, is_tokenized=True, suffixes=(".txt",)),
    "brat": Format(
        read_brat,
        is_tokenized=False,
        options=("discontinuous",),
        is_nested=True,
        suffixes=(".ann", ".txt"),
    ),
    "pubtator": Format(read_pubtator, is_tokenized=False, suffixes=(".txt",)),
    "inline": Format(read_inline, is_tokenized=False, suffixes=(".txt",)),
}


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
    options: Those of the format's reader; for formats with tokens also sentences_per_doc (see
        make_docs), for the others misaligned (see tokenize_texts) and lang, the language of the
        tokenizer.
    RETURNS (Iterator[Doc]): The Docs. Raises ValueError for options that the format does not
        have, and with file and line for what is not valid.
    """
    format_ = find_format(format_name)
    common = ("sentences_per_doc",) if format_.is_tokenized else ("misaligned", "lang")
    unknown = [name for name in options if name not in (*format_.options, *common)]
    if unknown:
        raise ValueError(
            f"The format {format_name} has no option {_spell(unknown)}, only "
            f"{_spell((*format_.options, *common))}."
        )
    nlp = spacy.blank(options.get("lang", "en"))
    nlp.max_length = sys.maxsize  # what the limit protects, parser and NER, is not there
    own = {name: value for name, value in options.items() if name in format_.options}
    # Each once: the two files of a document in brat's format may both be given.
    files = dict.fromkeys(file for path in inputs for file in list_files(path, format_name))
    texts: Iterator[Any] = chain.from_iterable(
        _report_if_empty(format_.read(file, report=report, **own), file, report) for file in files
    )
    if not format_.is_tokenized:
        misaligned = options.get("misaligned", "error")
        texts = tokenize_texts(texts, nlp.make_doc, report=report, misaligned=misaligned)
    size = options.get("sentences_per_doc", 1)
    return make_docs(texts, nlp.vocab, spans_key=spans_key, sentences_per_doc=size)


def find_format(name: str) -> Format:
    """A format by its name. Raises ValueError that lists all if there is none."""
    if name not in FORMATS:
        raise ValueError(f"Expected one of the formats {', '.join(FORMATS)}, but got {name!r}.")
    return FORMATS[name]


def list_files(path: Path, format_name: str) -> list[Path]:
    """The files to read: the path itself, or those of a folder that belong to the format, sorted.

    path (Path): A file or a folder, which is searched with its subfolders.
    format_name (str): Name of the format.
    RETURNS (list[Path]): At least one. Raises FileNotFoundError if there is none, ValueError for
        a folder if files of the format have no common suffix.
    """
    suffixes = find_format(format_name).suffixes
    if path.is_file():
        return [path.with_suffix(suffixes[0]) if path.suffix in suffixes else path]
    if not path.is_dir():
        raise FileNotFoundError(f"There is no file or folder {str(path)!r}.")
    if not suffixes:
        raise ValueError(
            f"{str(path)!r} is a folder, but files of the format {format_name} have no suffix in "
            "common. Give the files themselves."
        )
    files = {
        file if file.suffix.lower() == suffixes[0] else file.with_suffix(suffixes[0])
        for file in path.rglob("*")
        if file.suffix.lower() in suffixes and file.is_file()
    }
    if not files:
        raise FileNotFoundError(
            f"There is no file *{' or *'.join(suffixes)} in the folder {str(path)!r} or below. "
            "Give the files themselves if they are named otherwise."
        )
    return sorted(files)


def _report_if_empty(texts: Iterator[Any], file: Path, report: ReportT) -> Iterator[Any]:
    first = next(texts, None)
    if first is None:
        report(Note("file without a text", str(file)))
    else:
        yield first
        yield from texts


def _spell(options: Iterable[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in options)
