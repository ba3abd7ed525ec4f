"""Run the notebooks in examples/ and keep what they show.

    python scripts/run_notebooks.py examples/*.ipynb

Each runs in its own folder with the kernel of this environment.
"""

from pathlib import Path
from typing import Annotated

import nbformat
import typer
from nbclient import NotebookClient
from nbformat import NotebookNode

from spacy_lgu.replacing import replace_file

ROOT = Path(__file__).parents[1]


def run_notebook(path: Path, **parameters: int) -> NotebookNode:
    """Run a notebook from its first cell to its last.

    path (Path): The notebook.
    parameters: Values to set behind the cell with the tag "parameters".
    RETURNS (NotebookNode): The notebook with its outputs. Raises CellExecutionError for a cell
        that fails.
    """
    notebook = nbformat.read(path, as_version=4)
    if parameters:
        (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
        cell.source = "\n".join(f"{name} = {value}" for name, value in parameters.items())
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=3600, kernel_name="python3", resources=resources).execute()
    return notebook


def tidy(notebook: NotebookNode) -> None:
    """Leave out what differs from run to run and place to place."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
        if cell.cell_type != "code":
            continue
        outputs: list[NotebookNode] = []
        for output in cell.outputs:
            if output.output_type == "stream":
                output.text = output.text.replace(f"{ROOT}/", "")
                # What a command prints arrives in pieces of any length.
                if outputs and outputs[-1].get("name") == output.name:
                    outputs[-1].text += output.text
                    continue
            outputs.append(output)
        cell.outputs = outputs


def main(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks, .ipynb")],
) -> None:
    """Run notebooks and write their outputs into them."""
    for path in notebooks:
        notebook = run_notebook(path)
        tidy(notebook)
        replace_file(path, nbformat.writes(notebook).encode("utf8") + b"\n")
        print(f"Wrote {path}")


if __name__ == "__main__":
    typer.run(main)
