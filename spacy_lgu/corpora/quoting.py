"""How messages show spans, and what they say about wrong offsets."""

from unicodedata import normalize

from ..inputs import cut, shorten


def quote_span(text: str, start: int, end: int, label: str) -> str:
    """A span with its label and surroundings, as messages show it.

    text (str): The whole text.
    start (int): First character of the span.
    end (int): The character after it.
    label (str): Its label.
    RETURNS (str): Such as "'Ann' (PERSON) in ...'Annabel slept'...".
    """
    context = text[max(0, start - 20) : min(end, start + 80) + 20]
    return f"{shorten(text[start:end])} ({cut(label)}) in ...{context!r}..."


def guess_unit(text: str, start: int, end: int, expected: str) -> str:
    """What offsets may count instead of characters, if these do not find what they should.

    text (str): The whole text.
    start (int): First unit of a span.
    end (int): The unit after it.
    expected (str): What the span should be.
    RETURNS (str): A sentence for the end of a message, with a space before it; empty if there is
        nothing to say.
    """
    for unit, encoding, size in (("UTF-16 units", "utf-16-le", 2), ("bytes of UTF-8", "utf8", 1)):
        content = text.encode(encoding, "surrogatepass")[start * size : end * size]
        if content and content == expected.encode(encoding, "surrogatepass"):
            return f" It is there if offsets count {unit}: let them count characters."
    return guess_form(text, expected)


def guess_form(text: str, expected: str) -> str:
    """Whether a text has what is expected in another normal form of Unicode, which looks the same.

    text (str): The whole text.
    expected (str): What a span should be.
    RETURNS (str): As guess_unit.
    """
    for form in ("NFC", "NFD"):
        if expected not in text and normalize(form, expected) in text:
            return f" The text has it in Unicode's normal form {form}: write both alike."
    return ""
