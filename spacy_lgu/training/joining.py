"""Neighbouring texts joined into longer ones, so that training sees texts as long as those of use.

A corpus has sentences, an application has documents: a tagger that never saw a long text is much
worse on it.

A reader around another reader, and not one of spaCy's augmenters: an augmenter gets one example at
a time and is not told where the corpus ends, nor that it is read again from the beginning (as spaCy
does, in part, to initialize the pipeline). Texts that wait for a neighbour would be lost in the
first case and come in twice in the second.
"""

import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from spacy.attrs import SENT_START
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from .readers import ReaderT

_T = TypeVar("_T")
# spaCy would warn of the value of each text's user_data.
_EXCLUDED = ["tensor", "user_data"]


def join_texts_v1(corpus: ReaderT, max_length: int, level: float = 0.5, seed: int = 0) -> ReaderT:
    """Join neighbouring texts of a corpus, with their annotation. Texts are neither cut, left out
    nor moved: those that stay alone and those that are joined come in the order of the corpus.

    Neighbours stay apart where a joined text could not keep what they are annotated with: other
    categories (doc.cats), other keys of doc.spans, a parse for one of them alone.

    corpus (Callable): A reader, pipeline -> examples, such as spacy.Corpus.v1.
    max_length (int): Most tokens of a joined text. For each one a number from 1 to this is drawn,
        up to which texts are joined. A longer text stays as it is.
    level (float): Share of the texts that are joined if they have a neighbour to be joined with,
        from 0 to 1; the others stay alone, as they may be in use.
    seed (int): Of what is drawn. Every pass over the corpus joins the same texts.
    RETURNS (Callable): Pipeline -> examples. Raises ValueError for a max_length below 2 and a level
        that is no share.
    """
    if max_length < 2:
        raise ValueError(
            f"A joined text needs at least 2 tokens, but max_length is {max_length}: give the "
            "tokens of the longest texts that the pipeline is for."
        )
    if not 0 <= level <= 1:
        raise ValueError(f"level is a share of the texts, from 0 to 1, but is {level}.")

    def read(nlp: Language) -> Iterator[Example]:
        draw = random.Random(seed)
        groups = group_neighbours(
            corpus(nlp), lambda: draw.randint(1, max_length), _count_tokens, _is_alike
        )
        for group in groups:
            if len(group) > 1 and draw.random() < level:
                yield _join_examples(group)
            else:
                yield from group

    return read


def group_neighbours(
    texts: Iterable[_T],
    find_length: Callable[[], int],
    count_tokens: Callable[[_T], int],
    fits: Callable[[_T, _T], bool],
) -> Iterator[list[_T]]:
    """Divide a sequence of texts into groups up to a length each. One longer text is a group.

    texts (Iterable[_T]): The texts.
    find_length (Callable): Called for each group: its most tokens.
    count_tokens (Callable): Tokens of a text.
    fits (Callable): Whether a text may follow another one in its group.
    YIELDS (list[_T]): A group, of one text at least.
    """
    group: list[_T] = []
    n_tokens, length = 0, 0
    for text in texts:
        size = count_tokens(text)
        if not group or n_tokens + size > length or not fits(group[-1], text):
            if group:
                yield group
            group, n_tokens, length = [], 0, find_length()
        group.append(text)
        n_tokens += size
    if group:
        yield group


def join_docs(docs: Sequence[Doc]) -> Doc:
    """One Doc of several, with their entities, spans, heads and all other annotation of tokens, but
    without custom attributes; a space stands between two of them.

    docs (Sequence[Doc]): Docs of one vocabulary, at least one.
    RETURNS (Doc): The Doc; its categories are those of the first.
    """
    attrs = list(Doc._get_array_attrs())
    if not any(len(doc) > 1 and doc.has_annotation("SENT_START") for doc in docs):
        # Every Doc counts as the beginning of a sentence. These beginnings, alone, would tell
        # components that read sentences (ner, a span getter) of borders that nothing marks in use.
        attrs.remove(SENT_START)
    # The stub of spaCy 3.8 lacks the argument.
    joined = Doc.from_docs(list(docs), attrs=attrs, exclude=_EXCLUDED)  # type: ignore[call-arg]
    joined.cats = dict(docs[0].cats)
    return joined


def _join_examples(examples: list[Example]) -> Example:
    sides = ([e.predicted for e in examples], [e.reference for e in examples])
    predicted, reference = (join_docs(docs) for docs in sides)
    for docs, joined in zip(sides, (predicted, reference), strict=True):
        _copy_attributes(docs, joined)
    return Example(predicted, reference)


def _copy_attributes(docs: list[Doc], joined: Doc) -> None:
    """Custom attributes of tokens and spans, which are kept by their place in characters."""
    lost = set()
    n_tokens = 0
    for doc in docs:
        before = joined[n_tokens].idx if len(doc) else 0
        n_tokens += len(doc)
        for key, value in doc.user_data.items():
            match key:
                case ("._.", name, int(start), end):
                    place = (start + before, None if end is None else end + before)
                    joined.user_data[("._.", name, *place)] = value
                case ("._.", name, None, None):
                    lost.add(f"doc._.{name}")
                case _:
                    lost.add(f"doc.user_data[{key!r}]")
    if lost:
        warnings.warn(
            "A joined text does not have what belongs to each of its texts as a whole: "
            f"{', '.join(sorted(lost))}. Nothing of it reaches the training.",
            stacklevel=2,
        )


def _count_tokens(example: Example) -> int:
    return len(example.reference)


def _is_alike(one: Example, other: Example) -> bool:
    return _describe(one.reference) == _describe(other.reference)


def _describe(doc: Doc) -> tuple[dict[str, float], set[str], bool]:
    """What texts that are joined must have in common."""
    return doc.cats, set(doc.spans), doc.has_annotation("DEP")
