"""Tokens and spans to Docs, and how many of what a corpus has."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from spacy.tokens import Doc, Span
from spacy.vocab import Vocab

from ..inputs import cut, shorten
from .records import Faults, LabeledSpan, TokenizedText


def make_docs(
    texts: Iterable[TokenizedText],
    vocab: Vocab,
    *,
    spans_key: str | None = None,
    sentences_per_doc: int = 1,
    has_spaces: bool = True,
) -> Iterator[Doc]:
    """Turn texts into Docs. The tokens stay as they are.

    texts (Iterable[TokenizedText]): The texts, those of one document in a row.
    vocab (Vocab): Vocabulary of the Docs.
    spans_key (str | None): Write the spans to doc.spans under this key. None: to doc.ents.
    sentences_per_doc (int): Most sentences in a Doc, all of one document; 0: whole documents.
    has_spaces (bool): Whether a space follows each token, and each text, of which it is not known.
    RETURNS (Iterator[Doc]): The Docs. Where texts are sentences, sentence starts are set. Raises
        ValueError for spans that overlap, at the end and all together, if they were to become
        entities.
    """
    if sentences_per_doc < 0:
        raise ValueError(
            f"Expected at least 1 sentence per Doc, or 0 for whole documents, but got "
            f"{sentences_per_doc}."
        )
    overlaps = Faults()
    for group in _group(texts, sentences_per_doc):
        if spans_key is None:
            for text in group:
                for found in _find_overlaps(text):
                    overlaps.add(found)
        if not overlaps.n_faults:
            yield _make_doc(group, vocab, spans_key, has_spaces)
    if overlaps.n_faults:
        raise ValueError(
            f"Entities must not overlap, but these {overlaps.n_faults} do. Write them to doc.spans "
            f"with --target spans, for a span categorizer:\n{overlaps}"
        )


@dataclass
class Counts:
    """How many of what a corpus has; `add` counts one Doc more.

    n_docs (int): Docs.
    n_sentences (int | None): Sentences; None if their starts are not known in all Docs.
    n_tokens (int): Tokens.
    n_spans (int): Spans or entities.
    n_nested (int): Those of them that lie inside a longer one.
    longest (int): Tokens of the longest Doc.
    labels (Counter[str]): Spans by label.
    """

    spans_key: str | None
    n_docs: int = 0
    n_sentences: int | None = 0
    n_tokens: int = 0
    n_spans: int = 0
    n_nested: int = 0
    longest: int = 0
    labels: Counter[str] = field(default_factory=Counter)

    def add(self, doc: Doc) -> None:
        """Count one Doc more."""
        spans = doc.ents if self.spans_key is None else doc.spans[self.spans_key]
        self.n_docs += 1
        if doc.has_annotation("SENT_START") and self.n_sentences is not None:
            self.n_sentences += sum(1 for _ in doc.sents)
        else:
            self.n_sentences = None
        self.n_tokens += len(doc)
        self.n_spans += len(spans)
        self.longest = max(self.longest, len(doc))
        self.labels.update(span.label_ for span in spans)
        ranges = Counter((span.start, span.end) for span in spans)
        furthest = 0
        for start, end in sorted(ranges, key=_from_outside_in):
            if end <= furthest:
                self.n_nested += ranges[start, end]
            furthest = max(furthest, end)


def draw_held_out(n_docs: int, size: int | float, seed: int) -> set[int]:
    """Draw the Docs that are held out of a corpus, the same ones for the same seed.

    n_docs (int): How many Docs there are.
    size (int | float): How many of them to draw, or which share.
    seed (int): Seed of the drawing.
    RETURNS (set[int]): Their numbers, from 0. Raises ValueError if that leaves nothing on either
        side.
    """
    n_held_out = round(n_docs * size) if isinstance(size, float) else size
    if not 0 < n_held_out < n_docs:
        raise ValueError(
            f"Expected to hold out between 1 and {n_docs - 1} of {n_docs} Docs, but {size} makes "
            f"{n_held_out}."
        )
    # Of the functions of random, this alone promises to return the same in later versions.
    rng = random.Random(seed)
    order = sorted((rng.random(), i) for i in range(n_docs))
    return {i for _, i in order[:n_held_out]}


def _from_outside_in(borders: tuple[int, int]) -> tuple[int, int]:
    return borders[0], -borders[1]


def _group(texts: Iterable[TokenizedText], size: int) -> Iterator[list[TokenizedText]]:
    for _, document in groupby(texts, _document):
        group: list[TokenizedText] = []
        for text in document:
            group.append(text)
            if len(group) == size:
                yield group
                group = []
        if group:
            yield group


def _document(text: TokenizedText) -> str:
    return text.document


def _find_overlaps(text: TokenizedText) -> Iterator[str]:
    widest = LabeledSpan(0, 0, "")
    for span in sorted(text.spans):
        if span.start < widest.end:
            yield f"{text.where}: {_show(text, widest)} and {_show(text, span)}"
        if span.end > widest.end:
            widest = span


def _show(text: TokenizedText, span: LabeledSpan) -> str:
    return f"{shorten(' '.join(text.words[span.start : span.end]))} ({cut(span.label)})"


def _make_doc(
    texts: list[TokenizedText], vocab: Vocab, spans_key: str | None, has_spaces: bool
) -> Doc:
    words: list[str] = []
    spaces: list[bool] = []
    sent_starts: list[bool | int | None] = []
    spans: list[LabeledSpan] = []
    for text in texts:
        if len(spaces) < len(words):
            spaces.append(has_spaces)
        offset = len(words)
        words += text.words
        spaces += [has_spaces] * (len(text.words) - 1) if text.spaces is None else text.spaces
        sent_starts += [True] + [False] * (len(text.words) - 1)
        spans += [LabeledSpan(s.start + offset, s.end + offset, s.label) for s in text.spans]
    if len(spaces) < len(words):
        spaces.append(False)
    is_divided = all(text.is_sentence for text in texts)
    doc = Doc(vocab, words=words, spaces=spaces, sent_starts=sent_starts if is_divided else None)
    made = [Span(doc, span.start, span.end, label=span.label) for span in spans]
    if spans_key is None:
        # Tokens outside are marked as such: without it they would count as not annotated.
        doc.set_ents(made, default="outside")
    else:
        doc.spans[spans_key] = made
    return doc
