"""Load an installed pipeline, print what it finds in a text, and the scores on the test parts."""

import json
from pathlib import Path
from typing import Annotated

import spacy
import typer

TEXT = (
    "Ingrid Vasquez left Halden Robotics in Oslo last March and moved to Canada, where she paid "
    "$3.2 million for two sawmills near Lake Superior."
)


def main(
    name: Annotated[str, typer.Argument(help="Name of an installed pipeline")],
    text: Annotated[str, typer.Argument(help="What to read")] = TEXT,
) -> None:
    """Print the entities of a text, and the test scores if they are there."""
    nlp = spacy.load(name)
    print(f"\n{text}\n")
    for ent in nlp(text).ents:
        print(f"  {ent.label_:<12} {ent.text}")
    for path in sorted(Path("metrics").glob("*.json")):
        scores = json.loads(path.read_text(encoding="utf8"))
        f_score = scores.get("ents_f", scores.get("spans_sc_f"))
        print(f"\n{path.stem}: F1 on the test part {100 * f_score:.1f}", end="")
    print("\n\nPredictions on the test parts as a page: visualizations/demo.html")


if __name__ == "__main__":
    typer.run(main)
