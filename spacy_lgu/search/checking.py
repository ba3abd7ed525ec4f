"""What can be wrong with a search, found before hours are spent on it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spacy.util import load_config, resolve_dot_names
from thinc.api import Config

from ..decoder.mixers import layer_kinds
from ..inputs import naming
from ..layers.finding import find_decoder
from ..study.checking import CONFIG_ERRORS, check_loaded, shorten_error
from ..unmasking import LayerKind, find_groups, unmask_layers
from .space import Candidate, Space, make_space
from .trial_config import SectionT, find_section, get_section, set_candidate


def read_config(path: Path, overrides: dict[str, Any]) -> Config:
    """Read a training config.

    path (Path): The file.
    overrides (dict[str, Any]): Values by dotted name.
    RETURNS (Config): Its variables are not filled in. Raises ValueError with the file's name.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no config {str(path)!r}: give a .cfg file.")
    with naming(path):
        return load_config(path, overrides=overrides, interpolate=False)


def find_space(
    config: Config,
    component: str | None,
    *,
    groups: int | None,
    patterns: list[str],
    depths: list[int],
    repeats: list[int],
) -> tuple[SectionT, Space]:
    """Where a config has its decoder, and what is searched there.

    config (Config): The config.
    component (str | None): As in find_section.
    groups, patterns, depths, repeats: As in make_space.
    RETURNS (tuple[SectionT, Space]): Both. Raises ValueError for a decoder without a pattern.
    """
    section = find_section(config, component)
    pattern = get_section(config.interpolate(), section).get("unmasking")
    if pattern is None:
        raise ValueError(
            f'[{".".join(section)}] has no unmasking: expected a pattern, such as "ccbb", whose '
            "letters say how many layer groups there are."
        )
    space = make_space(pattern, groups=groups, patterns=patterns, depths=depths, repeats=repeats)
    return section, space


def check_gates(config: Config, section: SectionT) -> None:
    """Raise ValueError if gates cannot learn, because nothing goes backwards into the decoder."""
    if get_section(config.interpolate(), section).get("tuning") == "frozen":
        raise ValueError(
            'With tuning = "frozen", no gradient reaches the decoder, so gates cannot learn. Use '
            'another strategy, or tuning = "lora".'
        )


def check_search(config: Config, section: SectionT, space: Space) -> dict[str, float]:
    """Check decoder, patterns and texts. No weight is loaded.

    config (Config): The config.
    section (SectionT): Where its decoder is.
    space (Space): What is searched.
    RETURNS (dict[str, float]): The scores that count, with their weights, those that spaCy fills in
        included. Raises ValueError that says what is wrong.
    """
    # All patterns have as many letters, so that what goes wrong with one does with all; but for
    # layers that have no mask.
    pattern = space.patterns[-1] if space.patterns else space.open
    for n_layers in space.depths:
        for repeat in space.repeats:
            candidate = Candidate(pattern, n_layers, repeat)
            try:
                nlp = check_loaded(set_candidate(config, section, candidate))
                kinds = layer_kinds(find_decoder(nlp, section[1])[1].check().config)
                check_patterns(space, kinds)
            except CONFIG_ERRORS as error:
                raise ValueError(f"{candidate}: {shorten_error(error)}") from error
    filled = nlp.config.interpolate()
    names = [filled["training"][part] for part in ("train_corpus", "dev_corpus")]
    for name, corpus in zip(names, resolve_dot_names(filled, names), strict=True):
        if next(iter(corpus(nlp)), None) is None:
            raise ValueError(f"There is no text in {name}. Give data with annotations.")
    weights = {
        name: weight for name, weight in filled["training"]["score_weights"].items() if weight
    }
    if not weights:
        raise ValueError(
            "[training.score_weights] has no score that counts, so no candidate is better than "
            "another. Give one a weight, for instance ents_f = 1.0."
        )
    return weights


def check_patterns(space: Space, kinds: Sequence[LayerKind]) -> None:
    """Raise ValueError for patterns that this decoder refuses, and for groups without a mask.

    space (Space): What is searched.
    kinds (Sequence[LayerKind]): One per layer that is kept.
    """
    for pattern in space.patterns or ():
        unmask_layers(pattern, len(kinds), kinds)
    for i, layers in enumerate(find_groups(len(kinds), space.n_groups)):
        if space.patterns is None and not any(kinds[layer].has_mask for layer in layers):
            raise ValueError(
                f"Of {space.n_groups} layer groups, group {i + 1} (layers {layers[0]} to "
                f"{layers[-1]}) has no causal mask to remove, so that each pattern would be tried "
                "twice. Give fewer --groups, or name the patterns with --patterns."
            )
