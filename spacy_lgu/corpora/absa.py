"""Aspect terms and their polarity: SemEval-2014 task 4, and a form of it with gold tokens.

<sentence id="1"><text>Good food</text><aspectTerms>
  <aspectTerm term="food" polarity="positive" from="5" to="9"/></aspectTerms></sentence>

Good food####Good=O food=T-POS
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

from ..inputs import cut, shorten
from .quoting import quote_span
from .records import (
    AnnotatedText,
    LabeledSpan,
    Note,
    ReportT,
    TokenizedText,
    read_lines,
)
from .schemes import decode_tags
from .spacing import find_spaces

POLARITIES = ("positive", "negative", "neutral", "conflict")
_CHUNK = 1 << 16  # bytes
_MOST_BYTES = 1 << 20  # of a sentence with its annotation
_DIGITS = 9  # of an offset
_LATER = ("Review", "Opinions", "Opinion")
_E2E_TAGS = {"O": "O", "T-POS": "positive", "T-NEG": "negative", "T-NEU": "neutral"}


def read_semeval_xml(path: Path, *, report: ReportT) -> Iterator[AnnotatedText]:
    """Read the aspect terms of a file; aspect categories are another task.

    path (Path): The file.
    report (ReportT): Not called: no aspect term is left out.
    RETURNS (Iterator[AnnotatedText]): The sentences. Raises ValueError with file and sentence, or
        line if it is not XML, for what is not of this form.
    """
    with path.open("rb") as stream:
        for number, (line, element) in enumerate(_read_elements(stream, path), 1):
            name = cut(element.get("id") or f"number {number}")
            yield _read_sentence(element, f"{path}:{line}: sentence {name}")


def read_e2e_absa(path: Path, *, report: ReportT) -> Iterator[TokenizedText]:
    """Read tokens and polarities. Adjacent tokens of one polarity are one span: there is no B-.

    path (Path): The file, one sentence per line.
    report (ReportT): Called where the text is not made of the tokens, so that it cannot say where
        spaces are.
    RETURNS (Iterator[TokenizedText]): The sentences, each a document. Raises ValueError with file
        and line for what is not of this form.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        # The text may end in #, so the last #### is the border; two of them leave it open.
        text, _, tagged = line.rpartition("####")
        pairs = [pair.rpartition("=") for pair in tagged.split(" ")]
        wrong = [pair for pair in pairs if not pair[0] or pair[2] not in _E2E_TAGS]
        if wrong or line.count("####") != 1:
            raise ValueError(
                f"{where}: expected TEXT####TOKEN=TAG TOKEN=TAG, with #### once and the tags "
                f"{', '.join(_E2E_TAGS)}, but found "
                f"{shorten(''.join(wrong[0]) if wrong else line)}."
            )
        words = [token for token, _, _ in pairs]
        spans = decode_tags([_E2E_TAGS[tag] for _, _, tag in pairs])
        found = find_spaces(text, words)
        if found is None:
            report(Note("text that does not consist of its tokens left out", where))
        spaces = None if found is None else found[0]
        yield TokenizedText(where, words, spans, document=where, spaces=spaces)


class _RefusedError(ValueError):
    """An error of ours inside the parser, as opposed to what the parser itself raises."""


class _Finished(NamedTuple):
    line: int
    element: ElementTree.Element


