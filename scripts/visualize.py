"""Write one HTML page with what the two pipelines find in their test parts, drawn by displaCy."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import spacy
import typer
from spacy import displacy
from spacy.tokens import Doc, DocBin

from spacy_lgu.replacing import replace_file

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>spacy-lgu: predictions on the test parts</title></head>
<body style="font-family: sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em">
<h1>Named entities</h1>
{entities}
<h1>Aspects, opinions and what is reviewed</h1>
{spans}
</body>
</html>
"""


def predict(pipeline: Path, corpus: Path, n_docs: int) -> list[Doc]:
    """The first Docs of a corpus, annotated by a pipeline."""
    nlp = spacy.load(pipeline)
    docs = islice(DocBin().from_disk(corpus).get_docs(nlp.vocab), n_docs)
    return list(nlp.pipe(doc.text for doc in docs))


def main(
    ner: Annotated[Path, typer.Argument(help="Pipeline that sets doc.ents")],
    spancat: Annotated[Path, typer.Argument(help="Pipeline that sets doc.spans")],
    ner_corpus: Annotated[Path, typer.Argument(help=".spacy file for the first")],
    spancat_corpus: Annotated[Path, typer.Argument(help=".spacy file for the second")],
    output: Annotated[Path, typer.Argument(help="HTML file to write")],
    n_docs: Annotated[int, typer.Option(help="Documents of each corpus")] = 12,
    spans_key: str = "sc",
) -> None:
    """Write the page."""
    entities = displacy.render(predict(ner, ner_corpus, n_docs), style="ent", jupyter=False)
    spans = displacy.render(
        predict(spancat, spancat_corpus, n_docs),
        style="span",
        jupyter=False,
        options={"spans_key": spans_key},
    )
    replace_file(output, _PAGE.format(entities=entities, spans=spans).encode("utf8"))
    print(f"Wrote {output}")


if __name__ == "__main__":
    typer.run(main)
