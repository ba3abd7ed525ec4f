"""What a saved LoRA adapter says about itself: adapter_config.json, read as data.

PEFT's own reader takes every key of the file: some make it import modules that the file names, some
change the base's weights while the adapter is put on, and strings are taken as regular expressions.
Here only the few keys are read that say which modules have which LoRA weights. No other key reaches
PEFT, and any that is not at a harmless default is refused.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ..inputs import shorten
from ..replacing import finished_folder
from .adapter_keys import ALL_LINEAR, AdapterKeys
from .reading import find_inside, read_json

ADAPTER_CONFIG = "adapter_config.json"
ValueT = TypeVar("ValueT", int, float)


@dataclass(frozen=True)
class BaseReference:
    """What an adapter's config says about the base it was trained on.

    name (str): Hub name or folder. Empty: not recorded.
    revision (str | None): Branch, tag or commit on the hub.
    """

    name: str
    revision: str | None


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Which modules and parameters have LoRA weights, and of which rank and scale.

    Modules have their names in the model that was trained, where the decoder may have been inside
    a model with an LM head ("model.layers.0.self_attn.q_proj"). A name in the config stands for
    every module with this name, and for every one whose name ends with it after a dot. So do those
    of parameters, which are weights outside of linear modules: one matrix for each expert.

    file (Path): adapter_config.json.
    base (BaseReference): The decoder it was trained on.
    rank (int): Rank of the modules that ranks does not name.
    alpha (float): Alpha of the modules that alphas does not name.
    dropout (float): Share of the inputs dropped in training, in [0, 1).
    modules (tuple[str, ...]): Names, or ALL_LINEAR alone.
    excluded (tuple[str, ...]): Names of modules left out of these.
    layers (tuple[int, ...]): Numbers of the layers with LoRA weights. Empty: all.
    layer_lists (tuple[str, ...]): Names of the module lists to which these numbers apply. Empty:
        any.
    ranks (Mapping[str, int]): By name.
    alphas (Mapping[str, float]): By name.
    rslora (bool): The scale is alpha / sqrt(rank) instead of alpha / rank.
    dora (bool): Each output of a module has a trained magnitude.
    parameters (tuple[str, ...]): Names of parameters.
    """

    file: Path
    base: BaseReference
    rank: int
    alpha: float
    dropout: float
    modules: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    layers: tuple[int, ...] = ()
    layer_lists: tuple[str, ...] = ()
    ranks: Mapping[str, int] = field(default_factory=dict)
    alphas: Mapping[str, float] = field(default_factory=dict)
    rslora: bool = False
    dora: bool = False
    parameters: tuple[str, ...] = ()

    @property
    def variants(self) -> tuple[str, ...]:
        """What it is, in the words of LoraSettings.variant; PEFT also combines the last two."""
        flags = {"rslora": self.rslora, "dora": self.dora}
        return tuple(name for name, flag in flags.items() if flag) or ("lora",)

    def targets(self, module: str) -> bool:
        """Whether a linear module has LoRA weights."""
        endings = set(_endings(module))
        if not endings.isdisjoint(self.excluded):
            return False
        if module in self.modules:  # whatever its layer
            return True
        if self.layers:
            numbered = re.search(r"(?:^|\.)(\w+)\.(\d+)\.", module)
            if numbered is None or int(numbered[2]) not in self.layers:
                return False
            if self.layer_lists and numbered[1] not in self.layer_lists:
                return False
        return self.modules == (ALL_LINEAR,) or not endings.isdisjoint(self.modules)

    def targets_parameter(self, parameter: str) -> bool:
        """Whether a parameter has LoRA weights; PEFT heeds neither layers nor exclusions there."""
        return not set(_endings(parameter)).isdisjoint(self.parameters)

    def rank_of(self, module: str) -> int:
        """The rank of a module or parameter. Raises ValueError when two names give it two."""
        return self._find("rank_pattern", self.ranks, self.rank, module)

    def alpha_of(self, module: str) -> float:
        """The alpha of a module or parameter. Raises ValueError when two names give it two."""
        return self._find("alpha_pattern", self.alphas, self.alpha, module)

    def scale_of(self, module: str) -> float:
        """The factor on the update of a module's weights."""
        rank = self.rank_of(module)
        return self.alpha_of(module) / (math.sqrt(rank) if self.rslora else rank)

    def _find(self, key: str, values: Mapping[str, ValueT], default: ValueT, module: str) -> ValueT:
        found = {name: values[name] for name in _endings(module) if name in values}
        if len(set(found.values())) > 1:
            # PEFT takes the first, but sorts them when it saves.
            raise ValueError(
                f"{str(self.file)!r}: {key} has several values for the module {module!r}: {found}. "
                "Keep the one that it was trained with."
            )
        return next(iter(found.values()), default)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read an adapter's config.

    folder (Path): A folder in PEFT's format.
    RETURNS (AdapterConfig): Raises ValueError that names the file, and the key, when the file is
        missing or damaged, a value is of the wrong kind, or the adapter is more than LoRA, rsLoRA
        or DoRA.
    """
    file = adapter_file(folder, ADAPTER_CONFIG)
    content = read_json(file)
    if content.get("peft_type") != "LORA":
        raise ValueError(
            f"The adapter in {str(folder)!r} is of the kind "
            f"{shorten(content.get('peft_type'))}: expected 'LORA'."
        )
    keys = AdapterKeys(file, content)
    keys.refuse_features()
    parameters = keys.names("target_parameters")
    is_dora = keys.flag("use_dora")
    if is_dora and parameters:
        raise ValueError(
            f"{str(file)!r}: use_dora = true and target_parameters = "
            f"{shorten(list(parameters))}, which PEFT cannot combine: expected one of them."
        )
    is_all_linear = content.get("target_modules") == ALL_LINEAR
    return AdapterConfig(
        file=file,
        base=BaseReference(
            keys.text("base_model_name_or_path") or "", keys.text("revision") or None
        ),
        rank=keys.rank("r"),
        alpha=keys.alpha("lora_alpha"),
        dropout=keys.dropout("lora_dropout"),
        modules=(ALL_LINEAR,) if is_all_linear else keys.names("target_modules"),
        excluded=keys.names("exclude_modules"),
        layers=keys.layers("layers_to_transform"),
        layer_lists=keys.names("layers_pattern"),
        ranks=keys.ranks("rank_pattern"),
        alphas=keys.alphas("alpha_pattern"),
        rslora=keys.flag("use_rslora"),
        dora=is_dora,
        parameters=parameters,
    )


def adapter_file(folder: Path, name: str) -> Path:
    """A file of an adapter.

    folder (Path): A folder in PEFT's format.
    name (str): The file's name.
    RETURNS (Path): Raises ValueError when it is missing, or is a link that leads out of the folder.
    """
    folder = finished_folder(folder)
    file = folder / name
    if not file.is_file():
        raise ValueError(
            f"There is no adapter in {str(folder)!r}: {name} is missing. Expected a folder as "
            "PEFT's save_pretrained writes it, with safetensors weights."
        )
    return find_inside(folder, name, named_in=folder)


def _endings(module: str) -> Iterator[str]:
    """The name of a module, and what follows each of its dots."""
    parts = module.split(".")
    return (".".join(parts[i:]) for i in range(len(parts)))
