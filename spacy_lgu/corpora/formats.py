"""The formats by name: how each is read, which options it has, and the way to Docs."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import spacy
from spacy.tokens import Doc
from spacy.util import get_lang_class
from spacy.vocab import create_vocab

from ..inputs import shorten
from . import detection
from .absa import read_e2e_absa, read_semeval_xml
from .alignment import tokenize_texts, trim_spans
from .brat import read_brat
from .conll import read_conll
from .conllu import read_conllu
from .docs import make_docs
from .exports import read_doccano, read_gliner, read_spacy_pairs
from .germeval import read_germeval
from .inline import read_inline
from .jsonl import read_char_jsonl, read_token_jsonl
from .label_studio import read_label_studio
from .litbank import read_litbank_entities, read_litbank_events
from .pubtator import read_pubtator
from .records import Note, ReportT
from .spacing import choose_spaces, has_spaces
from .webanno import read_webanno

AUTO = "auto"
_TAGS = ("column", "scheme", "outside", "label")
_SPAN_OPTIONS = (
    *("spans_field", "start_field", "end_field", "label_field", "span_text_field"),
    *("label", "ends", "offsets"),
)
_JSON = (".jsonl", ".json")


@dataclass(frozen=True, slots=True)
class Format:
    """A format of corpora.

    read (Callable): Path, report and options -> what the file holds.
    is_tokenized (bool): Whether that are TokenizedTexts; else AnnotatedTexts, to be tokenized.
    options (tuple[str, ...]): Names of the options that `read` takes.
    is_nested (bool): Whether its spans usually overlap, so that they go to doc.spans.
    suffixes (tuple[str, ...]): Ends of the names of its files in a folder. Empty: they have none
        in common.
    is_pair (bool): Whether files of one name but different suffixes are read together, under that
        with the first suffix.
    looks_like (Callable | None): Whether a file that begins like a Head is one, see detection.py.
        None: such files are not detected.
    refines (tuple[str, ...]): Formats that may claim the same files, but say less about them.
    """

    read: Callable[..., Iterator[Any]]
    is_tokenized: bool
    options: tuple[str, ...] = ()
    is_nested: bool = False
    suffixes: tuple[str, ...] = ()
    is_pair: bool = False
    looks_like: detection.LooksLikeT | None = None
    refines: tuple[str, ...] = ()


FORMATS = {
    "conll": Format(
        read_conll,
        is_tokenized=True,
        options=(*_TAGS, "token_column", "comment"),
        looks_like=detection.looks_like_columns,
    ),
    "conllu": Format(
        read_conllu,
        is_tokenized=True,
        options=(*_TAGS, "misc_key", "subtokens"),
        suffixes=(".conllu",),
        looks_like=detection.looks_like_conllu,
        refines=("conll", "inline"),
    ),
    "germeval": Format(
        read_germeval,
        is_tokenized=True,
        is_nested=True,
        suffixes=(".tsv",),
        looks_like=detection.looks_like_germeval,
        refines=("conll", "inline"),
    ),
    "webanno-tsv": Format(
        read_webanno,
        is_tokenized=True,
        options=("layer", "feature", "label", "misaligned"),
        suffixes=(".tsv",),
        looks_like=detection.looks_like_webanno,
        refines=("inline",),
    ),
    "litbank-entities": Format(
        read_litbank_entities,
        is_tokenized=True,
        is_nested=True,
        suffixes=(".tsv",),
        looks_like=detection.looks_like_layers,
    ),
    "litbank-events": Format(
        read_litbank_events,
        is_tokenized=True,
        suffixes=(".tsv",),
        looks_like=detection.looks_like_events,
        refines=("conll",),
    ),
    "token-jsonl": Format(
        read_token_jsonl,
        is_tokenized=True,
        options=(
            *("tokens_field", "text_field", "spaces_field", "spaces", *_SPAN_OPTIONS),
            *("document_field", "tags_field", "tag_names", "scheme", "outside"),
        ),
        suffixes=_JSON,
        looks_like=detection.looks_like_tokens,
    ),
    "char-jsonl": Format(
        read_char_jsonl,
        is_tokenized=False,
        options=("text_field", *_SPAN_OPTIONS),
        suffixes=_JSON,
        looks_like=detection.looks_like_texts,
    ),
    "doccano": Format(
        read_doccano,
        is_tokenized=False,
        options=("text_field", "offsets"),
        suffixes=_JSON,
        looks_like=detection.looks_like_doccano,
    ),
    "label-studio": Format(
        read_label_studio,
        is_tokenized=False,
        options=("text_field", "offsets", "from_name"),
        suffixes=_JSON,
        looks_like=detection.looks_like_label_studio,
    ),
    "gliner": Format(
        read_gliner,
        is_tokenized=True,
        options=("spaces",),
        suffixes=_JSON,
        looks_like=detection.looks_like_gliner,
    ),
    "spacy-pairs": Format(
        read_spacy_pairs,
        is_tokenized=False,
        options=("offsets",),
        suffixes=_JSON,
        looks_like=detection.looks_like_pairs,
    ),
    "semeval-xml": Format(
        read_semeval_xml,
        is_tokenized=False,
        suffixes=(".xml",),
        looks_like=detection.looks_like_semeval,
    ),
    "e2e-absa": Format(
        read_e2e_absa,
        is_tokenized=True,
        suffixes=(".txt",),
        looks_like=detection.looks_like_e2e,
    ),
    "brat": Format(
        read_brat,
        is_tokenized=False,
        options=("discontinuous",),
        is_nested=True,
        suffixes=(".ann", ".txt"),
        is_pair=True,
        looks_like=detection.looks_like_brat,
        refines=("conll", "inline"),
    ),
    "inline": Format(
        read_inline,
        is_tokenized=False,
        options=("spaces",),
        suffixes=(".txt",),
        looks_like=detection.looks_like_inline,
    ),
    "pubtator": Format(
        read_pubtator,
        is_tokenized=False,
        suffixes=(".txt",),
        looks_like=detection.looks_like_pubtator,
        refines=("inline",),
    ),
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
        nlp.max_length = sys.maxsize  # what the limit protects, parser and NER, is not there
        vocab = nlp.vocab
        texts = tokenize_texts(texts, nlp.make_doc, report=report, misaligned=misaligned)
    size = options.get("sentences_per_doc", 1)
    return make_docs(
        texts, vocab, spans_key=spans_key, sentences_per_doc=size, has_spaces=is_spaced
    )


def detect_format(inputs: Sequence[Path], *, report: ReportT) -> str:
    """The one format of all inputs, by what the files begin with.

    inputs (Sequence[Path]): Files, or folders and all files in these and below.
    report (ReportT): Called with the format.
    RETURNS (str): Its name. Raises ValueError with the file if no format claims it, or several,
        and if files are of several formats; FileNotFoundError as list_files.
    """
    found: dict[str, Path] = {}
    others: list[detection.Head] = []
    for path in inputs:
        for file in [path] if path.is_file() else sorted(_check_folder(path).rglob("*")):
            if file.is_file():
                head = detection.read_head(file)
                name = _find_claim(head)
                if name:
                    found.setdefault(name, file)
                elif head.lines:
                    others.append(head)
    if len(found) > 1:
        each = ", ".join(f"{path} is {name}" for name, path in found.items())
        raise ValueError(f"Expected files of one format, but {each}. Convert them one by one.")
    name = next(iter(found), "")
    for head in others:
        # A folder may hold files of other kinds, such as brat's annotation.conf.
        if not name or head.path in inputs or head.path.suffix in FORMATS[name].suffixes:
            raise _unknown(head)
    if not name:
        raise ValueError(f"There is no text in {', '.join(map(str, inputs))}.")
    report(Note(f"format detected: {name}", str(found[name])))
    return name


def _find_claim(head: detection.Head) -> str:
    claims = [name for name, kind in FORMATS.items() if kind.looks_like and kind.looks_like(head)]
    general = {other for name in claims for other in FORMATS[name].refines}
    claims = [name for name in claims if name not in general]
    if len(claims) > 1:
        raise ValueError(
            f"{head.path}: expected a file of one format, but it could be {' or '.join(claims)}. "
            "Say which, with --format."
        )
    return claims[0] if claims else ""


def _unknown(head: detection.Head) -> ValueError:
    names = [name for name, kind in FORMATS.items() if kind.looks_like]
    shown = f"it begins {shorten(head.lines[0])}"
    if head.fault:
        shown += f", and as JSON: {head.fault.removesuffix('.')}"
    elif head.records:
        shown = f"its JSON records have the fields {shorten(detection.find_fields(head.records))}"
    return ValueError(
        f"{head.path}: expected a file of one of the formats {', '.join(names)}, but {shown}. If "
        "it is of one of these with other columns or names of fields, give --format, and these."
    )


def _check_folder(path: Path) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(f"There is no file or folder {str(path)!r}.")
    return path


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
        return [_first_of_pair(path, format_name)]
    _check_folder(path)
    if not suffixes:
        raise ValueError(
            f"{str(path)!r} is a folder, but files of the format {format_name} have no suffix in "
            "common. Give the files themselves."
        )
    files = {
        _first_of_pair(file, format_name)
        for file in path.rglob("*")
        if file.suffix.lower() in suffixes and file.is_file()
    }
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
