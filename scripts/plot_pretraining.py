"""Draw the loss curve of a pretrained decoder, from the training.json beside its weights.

python scripts/plot_pretraining.py assets/decoder/training.json assets/decoder/training.svg
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from spacy_lgu.replacing import replace_file


def main(
    training: Annotated[Path, typer.Argument(help="training.json of scripts/pretrain_decoder.py")],
    output: Annotated[Path, typer.Argument(help="Picture to write; its suffix says the format")],
) -> None:
    """Write the picture: training loss, and the score on text not trained on."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    record = json.loads(training.read_text(encoding="utf8"))
    history, metric = record["history"], record["metric"]
    losses = [(entry[0] / 1e6, entry[2]) for entry in history if entry[2] is not None]
    figure, loss_axis = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    loss_axis.plot(*zip(*losses, strict=True), color="#a0aec0", label="loss")
    loss_axis.set(xlabel="million subtokens", ylabel="training loss (nats per subtoken)")
    score_axis = loss_axis.twinx()
    measured = [(entry[0] / 1e6, entry[3]) for entry in history if entry[3] is not None]
    score_axis.plot(*zip(*measured, strict=True), "o-", color="#c05621", label=metric)
    score_axis.set_ylabel(f"validation ({metric})", color="#c05621")
    replace_file(output, figure.savefig)


if __name__ == "__main__":
    typer.run(main)
