"""The formats by name: how each is read, which options it has, what its files look like."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from . import detection
from .absa import read_e2e_absa, read_semeval_xml
from .brat import read_brat
from .conll import read_conll
from .conllu import read_conllu
from .exports import read_doccano, read_gliner, read_spacy_pairs
from .germeval import read_germeval
from .inline import read_inline
from .jsonl import read_char_jsonl, read_token_jsonl
from .label_studio import read_label_studio
from .litbank import read_litbank_entities, read_litbank_events
from .pubtator import read_pubtator
from .webanno import read_webanno

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


def find_format(name: str) -> Format:
    """A format by its name. Raises ValueError that lists all if there is none."""
    if name not in FORMATS:
        raise ValueError(f"Expected one of the formats {', '.join(FORMATS)}, but got {name!r}.")
    return FORMATS[name]
