"""Aspect terms and their polarity: SemEval-2014 task 4, and a form of it with gold tokens.

<sentence id="1"><text>Good food</text><aspectTerms>
  <aspectTerm term="food" polarity="positive" from="5" to="9"/></aspectTerms></sentence>

Good food####Good=O food=T-POS
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree
from xml.parsers.expat import ErrorString

from .records import AnnotatedText, LabeledSpan, ReportT, TokenizedText, quote_span, read_lines
from .schemes import decode_tags

POLARITIES = ("positive", "negative", "neutral", "conflict")
_E2E_TAGS = {"O": "O", "T-POS": "positive", "T-NEG": "negative", "T-NEU": "neutral"}


def read_semeval_xml(path: Path, *, report: ReportT) -> Iterator[AnnotatedText]:
    """Read the aspect terms of a file; aspect categories are another task.

    path (Path): The file.
    report (ReportT): Not called: no aspect term is left out.
    RETURNS (Iterator[AnnotatedText]): The sentences. Raises ValueError with file and sentence, or
        line if it is not XML, for what is not of this form.
    """
    number = 0
    # A stream, since ElementTree does not close the file of a path if the XML ends early.
    with path.open("rb") as stream:
        for element in _read_elements(stream, path):
            if element.tag == "sentence":
                number += 1
                name = element.get("id") or f"number {number}"
                yield _read_sentence(element, f"{path}: sentence {name}")
                element.clear()
            elif element.tag == "Opinion":
                raise ValueError(
                    f"{path}: expected the aspectTerm elements of SemEval-2014, but found an "
                    "Opinion, as of SemEval-2015 and 2016, which spans and polarity of categories "
                    "share. Convert it to JSON lines and use --format char-jsonl."
                )


def read_e2e_absa(path: Path, *, report: ReportT) -> Iterator[TokenizedText]:
    """Read tokens and polarities. Adjacent tokens of one polarity are one span: tags have no B-.

    path (Path): The file, one sentence per line.
    report (ReportT): Not called: nothing is left out.
    RETURNS (Iterator[TokenizedText]): The sentences, each a document. Raises ValueError with file
        and line for what is not of this form.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        # The text may end in #, so the border is the last ####; with another it cannot be told.
        pairs = [pair.rpartition("=") for pair in line.rpartition("####")[2].split(" ")]
        wrong = [pair for pair in pairs if not pair[0] or pair[2] not in _E2E_TAGS]
        if wrong or line.count("####") != 1:
            raise ValueError(
                f"{where}: expected TEXT####TOKEN=TAG TOKEN=TAG, with #### once and the tags "
                f"{', '.join(_E2E_TAGS)}, but found {''.join(wrong[0]) if wrong else line!r}."
            )
        words = [token for token, _, _ in pairs]
        spans = decode_tags([_E2E_TAGS[tag] for _, _, tag in pairs])
        yield TokenizedText(where, words, spans, document=where)


def _read_elements(stream: BinaryIO, path: Path) -> Iterator[ElementTree.Element]:
    try:
        for _, element in ElementTree.iterparse(stream):
            yield element
    except ElementTree.ParseError as error:
        line, column = error.position
        raise ValueError(
            f"{path}:{line}: expected XML, but at column {column + 1}: {ErrorString(error.code)}."
        ) from error
    except (LookupError, ValueError) as error:  # an encoding that Python's parser does not have
        raise ValueError(f"{path}: {error}. Convert the file to UTF-8.") from error


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
                f"{where}: expected aspectTerm elements inside aspectTerms, written like this, but "
                f"found {other.tag} {other.attrib} elsewhere."
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
                f"{span.label!r} in {term.attrib}."
            )
        if not span.start < span.end or text[span.start : span.end] != term.get("term"):
            raise ValueError(
                f"{where}: expected the term {term.get('term')!r} at {span.start} to {span.end}, "
                f"but found {quote_span(text, *span)}. Correct from and to."
            )
        spans.append(span)
    return AnnotatedText(where, text, spans)


def _read_offset(term: ElementTree.Element, name: str, where: str) -> int:
    value = term.get(name, "")
    if not value.isdecimal():
        raise ValueError(
            f"{where}: expected a number of characters in the attribute {name!r}, but found "
            f"{term.attrib}."
        )
    return int(value)