class _Parser:
    """Parses sentence by sentence. ElementTree gives no line numbers, and expands entities."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.finished: list[_Finished] = []
        self._builder: ElementTree.TreeBuilder | None = None
        self._line = 0
        self._n_bytes = 0  # read since the last sentence was finished
        self._expat = expat.ParserCreate()
        self._expat.buffer_text = True
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._add
        self._expat.StartDoctypeDeclHandler = self._refuse

    def feed(self, chunk: bytes) -> None:
        self._n_bytes += len(chunk)
        self._expat.Parse(chunk, not chunk)
        if self.finished:
            self._n_bytes = 0

    def check_size(self) -> None:
        if self._n_bytes > _MOST_BYTES:
            raise ValueError(
                f"{self.path}:{self._expat.CurrentLineNumber}: expected sentence elements, but "
                f"none ends within {_MOST_BYTES:,} bytes."
            )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag in _LATER:
            raise _RefusedError(
                f"{self.path}:{self._expat.CurrentLineNumber}: expected the aspectTerm elements of "
                f"SemEval-2014, but found the element {tag} of SemEval-2015 and 2016, whose spans "
                "and polarities belong to categories. Convert it to JSON lines and use --format "
                "char-jsonl."
            )
        if self._builder is None and tag == "sentence":
            self._builder = ElementTree.TreeBuilder()
            self._line = self._expat.CurrentLineNumber
        if self._builder is not None:
            self._builder.start(tag, attributes)

    def _end(self, tag: str) -> None:
        if self._builder is None:
            return
        element = self._builder.end(tag)
        if tag == "sentence":
            self.finished.append(_Finished(self._line, element))
            self._builder = None

    def _add(self, text: str) -> None:
        if self._builder is not None:
            self._builder.data(text)

    def _refuse(self, *declaration: object) -> None:
        raise _RefusedError(
            f"{self.path}:{self._expat.CurrentLineNumber}: expected XML without a document type, "
            "which could define entities without end. Remove the declaration <!DOCTYPE ...>."
        )


def _read_elements(stream: BinaryIO, path: Path) -> Iterator[_Finished]:
    parser = _Parser(path)
    chunk = b" "
    while chunk:
        chunk = stream.read(_CHUNK)
        try:
            parser.feed(chunk)
        except expat.ExpatError as error:
            raise ValueError(
                f"{path}:{error.lineno}: expected XML, but at column {error.offset + 1}: "
                f"{expat.ErrorString(error.code)}."
            ) from error
        except _RefusedError as error:
            raise ValueError(str(error)) from error
        except (LookupError, ValueError) as error:  # an encoding that the parser does not know
            raise ValueError(f"{path}:1: {error}. Convert the file to UTF-8.") from error
        parser.check_size()
        yield from parser.finished
        parser.finished.clear()


def _read_sentence(sentence: ElementTree.Element, where: str) -> AnnotatedText:
    element = sentence.find("text")
    text = "" if element is None else "".join(element.itertext())
    if not text:
        raise ValueError(f"{where}: expected a text element that is not empty.")
    spans = []
    terms = sentence.findall("aspectTerms/aspectTerm")
    for other in sentence.iter():
        if other.tag.lower() == "aspectterm" and other not in terms:
            raise ValueError(
                f"{where}: expected aspectTerm elements, spelled like this, inside aspectTerms, "
                f"but found {cut(other.tag)} {shorten(other.attrib)} elsewhere."
            )
    for term in terms:
        span = LabeledSpan(
            _read_offset(term, "from", where),
            _read_offset(term, "to", where),
            term.get("polarity", ""),
        )
        if span.label not in POLARITIES:
            raise ValueError(
                f"{where}: expected one of the polarities {', '.join(POLARITIES)}, but found "
                f"{shorten(span.label)} in {shorten(term.attrib)}."
            )
        if not span.start < span.end or text[span.start : span.end] != term.get("term"):
            raise ValueError(
                f"{where}: expected the term {shorten(term.get('term'))} at {span.start} to "
                f"{span.end}, but found {quote_span(text, *span)}. Correct from and to."
            )
        spans.append(span)
    return AnnotatedText(where, text, spans)


def _read_offset(term: ElementTree.Element, name: str, where: str) -> int:
    value = term.get(name, "")
    if not value.isdecimal() or len(value) > _DIGITS:
        raise ValueError(
            f"{where}: expected a number of characters in the attribute {name!r}, but found "
            f"{shorten(term.attrib)}."
        )
    return int(value)
