"""The formats by name: how each is read, which options it has, what its files look like."""

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from inspect import signature
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

_JSON = (".jsonl", ".json")
_COLUMNS = ("conll", "inline")


@dataclass(frozen=True, slots=True)
class Format:
    """A format of corpora.

    read (Callable): Path, and as keywords report and options -> what the file holds.
    looks_like (Callable): Whether a file that begins like a Head is one, see detection.py.
    suffixes (tuple[str, ...]): Suffixes of its files in a folder. Empty: they have none in common.
    is_tokenized (bool): Whether it holds TokenizedTexts; else AnnotatedTexts, to be tokenized.
    is_nested (bool): Whether its spans usually overlap, so that they go to doc.spans.
    is_pair (bool): Whether files of one name but different suffixes are read together, under the
        name with the first suffix.
    refines (tuple[str, ...]): Formats that may claim the same files, but say less about them.
    """

    read: Callable[..., Iterator[Any]]
    looks_like: detection.LooksLikeT
    suffixes: tuple[str, ...] = ()
    _: KW_ONLY
    is_tokenized: bool = True
    is_nested: bool = False
    is_pair: bool = False
    refines: tuple[str, ...] = ()

    @property
    def options(self) -> list[str]:
        """Names of the options that `read` takes, see options.py."""
        return [name for name in signature(self.read).parameters if name not in ("path", "report")]


FORMATS = {
    "conll": Format(read_conll, detection.looks_like_columns),
    "conllu": Format(read_conllu, detection.looks_like_conllu, (".conllu",), refines=_COLUMNS),
    "germeval": Format(
        read_germeval, detection.looks_like_germeval, (".tsv",), is_nested=True, refines=_COLUMNS
    ),
    "webanno-tsv": Format(
        read_webanno, detection.looks_like_webanno, (".tsv",), refines=("inline",)
    ),
    "litbank-entities": Format(
        read_litbank_entities, detection.looks_like_layers, (".tsv",), is_nested=True
    ),
    "litbank-events": Format(
        read_litbank_events, detection.looks_like_events, (".tsv",), refines=("conll",)
    ),
    "token-jsonl": Format(read_token_jsonl, detection.looks_like_tokens, _JSON),
    "char-jsonl": Format(read_char_jsonl, detection.looks_like_texts, _JSON, is_tokenized=False),
    "doccano": Format(read_doccano, detection.looks_like_doccano, _JSON, is_tokenized=False),
    "label-studio": Format(
        read_label_studio, detection.looks_like_label_studio, _JSON, is_tokenized=False
    ),
    "gliner": Format(read_gliner, detection.looks_like_gliner, _JSON),
    "spacy-pairs": Format(read_spacy_pairs, detection.looks_like_pairs, _JSON, is_tokenized=False),
    "semeval-xml": Format(
        read_semeval_xml, detection.looks_like_semeval, (".xml",), is_tokenized=False
    ),
    "e2e-absa": Format(read_e2e_absa, detection.looks_like_e2e, (".txt",)),
    "brat": Format(
        read_brat,
        detection.looks_like_brat,
        (".ann", ".txt"),
        is_tokenized=False,
        is_nested=True,
        is_pair=True,
        refines=_COLUMNS,
    ),
    "inline": Format(read_inline, detection.looks_like_inline, (".txt",), is_tokenized=False),
    "pubtator": Format(
        read_pubtator,
        detection.looks_like_pubtator,
        (".txt",),
        is_tokenized=False,
        refines=("inline",),
    ),
}


def find_format(name: str) -> Format:
    """A format by its name. Raises ValueError that lists all if there is none."""
    if name not in FORMATS:
        raise ValueError(f"Expected one of the formats {', '.join(FORMATS)}, but got {name!r}.")
    return FORMATS[name]
