"""`spacy train` as a process that reports its progress:

    python -m spacy_lgu.study.process config.cfg --output training --gpu-id -1 --paths.train ...

Each report is a line of standard output: a mark, then JSON. The pipeline, its config included, is
the one that `spacy train` makes. The process ends when its standard input does.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from spacy.language import Language

MARK = "@spacy-lgu.progress "  # no line of a log begins so
_LOGGER = "spacy-lgu.study_progress.v1"
_BEFORE_UPDATE = "spacy-lgu.study_before_update.v1"
# Seconds between two reports at least: a step of a small pipeline takes milliseconds.
_INTERVAL = 0.5
LogT = Callable[[dict[str, Any] | None], None]
LoggerT = Callable[["Language", IO[str], IO[str]], tuple[LogT, Callable[[], None]]]
BeforeUpdateT = Callable[["Language", dict[str, Any]], None]


def tell_progress(logger: LoggerT, original: dict[str, Any], watch: LogT | None = None) -> LoggerT:
    """Make a logger that reports the progress besides what another one logs.

    logger (LoggerT): The other.
    original (dict[str, Any]): Values of [training], the logger's among them, that the trained
        pipeline is to keep.
    watch (LogT | None): Called with what spaCy tells its loggers, as well.
    RETURNS (LoggerT): The logger.
    """

    def set_up(
        nlp: "Language", stdout: IO[str], stderr: IO[str]
    ) -> tuple[LogT, Callable[[], None]]:
        nlp.config["training"].update(original)
        n_steps = nlp.config.interpolate()["training"]["max_steps"]
        log, finalize = logger(nlp, stdout, stderr)
        step, told, score = 0, 0.0, None

        def log_step(info: dict[str, Any] | None) -> None:
            nonlocal step, told, score
            log(info)
            if watch is not None:
                watch(info)
            score = info["score"] if info else score
            if info or step == n_steps or time.monotonic() - told > _INTERVAL:
                told = time.monotonic()
                progress = {"step": step, "n_steps": n_steps, "score": score}
                stdout.write(f"{MARK}{json.dumps(progress)}\n")
                stdout.flush()
            step += 1  # spaCy also counts from 0, and makes one step more than max_steps

        return log_step, finalize

    return set_up


def train(
    config: Path,
    output: Path,
    *,
    gpu_id: int,
    overrides: dict[str, Any],
    watch: LogT | None = None,
    before_update: BeforeUpdateT | None = None,
) -> "Language":
    """Train as `spacy train` does, and report the progress.

    config (Path): The training config.
    output (Path): Folder for the checkpoints.
    gpu_id (int): GPU, -1 for none.
    overrides (dict[str, Any]): Values by dotted name.
    watch (LogT | None): As in tell_progress.
    before_update (BeforeUpdateT | None): Called before each step, after the config's own callback.
    RETURNS (Language): The pipeline as it is after the last step.
    """
    from spacy.cli._util import setup_gpu, show_validation_error
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train as train_pipeline
    from spacy.util import load_config, registry

    output.mkdir(parents=True, exist_ok=True)
    setup_gpu(gpu_id)
    with show_validation_error(config):
        loaded = load_config(config, overrides=overrides, interpolate=False)
        training = loaded.setdefault("training", {})
        original = {"logger": training.get("logger", {"@loggers": "spacy.ConsoleLogger.v1"})}

        def make_logger(logger: LoggerT) -> LoggerT:
            return tell_progress(logger, original, watch)

        registry.loggers.register(_LOGGER, func=make_logger)
        training["logger"] = {"@loggers": _LOGGER, "logger": original["logger"]}
        if before_update is not None:
            original["before_update"] = training.get("before_update")

            def make_callback(own: BeforeUpdateT | None) -> BeforeUpdateT:
                return _chain(own, before_update)

            registry.callbacks.register(_BEFORE_UPDATE, func=make_callback)
            own = original["before_update"]
            training["before_update"] = {"@callbacks": _BEFORE_UPDATE, "own": own}
        nlp = init_nlp(loaded, use_gpu=gpu_id)
    train_pipeline(nlp, output, use_gpu=gpu_id, stdout=sys.stdout, stderr=sys.stderr)
    return nlp


def _chain(own: BeforeUpdateT | None, added: BeforeUpdateT) -> BeforeUpdateT:
    def call(nlp: "Language", args: dict[str, Any]) -> None:
        if own is not None:
            own(nlp, args)
        added(nlp, args)

    return call


def end_with_input() -> None:
    """End this process with its parent, which holds the other end of its input and never writes."""
    os.read(0, 1)  # not sys.stdin, which a thread must not hold when Python ends
    os._exit(1)


def end_at_once(number: int, frame: object) -> None:
    """Handler of SIGTERM, by which the parent ends this process: what it has learned so far, which
    a config may have saved at this signal, is learned anew."""
    os._exit(1)


def main(
    ctx: typer.Context,
    config: Annotated[Path, typer.Argument(help="Training config; overrides may follow")],
    output: Annotated[Path, typer.Option(help="Folder for the checkpoints")],
    gpu_id: int = -1,
) -> None:
    """Train a pipeline."""
    from spacy.cli._util import parse_config_overrides

    Thread(target=end_with_input, daemon=True).start()
    signal.signal(signal.SIGTERM, end_at_once)
    train(config, output, gpu_id=gpu_id, overrides=parse_config_overrides(ctx.args))


app = typer.Typer(pretty_exceptions_enable=False)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(main)

if __name__ == "__main__":
    app()
