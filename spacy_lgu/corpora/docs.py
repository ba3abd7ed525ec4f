"""From tokens and spans to Docs."""

from collections.abc import Iterable, Iterator
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
    has_spaces (bool): Whether a space follows tokens and texts that do not say so themselves.
    RETURNS (Iterator[Doc]): The Docs. Where texts are sentences, sentence starts are set. Raises
        ValueError at the end, with all of them, for overlapping spans that would become entities.
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
        # Tokens outside are marked as such: otherwise they would count as not annotated.
        doc.set_ents(made, default="outside")
    else:
        doc.spans[spans_key] = made
    return doc
