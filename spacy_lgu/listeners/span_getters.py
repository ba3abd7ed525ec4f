"""Which parts of Docs are run as sequences: functions from Docs to lists of spans."""

from collections.abc import Callable
from functools import partial

from spacy.tokens import Doc, Span

SpanGetterT = Callable[[list[Doc]], list[list[Span]]]


def doc_spans_v1() -> SpanGetterT:
    """RETURNS (Callable): Docs -> each as a whole."""
    return get_doc_spans


def sent_spans_v1() -> SpanGetterT:
    """RETURNS (Callable): Docs -> their sentences. They need sentence starts."""
    return get_sent_spans


def strided_spans_v1(window: int, stride: int) -> SpanGetterT:
    """Windows of spaCy tokens, which may overlap.

    window (int): Tokens per span.
    stride (int): Tokens from the start of one to the next.
    RETURNS (Callable): Docs -> their windows. Raises ValueError for a stride that leaves tokens out
        or goes nowhere.
    """
    if not 0 < stride <= window:
        raise ValueError(
            f"The stride of strided_spans is {stride} and the window {window}: expected a stride "
            "of at least 1 and at most the window, for example window = 128 and stride = 96."
        )
    return partial(get_strided_spans, window=window, stride=stride)


def get_doc_spans(docs: list[Doc]) -> list[list[Span]]:
    """RETURNS (list[list[Span]]): One span per Doc."""
    return [[doc[:]] for doc in docs]


def get_sent_spans(docs: list[Doc]) -> list[list[Span]]:
    """RETURNS (list[list[Span]]): The sentences of each Doc."""
    return [list(doc.sents) for doc in docs]


def get_strided_spans(docs: list[Doc], window: int, stride: int) -> list[list[Span]]:
    """RETURNS (list[list[Span]]): The windows of each Doc; the first that reaches its end is the
    last one."""
    return [
        [
            doc[start : start + window]
            for start in range(0, len(doc), stride)
            if start == 0 or start + window - stride < len(doc)
        ]
        for doc in docs
    ]
