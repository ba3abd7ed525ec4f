"""From spans in characters to spans in the tokens of spaCy's tokenizer."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from spacy.tokens import Doc

from ..inputs import cut, shorten
from .quoting import quote_span
from .records import (
    AnnotatedText,
    Faults,
    LabeledSpan,
    Note,
    ReportT,
    TokenizedText,
)

MISALIGNED = ("error", "split", "expand", "contract", "drop")
_DIVIDED = "token divided at the border of a span, kept by the reader spacy-lgu.gold_tokens.v1"


class _Tokens(NamedTuple):
    words: list[str]
    spaces: list[bool]
    starts: list[int]
    ends: list[int]


def tokenize_texts(
    texts: Iterable[AnnotatedText],
    tokenizer: Callable[[str], Doc],
    *,
    report: ReportT,
    misaligned: str = "error",
) -> Iterator[TokenizedText]:
    """Divide texts into tokens, and convert their spans from characters to tokens.

    A span is misaligned if it does not begin and end with a token, or begins or ends with white
    space, which spaCy's entity recognizer cannot learn.

    texts (Iterable[AnnotatedText]): The texts.
    tokenizer (Callable[[str], Doc]): Such as nlp.make_doc. Must keep the text as it is.
    report (ReportT): Called for each span or token that is changed, with its context.
    misaligned (str): What to do with misaligned spans.
        error: raise, at the end, with all of them.
        split: divide the tokens at the borders of the span, which loses no annotation. The
            tokenizer will not divide new texts there: train with the reader
            spacy-lgu.gold_tokens.v1, which keeps these tokens.
        expand: take all tokens that the span touches.
        contract: take the tokens that lie inside the span; drop it if there is none.
        drop: leave the span out.
    RETURNS (Iterator[TokenizedText]): The texts in order, each a document. Raises ValueError as
        said above.
    """
    _check_choice(misaligned)
    errors = Faults()
    for text in texts:
        tokens = _take_tokens(tokenizer(text.text))
        if misaligned == "split":
            tokens = _split_tokens(text, tokens, report)
        spans = []
        for span in text.spans:
            aligned, is_exact = _align(text.text, span, tokens, misaligned)
            if not is_exact:
                shown = f"{text.where}: {quote_span(text.text, *span)}"
                if misaligned == "error":
                    errors.add(shown)
                elif aligned is None:
                    report(Note("misaligned span dropped", shown))
                else:
                    kept = text.text[tokens.starts[aligned.start] : tokens.ends[aligned.end - 1]]
                    report(Note("misaligned span changed", f"{shown} -> {shorten(kept)}"))
            if aligned is not None:
                spans.append(aligned)
        yield TokenizedText(
            text.where,
            tokens.words,
            spans,
            document=text.where,
            is_sentence=False,
            spaces=tokens.spaces,
        )
    if errors.n_faults:
        raise ValueError(
            "Spans must begin and end with a token of spaCy's tokenizer and not with white space, "
            f"but these {errors.n_faults} do not. Correct them, or give the --lang of the text, if "
            "it is another, or --misaligned split (divide the tokens, losing no span), expand, "
            f"contract or drop:\n{errors}"
        )


def trim_spans(
    texts: Iterable[TokenizedText], *, report: ReportT, misaligned: str = "error"
) -> Iterator[TokenizedText]:
    """Trim tokens of white space off the ends of spans.

    spaCy's entity recognizer cannot learn spans that begin or end with them.

    texts (Iterable[TokenizedText]): The texts.
    report (ReportT): Called for each span that is changed, with its context.
    misaligned (str): error or drop, as in tokenize_texts; all else trims such spans, and drops
        those of white space alone.
    RETURNS (Iterator[TokenizedText]): The texts in order. Raises ValueError as said above.
    """
    _check_choice(misaligned)
    errors = Faults()
    for text in texts:
        spans = []
        for span in text.spans:
            start, end = span.start, span.end
            while start < end and text.words[start].isspace():
                start += 1
            while start < end and text.words[end - 1].isspace():
                end -= 1
            if (start, end) != (span.start, span.end):
                shown = f"{text.where}: {shorten(text.words[span.start : span.end])}"
                shown = f"{shown} ({cut(span.label)})"
                if misaligned == "error":
                    errors.add(shown)
                if start == end or misaligned == "drop":
                    report(Note("misaligned span dropped", shown))
                    continue
                kept = shorten(text.words[start:end])
                report(Note("misaligned span changed", f"{shown} -> {kept}"))
            spans.append(LabeledSpan(start, end, span.label))
        yield replace(text, spans=spans)
    if errors.n_faults:
        raise ValueError(
            "Spans must not begin or end with a token of white space, which spaCy's entity "
            f"recognizer cannot learn, but these {errors.n_faults} do. Correct them, or give "
            "--misaligned contract (leave these tokens out, and spans of nothing else) or drop:\n"
            f"{errors}"
        )


def _check_choice(misaligned: str) -> None:
    if misaligned not in MISALIGNED:
        raise ValueError(
            f"Expected one of {', '.join(MISALIGNED)} for misaligned spans, but got {misaligned!r}."
        )


def _take_tokens(doc: Doc) -> _Tokens:
    return _Tokens(
        [token.text for token in doc],
        [bool(token.whitespace_) for token in doc],
        [token.idx for token in doc],
        [token.idx + len(token) for token in doc],
    )


def _split_tokens(text: AnnotatedText, tokens: _Tokens, report: ReportT) -> _Tokens:
    """Divide the tokens that a span begins or ends inside."""
    borders = {border for span in text.spans for border in _trim(text.text, span)}
    cuts = sorted(borders - set(tokens.starts) - set(tokens.ends))
    split = _Tokens([], [], [], [])
    for word, space, start, end in zip(*tokens, strict=True):
        inner = cuts[bisect_right(cuts, start) : bisect_left(cuts, end)]
        edges = [start, *inner, end]
        pieces = [text.text[a:b] for a, b in pairwise(edges)]
        if inner:
            shown = " ".join(map(shorten, pieces[:10]))
            detail = f"{text.where}: {shorten(word)} -> {shown}{' ...' * (len(pieces) > 10)}"
            report(Note(_DIVIDED, detail))
        split.words.extend(pieces)
        split.spaces.extend([False] * len(inner) + [space])
        split.starts.extend(edges[:-1])
        split.ends.extend(edges[1:])
    return split


def _align(
    text: str, span: LabeledSpan, tokens: _Tokens, misaligned: str
) -> tuple[LabeledSpan | None, bool]:
    """The span in tokens, None if nothing is left of it, and whether it is exact."""
    start, end = _trim(text, span)
    # The tokens that the span touches.
    first, last = bisect_right(tokens.ends, start), bisect_left(tokens.starts, end)
    is_exact = (
        (start, end) == (span.start, span.end)
        and first < last
        and (tokens.starts[first], tokens.ends[last - 1]) == (start, end)
    )
    if not is_exact and misaligned == "contract":
        first, last = bisect_left(tokens.starts, start), bisect_right(tokens.ends, end)
        while first < last and not text[tokens.starts[first] : tokens.ends[first]].strip():
            first += 1
        while first < last and not text[tokens.starts[last - 1] : tokens.ends[last - 1]].strip():
            last -= 1
    if start == end or first >= last or (not is_exact and misaligned == "drop"):
        return None, False
    return LabeledSpan(first, last, span.label), is_exact


def _trim(text: str, span: LabeledSpan) -> tuple[int, int]:
    """Start and end without outer white space; equal if there is nothing else."""
    content = text[span.start : span.end]
    start = span.start + len(content) - len(content.lstrip())
    return start, max(start, span.end - len(content) + len(content.rstrip()))
