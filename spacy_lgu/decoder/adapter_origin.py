"""Compares an adapter's base, settings and pattern with those it is about to be used with."""

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

from .adapter_config import AdapterConfig, BaseReference
from .description import DESCRIPTION
from .fingerprints import fingerprint_folder
from .reading import find_inside, read_json, take
from .settings import LoraSettings
from .source import CONFIG

logger = logging.getLogger("spacy_lgu")

# What adaptation writes beside an adapter or decoder that it saves.
TRAINING_RECORD = "training.json"


def compare_base(adapter: AdapterConfig, base: BaseReference) -> None:
    """Refuse an adapter of another decoder, and warn when that cannot be determined.

    adapter (AdapterConfig): The adapter's config.
    base (BaseReference): The decoder it is meant for.
    """
    folder, recorded = adapter.file.parent, adapter.base
    is_folder = Path(recorded.name).is_absolute() or recorded.name.startswith((".", "~"))
    is_elsewhere = is_folder and not os.path.exists(recorded.name)
    # A copy of what is on the hub, perhaps.
    is_copied = os.path.isdir(base.name) and not os.path.exists(recorded.name)
    if not recorded.name or is_elsewhere or is_copied:
        logger.warning(
            "The adapter in %r was trained on the decoder in %r, which is not here: make sure "
            "that %r is the same one.",
            str(folder),
            recorded.name,
            base.name,
        )
        return
    if not _is_same(recorded.name, base.name) or (
        # Branches move: only commits tell.
        all(map(_is_commit, (recorded.revision, base.revision)))
        and recorded.revision != base.revision
    ):
        raise ValueError(
            f"The adapter in {str(folder)!r} was trained on {recorded.name!r} (revision "
            f"{recorded.revision}), not on {base.name!r} (revision {base.revision}). Use an "
            "adapter of this base, or set name and revision to the adapter's."
        )


def _is_commit(revision: str | None) -> bool:
    return revision is not None and re.fullmatch("[0-9a-f]{40}", revision) is not None


def _is_same(recorded: str, name: str) -> bool:
    """Whether two names mean the same decoder; folders may be copies of each other."""
    # Not with pathlib, which raises for names that the system finds too long.
    if not (os.path.isdir(recorded) and os.path.isdir(name)):
        return recorded == name
    first, second = Path(recorded), Path(name)
    return first.resolve() == second.resolve() or (
        (first / CONFIG).is_file()
        and fingerprint_folder(first, full=True) == fingerprint_folder(second, full=True)
    )


def compare_lora(
    adapter: AdapterConfig,
    lora: LoraSettings,
    modules: Iterable[str],
    parameters: Iterable[str] = (),
) -> None:
    """Warn when the settings of an adapter, which are kept, differ from those of the config.

    adapter (AdapterConfig): The adapter's config.
    lora (LoraSettings): The config's settings. Its variant "lora" stands for any, as adapters had
        theirs before there was this setting.
    modules (Iterable[str]): From find_lora_modules.
    parameters (Iterable[str]): From find_lora_parameters.
    RETURNS (None): Raises ValueError when the config asks for another variant.
    """
    if lora.variant != "lora" and lora.variant not in adapter.variants:
        raise ValueError(
            f"The adapter in {str(adapter.file.parent)!r} is of the variant "
            f"{' and '.join(adapter.variants)}, but the config's [lora] says variant = "
            f"{lora.variant!r}. Set variant = {adapter.variants[-1]!r} to use this adapter, or "
            "train a new one (path = null)."
        )
    wanted = AdapterConfig(
        file=adapter.file,
        base=adapter.base,
        rank=lora.rank,
        alpha=lora.alpha,
        dropout=lora.dropout,
        modules=adapter.modules if adapter.modules == (lora.modules,) else tuple(modules),
        rslora=lora.variant == "rslora",
        dora=lora.variant == "dora",
        parameters=tuple(parameters),
    )
    own, other = (
        {
            **vars(config),
            "modules": sorted(config.modules),
            "parameters": sorted(config.parameters),
        }
        for config in (adapter, wanted)
    )
    differing = [name for name in own if own[name] != other[name]]
    if differing:
        logger.warning(
            "The adapter in %r keeps its own %s; the config's [lora] says %s.",
            str(adapter.file.parent),
            ", ".join(f"{name} = {own[name]}" for name in differing),
            ", ".join(f"{name} = {other[name]}" for name in differing),
        )


def compare_pattern(folder: Path, unmasking: str) -> None:
    """Warn when an adapter was adapted under one pattern and will be trained under another.

    folder (Path): The adapter's folder.
    unmasking (str): The pattern of the training to come, in letters.
    """
    record = find_inside(folder, TRAINING_RECORD, named_in=folder)
    if not record.is_file():
        record = folder.parent / DESCRIPTION  # of the pipeline whose adapter it is
    adapted = read_json(record) if record.is_file() else {}
    pattern = take(adapted, "unmasking", (str, None), record)
    if pattern not in (None, unmasking):
        logger.warning(
            "The adapter in %r was trained under the pattern %s, but will be trained under %s.",
            str(folder),
            pattern,
            unmasking,
        )
