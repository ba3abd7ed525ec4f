"""`python -m spacy lgu calibrate`: make the probabilities of a sequence labeler honest."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from ..replacing import finished_folder, replace_folder
from . import app


@app.command("calibrate")
def calibrate_cli(
    pipeline: Annotated[str, typer.Argument(help="Name or folder of a trained pipeline")],
    dev: Annotated[Path, typer.Argument(help="Annotated data it was not trained on, .spacy")],
    output: Annotated[Path, typer.Argument(help="Folder for the calibrated pipeline")],
    code: Annotated[Path | None, typer.Option("--code", "-c", help="Python file to import")] = None,
    use_gpu: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU ID or -1 for CPU")] = -1,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an earlier one")] = False,
) -> None:
    """Fit the temperature of every sequence labeler in a pipeline on held-out data.

    Which spans are found does not change, only their probabilities in doc.spans. The tokens are
    those of the data.
    """
    # Every `python -m spacy` imports this file, so slow imports wait until they are needed.
    import spacy
    from spacy.cli._util import import_code, setup_gpu

    from ..pipeline.calibrating import calibrate_pipeline
    from ..training.readers import gold_tokens_v1

    if dev.suffix != ".spacy" if dev.is_file() else not any(dev.rglob("*.spacy")):
        msg.fail(
            f"There is no data at {str(dev)!r}", "Give a .spacy file, or a folder of them.", exits=1
        )
    if output.exists() and not force:
        msg.fail(f"{str(output)!r} exists already. Use --force to replace it.", exits=1)
    if output.is_file():
        msg.fail(f"{str(output)!r} is a file. Name a folder for the pipeline.", exits=1)
    is_pipeline = (output / "meta.json").exists() and (output / "config.cfg").exists()
    if output.exists() and not is_pipeline and any(output.iterdir()):
        msg.fail(
            f"{str(output)!r} is not a saved pipeline, but holds other files",
            "Name the folder of a pipeline to replace, an empty folder or a new one.",
            exits=1,
        )
    import_code(code)
    setup_gpu(use_gpu)
    found = finished_folder(Path(pipeline))
    nlp = spacy.load(pipeline if found == Path(pipeline) else found)
    results = calibrate_pipeline(nlp, partial(gold_tokens_v1(dev), nlp))
    if not results:
        msg.fail(
            f"There is no sequence labeler in {pipeline!r}",
            f"Its components are {', '.join(nlp.pipe_names)}. Train one with the factory "
            "'sequence_labeler'; see configs/lgu_sequence_labeler.cfg.",
            exits=1,
        )
    for name, result in results.items():
        msg.good(
            f"{name}: temperature {result.temperature:.3f}, on {result.n_tokens} tokens and "
            f"{result.after.n_spans} spans"
        )
        before, after = result.before, result.after
        rows = [
            ("Negative log-likelihood per token", _figure(before.nll), _figure(after.nll)),
            ("Calibration error", _figure(before.ece), _figure(after.ece)),
        ]
        msg.table(rows, header=("", "Before", "After"), aligns=("l", "r", "r"))
    replace_folder(output, nlp.to_disk, keep_others=True)  # such as a README
    msg.good(f"Saved the calibrated pipeline to {output}")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
