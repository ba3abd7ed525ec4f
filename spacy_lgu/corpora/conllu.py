"""CoNLL-U: numbered words in columns separated by tabs, their tags in MISC or in a column.

    # text = Vive no Porto.
    1     Vive   viver  VERB   _  _  0  root  _  name=O
    2-3   no     _      _      _  _  _  _     _  _
    2     em     em     ADP    _  _  4  case  _  name=O
    3     o      o      DET    _  _  4  det   _  name=O
    4     Porto  Porto  PROPN  _  _  1  obl   _  name=B-LOC|SpaceAfter=No
    4.1   E      ser    VERB   _  _  _  _     _  _
    5     .      .      PUNCT  _  _  1  punct _  name=O

"no" is one word of the text, but two of the grammar; 4.1 is not in the text. Files with fewer
columns (Universal NER) or other ones (CoNLL-U Plus) are read too, if number and word come first.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..inputs import cut, shorten
from .conllu_lines import Sentence, Token, read_misc, read_sentences
from .notation import find_notation, looks_outside
from .records import Faults, LabeledSpan, Note, ReportT, TokenizedText, from_outside_in
from .schemes import split_tag

_KEYS = ("name", "NE")  # of NorNE and DaNE; spaCy's own converter reads both
SUBTOKENS = ("merge", "split")
_COREFERENCE = "Entity"


def read_conllu(
    path: Path,
    *,
    report: ReportT,
    column: int | Sequence[int] | None = None,
    misc_key: str | None = None,
    scheme: str | None = None,
    outside: str | None = None,
    label: str | None = None,
    subtokens: str | None = None,
) -> Iterator[TokenizedText]:
    """Read the words and the tags of a file.

    path (Path): The file.
    report (ReportT): Called with the scheme if it was detected, for each word of the text that is
        read as others, and for whatever else is not read as it is written.
    column (int | Sequence[int] | None): Column of the tags, counted from 0, or from the end if
        negative. The spans of several columns may overlap. None: they are in MISC.
    misc_key (str | None): Name of the tags in MISC. None: name or NE, whichever is there. A word
        without it is outside.
    scheme (str | None): Scheme of the tags (see schemes.py). None: detect it.
    outside (str | None): The tag of words outside. None: O.
    label (str | None): Label of tags that are a prefix alone. None: there are none.
    subtokens (str | None): What the tokens are where a word of the text has several of the grammar,
        which spaCy calls its subtokens. "merge": words of the text; a span that begins or ends
        inside one gets all of it. None: the same, but such spans are an error. "split": words of
        the grammar, as in `spacy convert`, although the text is then another.
    RETURNS (Iterator[TokenizedText]): The sentences, with the white space of the text. Raises
        ValueError with file and line for what is not valid.
    """
    if subtokens not in (None, *SUBTOKENS):
        raise ValueError(
            f"Expected one of {', '.join(SUBTOKENS)} for subtokens, but got {subtokens!r}."
        )
    if column is not None and misc_key is not None:
        raise ValueError(f"Expected --column or --misc-key ({misc_key}), but got both.")
    if next(read_sentences(path), None) is None:
        return
    sources: Sequence[int | str]
    if column is None:
        sources = [_find_key(path, misc_key)]
    else:
        sources = [column] if isinstance(column, int) else column
    marker = "O" if outside is None else outside
    notations = [
        find_notation(
            [
                (sentence.lines, _take_tags(sentence, source, marker, path))
                for sentence in read_sentences(path)
            ],
            str(path),
            report=report,
            scheme=scheme,
            outside=outside,
            label=label,
        )
        for source in sources
    ]
    faults = Faults()
    for sentence in read_sentences(path, report):
        spans: list[LabeledSpan] = []
        for source, notation in zip(sources, notations, strict=True):
            tags = _take_tags(sentence, source, marker, path)
            spans += notation.decode(sentence.lines, tags, report)
        spans.sort(key=from_outside_in)
        where = f"{path}:{sentence.lines[0]}"
        spaces = _find_spaces(sentence, path, report)
        if subtokens != "split":
            words = [token.fields[1] for token in sentence.tokens]
            told = report if subtokens else None
            spans = list(_widen(spans, sentence.tokens, path, told, faults))
        else:
            words = [fields[1] for fields in sentence.words]
            spaces = _divide_spaces(spaces, sentence.tokens, words, path, report)
        is_known = sentence.text is not None or sentence.misc is not None
        is_known = is_known or len(sentence.tokens) < len(sentence.words)
        yield TokenizedText(
            where, words, spans, sentence.document, spaces=spaces if is_known else None
        )
    if faults.n_faults:
        raise ValueError(
            "Spans must begin and end with words of the text, but these begin or end inside one. "
            "Give --subtokens merge (they get all of it), or split (tokens are the words of the "
            f"grammar):\n{faults}"
        )


def _find_key(path: Path, misc_key: str | None) -> str:
    """Name of the tags in MISC, empty if they have none."""
    found: dict[str, int] = {}  # line of the first
    is_plain = False
    for sentence in read_sentences(path):
        for line, fields in zip(sentence.lines, sentence.words, strict=True):
            for name, value in read_misc(fields, sentence.misc):
                if value is not None:
                    found.setdefault(name, line)
                elif split_tag(name)[0]:
                    is_plain = True
    keys = [misc_key] if misc_key else [key for key in _KEYS if key in found]
    if not keys and is_plain:
        return ""
    if _COREFERENCE in found and keys in ([], [_COREFERENCE]):
        raise ValueError(
            f"{path}:{found[_COREFERENCE]}: {_COREFERENCE}= holds mentions of coreference in "
            "brackets (CorefUD), which are not read. Write them as tags, or name another with "
            "--misc-key or --column."
        )
    if len(keys) != 1 or keys[0] not in found:
        raise ValueError(
            f"{path}: expected tags as {' or '.join(map('{}='.format, keys or _KEYS))} in MISC, "
            f"but found {shorten(', '.join(sorted(found)) or 'nothing')}. Name one with "
            "--misc-key, or a column with --column."
        )
    return keys[0]


def _take_tags(sentence: Sentence, source: int | str, outside: str, path: Path) -> list[str]:
    """Tags of the words of the grammar. A word of the text may repeat its first, but no more."""
    tags = []
    for line, fields in zip(sentence.lines, sentence.words, strict=True):
        tag = _take_tag(fields, sentence.misc, source, f"{path}:{line}")
        tags.append(outside if tag is None else tag)
    for token in sentence.tokens:
        tag = _take_tag(token.fields, sentence.misc, source, f"{path}:{token.line}")
        if tag not in (None, outside, tags[token.start]) and not looks_outside(tag or ""):
            raise ValueError(
                f"{path}:{token.line}: expected the tags of {token.fields[0]} at its words, but "
                f"found {shorten(tag or '')} at the range itself. Move it there."
            )
    return tags


def _take_tag(fields: list[str], misc: int | None, source: int | str, where: str) -> str | None:
    if isinstance(source, int):
        if not -len(fields) <= source < len(fields):
            raise ValueError(
                f"{where}: there is no column {source}: the last one is {len(fields) - 1}."
            )
        return fields[source]
    values = [
        name if value is None else value
        for name, value in read_misc(fields, misc)
        if (name == source if value is not None else not source and split_tag(name)[0])
    ]
    if len(values) > 1:
        raise ValueError(f"{where}: expected one tag, but found {shorten(', '.join(values))}.")
    return values[0] if values else None


def _find_spaces(sentence: Sentence, path: Path, report: ReportT) -> list[bool]:
    """Whether a space follows each word of the text; without the last, where that is not known.

    RETURNS (list[bool]): Raises ValueError with file and line if the comment has another text.
    """
    words = [token.fields[1] for token in sentence.tokens]
    miscs = [list(read_misc(token.fields, sentence.misc)) for token in sentence.tokens]
    spaces = [("SpaceAfter", "No") not in misc for misc in miscs]
    if spaces[-1]:
        spaces.pop()
    if sentence.text is None:
        return spaces
    where, start = f"{path}:{sentence.text_line}", 0
    gaps = []
    text = sentence.text.strip()
    for word in words:
        found = text.find(word, start)
        gap = text[start:found] if found >= 0 else word
        if gap.strip():
            raise ValueError(
                f"{where}: expected the text of the words below, but found "
                f"{shorten(text[start:])} instead of {shorten(word)}. Correct one of them, or "
                "remove the comment."
            )
        gaps.append(gap)
        start = found + len(word)
    if text[start:]:
        raise ValueError(
            f"{where}: expected the text of the words below, but found {shorten(text[start:])} "
            "after the last. Correct one of them, or remove the comment."
        )
    if any(gap not in ("", " ") for gap in gaps):
        report(Note("white space read as one space", where))
    of_text = [bool(gap) for gap in gaps[1:]] + spaces[len(words) - 1 :]
    if of_text != spaces and sentence.misc is not None:
        report(Note("spaces as in the text, not as in MISC", where))
    return of_text


def _divide_spaces(
    spaces: list[bool],
    tokens: list[Token],
    words: list[str],
    path: Path,
    report: ReportT,
) -> list[bool]:
    """Spaces after words of the grammar: after the last of each word of the text."""
    divided: list[bool] = []
    for i, token in enumerate(tokens):
        parts = words[token.start : token.end]
        divided += [False] * (len(parts) - 1) + spaces[i : i + 1]
        if "".join(parts) != token.fields[1]:
            report(
                Note(
                    "word of the text read as words of the grammar",
                    f"{path}:{token.line}: {shorten(token.fields[1])} -> "
                    f"{' '.join(map(shorten, parts))}",
                )
            )
    return divided


def _widen(
    spans: list[LabeledSpan],
    tokens: list[Token],
    path: Path,
    report: ReportT | None,
    faults: Faults,
) -> Iterator[LabeledSpan]:
    """Turn spans of words of the grammar into spans of words of the text. Widened ones are
    reported; without a report they are faults.
    """
    numbers = [i for i, token in enumerate(tokens) for _ in range(token.start, token.end)]
    for span in spans:
        first, last = numbers[span.start], numbers[span.end - 1]
        if (tokens[first].start, tokens[last].end) != (span.start, span.end):
            text = " ".join(token.fields[1] for token in tokens[first : last + 1])
            shown = f"{path}:{tokens[first].line}: {shorten(text)} ({cut(span.label)})"
            if report is None:
                faults.add(shown)
            else:
                report(Note("span widened to whole words of the text", shown))
        yield LabeledSpan(first, last + 1, span.label)
