"""Whether a space follows a token: as the file says, or as the language is written."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from ..inputs import shorten
from .records import Note, ReportT, TokenizedText

SPACES = ("all", "none")
# Of spaCy's languages. Its Defaults.writing_system says of Korean, too, that it has no letters.
WITHOUT_SPACES = ("bo", "ja", "th", "zh")
# Thai and Lao, Tibetan, Burmese, Khmer, Kana, Han.
_SCRIPTS = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff]"
)


def choose_spaces(
    texts: Iterable[TokenizedText], *, given: str | None, lang: str, report: ReportT
) -> Iterator[TokenizedText]:
    """Settle what follows the tokens of texts that do not say so themselves.

    texts (Iterable[TokenizedText]): The texts.
    given (str | None): all or none: whatever the texts say. None: as they say, else a space
        after each token if the language is written with spaces.
    lang (str): The language, for spaCy.
    report (ReportT): Called for words that are joined although they look like several, and for
        texts that look like another language.
    RETURNS (Iterator[TokenizedText]): The texts; where nothing is said, spaces stay None.
        Raises ValueError for tokens with spaces of their own, and, at the end, if most of the
        texts that would be joined by spaces are of scripts without.
    """
    if given is not None and given not in SPACES:
        raise ValueError(f"Expected --spaces {' or '.join(SPACES)}, but got {given!r}.")
    n_characters, n_without, first = 0, 0, None
    for text in texts:
        if given == "none":
            text = _move_spaces(text)
        elif given == "all":
            text = replace(text, spaces=None)
        elif text.spaces is None:
            _check_tokens(text)
            if not has_spaces(given, lang):
                _report_joined(text, report)
            else:
                joined = "".join(text.words)
                found = len(_SCRIPTS.findall(joined))
                n_characters, n_without = n_characters + len(joined), n_without + found
                if len(text.words) > 1 and found > len(joined) / 2:
                    first = first or f"{text.where}: {shorten(' '.join(text.words[:40]))}"
                    report(Note("text of a script without spaces joined by spaces", text.where))
        yield text
    if first is not None and n_without > n_characters / 2:
        raise ValueError(
            f"{first}: most of the text is in a script that is written without spaces, and the "
            "file does not say where they are. Give --lang, for instance zh, ja or th, or --spaces "
            "none, to join the tokens as they are, or --spaces all for a space after each."
        )


def has_spaces(given: str | None, lang: str) -> bool:
    """Whether a space follows where nothing is said, arguments as in choose_spaces."""
    return given == "all" if given else lang not in WITHOUT_SPACES


def find_spaces(text: str, words: Sequence[str]) -> tuple[list[bool], bool] | None:
    """Whether white space follows each word of a text except the last.

    text (str): The text.
    words (Sequence[str]): Its words.
    RETURNS (tuple[list[bool], bool] | None): What follows, and whether all of it is single
        spaces, with nothing around the text. None if these are not the words of the text.
    """
    gaps, end = [], 0
    for word in words:
        start = text.find(word, end)
        if start < 0 or text[end:start].strip():
            return None
        gaps.append(text[end:start])
        end = start + len(word)
    if text[end:].strip():
        return None
    is_kept = set(gaps[1:]) <= {"", " "} and not gaps[0] and end == len(text)
    return [bool(gap) for gap in gaps[1:]], is_kept


def _check_tokens(text: TokenizedText) -> None:
    for word in text.words:
        if word.strip(" ") not in ("", word):
            raise ValueError(
                f"{text.where}: the token {shorten(word)} has spaces of its own, to which "
                "another would be added. Give --spaces none if all tokens have theirs, or --spaces "
                "all."
            )


def _move_spaces(text: TokenizedText) -> TokenizedText:
    """Turn outer spaces of tokens into spaces after them, or after the tokens before."""
    words, spaces = list(text.words), [False] * len(text.words)
    for i, word in enumerate(text.words):
        if i and word[0] == " " and word.strip() and not spaces[i - 1]:
            words[i], spaces[i - 1] = words[i][1:], True
        if word[-1] == " " and word.strip():
            words[i], spaces[i] = words[i][:-1], True
    return replace(text, words=words, spaces=spaces)


def _report_joined(text: TokenizedText, report: ReportT) -> None:
    for left, right in pairwise(text.words):
        border = left[-1] + right[0]
        if min(len(left), len(right)) > 1 and border.isascii() and border.isalnum():
            detail = f"{text.where}: {shorten(left)} {shorten(right)}"
            report(Note("Latin words joined without a space", detail))
