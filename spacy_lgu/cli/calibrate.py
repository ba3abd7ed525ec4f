"""`python -m spacy lgu calibrate`: make the probabilities of a sequence labeler honest."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from ..replacing import replace_folder
from . import app
from .options import CodeOption, ForceOption, GpuOption


@app.command("calibrate")
def calibrate_cli(
    pipeline: Annotated[str, typer.Argument(help="Name or folder of a trained pipeline")],
    dev: Annotated[Path, typer.Argument(help="Annotated data it was not trained on, .spacy")],
    output: Annotated[Path, typer.Argument(help="Folder for the calibrated pipeline")],
    code: CodeOption = None,
    gpu_id: GpuOption = -1,
    force: ForceOption = False,
) -> None:
    """Fit the temperature of every sequence labeler in a pipeline on held-out data.

    Which spans are found does not change, only their probabilities in doc.spans. The tokens are
    those of the data.
    """
    from spacy.cli._util import import_code, setup_gpu

    from ..pipeline.calibrating import calibrate_pipeline
    from ..pipeline.opening import open_pipeline
    from ..training.readers import gold_tokens_v1

    if dev.suffix != ".spacy" if dev.is_file() else not any(dev.rglob("*.spacy")):
        raise FileNotFoundError(
            f"There is no data at {str(dev)!r}. Give a .spacy file, or a folder of them."
        )
    if output.exists() and not force:
        raise FileExistsError(f"{str(output)!r} exists already. Use --force to replace it.")
    if output.is_file():
        raise NotADirectoryError(f"{str(output)!r} is a file. Name a folder for the pipeline.")
    is_pipeline = (output / "meta.json").exists() and (output / "config.cfg").exists()
    if output.exists() and not is_pipeline and any(output.iterdir()):
        raise FileExistsError(
            f"{str(output)!r} is not a saved pipeline, but holds other files. Name the folder of a "
            "pipeline to replace, an empty folder or a new one."
        )
    import_code(code)
    setup_gpu(gpu_id)
    nlp = open_pipeline(pipeline)
    results = calibrate_pipeline(nlp, partial(gold_tokens_v1(dev), nlp))
    if not results:
        raise ValueError(
            f"There is no sequence labeler in {pipeline!r}, only {', '.join(nlp.pipe_names)}. "
            "Train one with the factory 'sequence_labeler'; see configs/lgu_sequence_labeler.cfg."
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
