"""Corpora for training and evaluation on gold tokens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from spacy.errors import Errors
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.training.corpus import FILE_TYPE, walk_corpus
from spacy.vocab import Vocab

ReaderT = Callable[[Language], Iterator[Example]]
# What spaCy's DocBin raises for a file that is damaged: it takes apart what it finds, unchecked.
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, OverflowError)


def gold_tokens_v1(path: Path | None, limit: int = 0) -> ReaderT:
    """Read .spacy files and give the pipeline their tokens, as the papers on their corpora do.

    spaCy's own reader tokenizes the texts again, and its option gold_preproc, which does not, cuts
    Docs into sentences and loses doc.spans.

    path (Path | None): A .spacy file, or a folder of them.
    limit (int): Read this many Docs at most; 0: all.
    RETURNS (Callable): Pipeline -> examples. Raises ValueError if the path is not given, for a
        limit below 0 and, when they are read, for a file that is damaged.
    """
    if path is None:
        raise ValueError(Errors.E913)
    if limit < 0:
        raise ValueError(f"Expected a limit of at least 1, or 0 for all Docs, but got {limit}.")
    files = walk_corpus(path, FILE_TYPE)

    def read(nlp: Language) -> Iterator[Example]:
        docs = (doc for file in files for doc in read_docbin(file, nlp.vocab))
        # Without empty texts, as in spaCy's reader; but its limit ends only the file in which it is
        # reached.
        with_tokens = (doc for doc in docs if len(doc))
        for reference in islice(with_tokens, limit or None):
            yield Example(copy_tokens(reference), reference)

    return read


def load_docbin(file: Path) -> DocBin:
    """What a .spacy file holds. Raises ValueError that names a file that is damaged."""
    with _damaged(file):
        return DocBin().from_disk(file)


def read_docbin(file: Path, vocab: Vocab) -> Iterator[Doc]:
    """The Docs of a .spacy file, one by one.

    file (Path): The file.
    vocab (Vocab): The vocabulary of the Docs.
    RETURNS (Iterator[Doc]): The Docs. Raises ValueError that names a file that is damaged.
    """
    docs = load_docbin(file).get_docs(vocab)
    with _damaged(file):
        yield from docs


@contextmanager
def _damaged(file: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise ValueError(
            f"{str(file)!r} is damaged, or no .spacy file ({type(error).__name__}: "
            f"{str(error)[:300]}). Copy it again, or convert the corpus again with `python -m "
            "spacy lgu convert`."
        ) from error


def copy_tokens(doc: Doc) -> Doc:
    """A Doc with the tokens of another, and nothing else of it."""
    words = [token.text for token in doc]
    return Doc(doc.vocab, words=words, spaces=[bool(token.whitespace_) for token in doc])
