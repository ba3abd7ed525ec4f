"""Corpora for training and evaluation on gold tokens."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from spacy.errors import Errors
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Corpus, Example
from spacy.training.corpus import FILE_TYPE, walk_corpus

ReaderT = Callable[[Language], Iterator[Example]]


def gold_tokens_v1(path: Path | None, limit: int = 0) -> ReaderT:
    """Read .spacy files and give the pipeline their tokens, as the papers on their corpora do.

    spaCy's own reader tokenizes the texts again, and its option gold_preproc, which does not, cuts
    Docs into sentences and loses doc.spans.

    path (Path | None): A .spacy file, or a folder of them.
    limit (int): Read this many Docs at most; 0: all.
    RETURNS (Callable): Pipeline -> examples. Raises ValueError if the path is not given.
    """
    if path is None:
        raise ValueError(Errors.E913)
    files = walk_corpus(path, FILE_TYPE)
    docs = Corpus(path).read_docbin

    def read(nlp: Language) -> Iterator[Example]:
        # Without empty texts, as in spaCy's reader; but its limit ends only the file in which it is
        # reached.
        with_tokens = (doc for doc in docs(nlp.vocab, files) if len(doc))
        for reference in islice(with_tokens, limit or None):
            yield Example(copy_tokens(reference), reference)

    return read


def copy_tokens(doc: Doc) -> Doc:
    """A Doc with the tokens of another, and nothing else of it."""
    words = [token.text for token in doc]
    return Doc(doc.vocab, words=words, spaces=[bool(token.whitespace_) for token in doc])
