"""Convert text with inline annotation to spaCy's .spacy format.

    python scripts/convert_inline.py assets/corpus/ner corpus/ner
    python scripts/convert_inline.py assets/corpus/reviews corpus/reviews --spans-key sc

Input: train.txt, dev.txt, test.txt, one sentence per line, a blank line between documents;
annotation is [text|LABEL] and may nest: [worst [service|NEGATIVE] ever|OPINION].
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import spacy
import typer
from spacy.language import Language
from spacy.tokens import Doc, DocBin


@dataclass
class AnnotatedText:
    """Text and its spans as (start, end, label), in characters."""

    text: str
    spans: list[tuple[int, int, str]]


def parse_inline(line: str) -> AnnotatedText:
    """Take the annotation out of a line. Raises ValueError for unbalanced brackets."""
    text: list[str] = []
    open_starts: list[int] = []
    spans = []
    i = 0
    while i < len(line):
        if line[i] == "[":
            open_starts.append(len(text))
        elif line[i] == "|":
            end = line.find("]", i)
            if end < 0 or not open_starts:
                raise ValueError(f"Unbalanced annotation in {line!r}: expected [text|LABEL].")
            spans.append((open_starts.pop(), len(text), line[i + 1 : end]))
            i = end
        else:
            text.append(line[i])
        i += 1
    if open_starts:
        raise ValueError(f"Unbalanced annotation in {line!r}: expected [text|LABEL].")
    return AnnotatedText("".join(text), spans)


def read_documents(path: Path) -> list[AnnotatedText]:
    """The documents of a file, their sentences joined by spaces."""
    documents = []
    for block in path.read_text(encoding="utf8").split("\n\n"):
        text, spans = "", []
        for line in filter(None, block.split("\n")):
            sentence = parse_inline(line)
            offset = len(text) + bool(text)
            text = f"{text} {sentence.text}" if text else sentence.text
            spans += [(start + offset, end + offset, label) for start, end, label in sentence.spans]
        if text:
            documents.append(AnnotatedText(text, spans))
    return documents


def make_docs(nlp: Language, documents: list[AnnotatedText], spans_key: str | None) -> list[Doc]:
    """Docs with entities, or with a span group if spans_key is given.

    Raises ValueError that lists all spans that do not begin and end with a token.
    """
    docs, misaligned = [], []
    for document in documents:
        doc = nlp.make_doc(document.text)
        spans = []
        for start, end, label in document.spans:
            span = doc.char_span(start, end, label=label)
            if span is None:
                context = document.text[max(0, start - 20) : end + 20]
                misaligned.append(f"{document.text[start:end]!r} ({label}) in ...{context!r}...")
            else:
                spans.append(span)
        if spans_key is None:
            doc.ents = spans
        else:
            doc.spans[spans_key] = spans
        docs.append(doc)
    if misaligned:
        raise ValueError(
            "Spans must begin and end with a token of spaCy's tokenizer, but these do not:\n"
            + "\n".join(misaligned)
        )
    return docs


def main(
    source: Annotated[Path, typer.Argument(help="Folder with train.txt, dev.txt, test.txt")],
    target: Annotated[Path, typer.Argument(help="Folder for train.spacy, dev.spacy, test.spacy")],
    spans_key: Annotated[str | None, typer.Option(help="Write doc.spans[KEY], not ents")] = None,
    lang: str = "en",
) -> None:
    """Convert a corpus."""
    nlp = spacy.blank(lang)
    target.mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev", "test"):
        docs = make_docs(nlp, read_documents(source / f"{split}.txt"), spans_key)
        DocBin(docs=docs, store_user_data=True).to_disk(target / f"{split}.spacy")
        n_spans = sum(len(doc.spans[spans_key] if spans_key else doc.ents) for doc in docs)
        print(f"{target / split}.spacy: {len(docs)} documents, {n_spans} spans")


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
