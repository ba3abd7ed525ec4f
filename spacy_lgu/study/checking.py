"""What can be wrong with a study, found before hours are spent on it."""

from configparser import Error as ConfigError
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.util import load_config, load_model_from_config, registry
from thinc.api import Config, ConfigValidationError
from transformers import AutoConfig

from ..inputs import naming
from ..layers.finding import decoder_shims
from ..listeners.availability import uses_stock
from .plan import Study
from .runs import Decoder, Run, find_decoder, list_runs, make_overrides
from .tasks import check_corpus

# Raised for configs (for names not registered, ValueError), and for folders and names on the hub.
CONFIG_ERRORS = (ConfigError, ConfigValidationError, ValueError, OSError, ImportError)
_ENCODER = "spacy-transformers.TransformerModel"


def check_study(
    study: Study, corpora: Path, work: Path, limit: int
) -> tuple[dict[str, Decoder | None], list[str]]:
    """Check all corpora, decoders and configs. No weight is loaded.

    study (Study): The study.
    corpora (Path): Folder of the converted corpora.
    work (Path): Folder of decoders with random weights.
    limit (int): Texts of each part; 0: all.
    RETURNS (tuple[dict[str, Decoder | None], list[str]]): The decoders of the systems by their
        names, and what is wrong, one text each.
    """
    problems = []
    decoders: dict[str, Decoder | None] = {}
    for name, task in study.tasks.items():
        try:
            check_corpus(task, corpora / name, limit)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    for name, system in study.systems.items():
        try:
            decoders[name] = find_decoder(system, study, work)
        except (ValueError, OSError) as error:
            problems.append(f"System {name}: {error}")
    for run in list_runs(study, 1):
        if run.system.name not in decoders or run.system.encoder == "instruction":
            continue
        decoder = decoders[run.system.name]
        overrides = make_overrides(run, study, corpora / run.task.name, decoder, limit)
        if run.system.untrained and run.system.decoder is not None:
            # Not written yet: it will have the config of this one.
            overrides["paths.decoder"] = study.decoders[run.system.decoder]
        try:
            check_config(run.system.config, overrides)
        except CONFIG_ERRORS as error:
            problems.append(f"{_name(run)}: {shorten_error(error)}")
    return decoders, list(dict.fromkeys(problems))


def check_config(config: Path, overrides: dict[str, Any]) -> None:
    """Check that a training config can be built, and its decoders and encoders are there.

    config (Path): spaCy's training config.
    overrides (dict[str, Any]): Values by dotted name. Raises ConfigValidationError, ValueError,
        OSError or ImportError for what is wrong.
    """
    with naming(config):
        loaded = load_config(config, overrides=overrides, interpolate=False)
    check_loaded(loaded)


def check_loaded(config: Config) -> Language:
    """Check a config that was read, as check_config does.

    config (Config): The config, its variables not filled in.
    RETURNS (Language): The pipeline, without weights, with the whole config.
    """
    _check_libraries(config)
    nlp = load_model_from_config(config, auto_fill=True)
    filled = nlp.config.interpolate()
    registry.resolve(filled["training"], schema=ConfigSchemaTraining)
    for _, pipe in nlp.components:
        for shim in decoder_shims(pipe):
            shim.check()
    for component in filled["components"].values():
        model = component.get("model") or {}
        if model.get("@architectures", "").startswith(_ENCODER):
            _check_encoder(model["name"])
    return nlp


def _check_libraries(config: dict[str, Any]) -> None:
    for name in config.get("nlp", {}).get("pipeline", ()):
        model = config.get("components", {}).get(name, {}).get("model", {})
        if (
            isinstance(model, dict)
            and model.get("@architectures", "").startswith(_ENCODER)
            and not uses_stock()
        ):
            raise ImportError(
                f"The encoder {name!r} is one of spacy-transformers, which is not installed: "
                'pip install "spacy-lgu[spacy-transformers]".'
            )


def _check_encoder(name: str) -> None:
    try:
        AutoConfig.from_pretrained(name)
    except OSError as error:  # which may not say what was looked for
        raise OSError(f"There is no encoder {name!r}: {error}") from error


def shorten_error(error: BaseException) -> str:
    """What an error says, without the config that spaCy prints with it."""
    text = str(error)
    if isinstance(error, ConfigValidationError) and error.errors:
        found = [f"{' -> '.join(map(str, e.get('loc', [])))}: {e.get('msg')}" for e in error.errors]
        text = "; ".join(found)
    return " ".join([*text.split("\n"), *getattr(error, "__notes__", [])])


def _name(run: Run) -> str:
    return " ".join(str(value) for value in (run.task.name, run.system.name, run.pattern) if value)
