"""The training config of a trial: the user's, with pattern, depth, seed and steps filled in."""

from collections.abc import Iterator, Mapping
from typing import Any

from spacy.language import DEFAULT_CONFIG
from thinc.api import Config

from .space import Candidate
from .trials import Trial

# Architectures with the decoder's options.
DECODERS = ("spacy-lgu.LGUTransformer.v1", "spacy-lgu.Tok2VecLGU.v1")
SectionT = tuple[str, ...]


def find_section(config: Mapping[str, Any], component: str | None) -> SectionT:
    """Where a config describes its decoder.

    config (Mapping[str, Any]): A training config.
    component (str | None): Name of the component that has it. None: the only one.
    RETURNS (SectionT): Names of the sections, one in the other. Raises ValueError that names those
        with a decoder, unless exactly one is meant.
    """
    components = config.get("components", {})
    found = [
        ("components", name, *path)
        for name in config.get("nlp", {}).get("pipeline", ())
        for path in _find_decoders(components.get(name, {}))
        if component is None or name == component
    ]
    if len(found) != 1:
        names = ", ".join(".".join(path) for path in found) or "none"
        what = "Expected one decoder" if component is None else f"Expected one in {component!r}"
        raise ValueError(
            f"{what} (architecture {' or '.join(DECODERS)}) in the config's pipeline, but found "
            f"{names}. Name its component with --component, or use a config that has one "
            "(`spacy lgu init-config` writes one)."
        )
    return found[0]


def get_section(config: Mapping[str, Any], section: SectionT) -> dict[str, Any]:
    """The values of a section."""
    values: Any = config
    for name in section:
        values = values[name]
    return values


def set_candidate(config: Config, section: SectionT, candidate: Candidate) -> Config:
    """A config with a candidate filled in.

    config (Config): As it was read: its variables are not filled in.
    section (SectionT): Where the decoder is.
    candidate (Candidate): The candidate.
    RETURNS (Config): A new one.
    """
    made = config.copy()
    get_section(made, section).update(candidate.values)
    return made


def make_trial_config(config: Config, section: SectionT, trial: Trial) -> Config:
    """The config of a trial.

    config (Config): As in set_candidate.
    section (SectionT): Where the decoder is.
    trial (Trial): The trial. Fewer steps than the config's shorten its schedule, and the distance
        of its evaluations, in proportion. Its seed is that of the training alone: all trials are
        scored on the same texts, even where the reader of dev draws by the seed.
    RETURNS (Config): A new one, for `spacy train`.
    """
    made = set_candidate(config, section, trial.candidate)
    # As `spacy train` fills it.
    filled = DEFAULT_CONFIG.merge(config).interpolate()
    part, _, name = filled["training"]["dev_corpus"].partition(".")
    if name in made.get(part, {}):
        made[part][name] = filled[part][name]
    if "seed" in made.get("system", {}):
        made["system"]["seed"] = trial.seed
    training = made["training"]
    if "${system.seed}" not in str(training.get("seed")):
        training["seed"] = trial.seed
    steps = count_steps(config)
    if trial.kind != "train":
        # Under drawn patterns and with gates, scores on dev say nothing before the end.
        training["eval_frequency"], training["patience"] = trial.steps, 0
    if trial.steps != steps:
        share = trial.steps / steps
        training["max_steps"] = trial.steps
        if trial.kind == "train":
            frequency = filled["training"]["eval_frequency"]
            training["eval_frequency"] = max(1, round(frequency * share))
        # With values in the place of variables: what they name may be used elsewhere.
        training["optimizer"] = _shorten(filled["training"]["optimizer"], share)
    return made


def count_steps(config: Config) -> int:
    """Training steps of a config. Raises ValueError if it does not say how many."""
    steps = config.interpolate().get("training", {}).get("max_steps", 0)
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(
            f"A search compares trainings of equally many steps, but training.max_steps is "
            f"{steps!r}. Set it in the config, or append --training.max_steps 400."
        )
    return steps


def find_spans_key(score_weights: Mapping[str, float]) -> str | None:
    """Which spans the score is about: "" for doc.ents, a key of doc.spans, or None for no spans.

    score_weights (Mapping[str, float]): The scores that count, with their weights.
    RETURNS (str | None): Of the score that weighs most.
    """
    for name in sorted(score_weights, key=lambda name: -score_weights[name]):
        parts = name.split("_")
        if parts[-1] not in ("f", "p", "r") or parts[0] not in _SPAN_SCORES:
            continue
        is_macro = parts[0] == "strict" and parts[-2] == "macro"
        key = "_".join(parts[1 : -2 if is_macro else -1])
        if key or parts[0] != "spans":
            return key
    return None


_SPAN_SCORES = ("ents", "spans", "strict")


def _find_decoders(values: Any) -> Iterator[tuple[str, ...]]:
    if not isinstance(values, dict):
        return
    if values.get("@architectures") in DECODERS:
        yield ()
    for name, value in values.items():
        for path in _find_decoders(value):
            yield (name, *path)


def _shorten(values: dict[str, Any], share: float) -> dict[str, Any]:
    made: dict[str, Any] = {
        name: _shorten(value, share) if isinstance(value, dict) else value
        for name, value in values.items()
    }
    total, warmup = made.get("total_steps"), made.get("warmup_steps")
    if isinstance(total, int):
        made["total_steps"] = total = max(1, round(total * share))
    if isinstance(warmup, int):
        made["warmup_steps"] = int(warmup * share)
        if isinstance(total, int):
            made["warmup_steps"] = min(made["warmup_steps"], total - 1)
    return made
