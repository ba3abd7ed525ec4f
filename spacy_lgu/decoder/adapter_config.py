"""What a saved LoRA adapter says of itself: adapter_config.json, read as data.

PEFT's own reader takes every key of the file: some make it import modules that the file names, some
change the base's weights while the adapter is put on, and strings are regular expressions to it.
Here those few keys are read that say which modules have which LoRA weights. No other gets to PEFT,
and any that is not at a harmless default is refused.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from ..inputs import shorten
from ..replacing import finished_folder
from .reading import find_inside, read_json

ALL_LINEAR = "all-linear"
_CONFIG = "adapter_config.json"
_NAME = re.compile(r"\w+(\.\w+)*", re.ASCII)

_TAKEN = (
    "alpha_pattern", "base_model_name_or_path", "bias", "exclude_modules", "init_lora_weights",
    "layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout", "peft_type", "r",
    "rank_pattern", "revision", "target_modules", "use_rslora",
)  # fmt: skip
# Remarks on how the adapter was made, on which its vectors do not depend.
_REMARKS = (
    "auto_mapping", "eva_config", "inference_mode", "megatron_core", "peft_version",
    "qalora_group_size", "task_type",
)  # fmt: skip
# First values of LoRA weights: those that leave the base as it is, and those taken out of it.
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")
_STARTS_FROM_BASE = ("pissa", "olora", "corda", "lora_ga")

MERGE = (
    "Train an adapter without that, or merge this one into its base (PEFT's merge_and_unload, then "
    "save_pretrained) and name that folder as the decoder."
)
ValueT = TypeVar("ValueT", int, float)


@dataclass(frozen=True)
class BaseReference:
    """What an adapter's config says about the base it was trained on.

    name (str): Hub name or folder. Empty: not said.
    revision (str | None): Branch, tag or commit on the hub.
    """

    name: str
    revision: str | None


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Which modules have LoRA weights, of which rank and scale.

    Modules are called as in the model that was trained, which may have been a decoder within a
    model with LM head ("model.layers.0.self_attn.q_proj"). A name in the config stands for every
    module whose name it is, or that ends with it after a dot.

    file (Path): adapter_config.json.
    base (BaseReference): The decoder it was trained on.
    rank (int): Of modules that ranks does not name.
    alpha (float): Of modules that alphas does not name.
    dropout (float): Share of the inputs dropped in training, in [0, 1).
    modules (tuple[str, ...]): Names, or ALL_LINEAR alone.
    excluded (tuple[str, ...]): Names of modules left out of these.
    layers (tuple[int, ...]): Numbers of the layers with LoRA weights. Empty: all.
    layer_lists (tuple[str, ...]): Names of the module lists that these count in. Empty: any.
    ranks (Mapping[str, int]): By name.
    alphas (Mapping[str, float]): By name.
    rslora (bool): The scale is alpha / sqrt(rank) instead of alpha / rank.
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

    def targets(self, module: str) -> bool:
        """Whether a linear module has LoRA weights."""
        endings = set(_endings(module))
        if not endings.isdisjoint(self.excluded):
            return False
        if self.layers:
            numbered = re.search(r"(?:^|\.)(\w+)\.(\d+)\.", module)
            if numbered is None or int(numbered[2]) not in self.layers:
                return False
            if self.layer_lists and numbered[1] not in self.layer_lists:
                return False
        return self.modules == (ALL_LINEAR,) or not endings.isdisjoint(self.modules)

    def rank_of(self, module: str) -> int:
        """The rank of a module. Raises ValueError when two names give it different ones."""
        return self._find("rank_pattern", self.ranks, self.rank, module)

    def alpha_of(self, module: str) -> float:
        """The alpha of a module. Raises ValueError when two names give it different ones."""
        return self._find("alpha_pattern", self.alphas, self.alpha, module)

    def scale_of(self, module: str) -> float:
        """What the update of a module's weights is multiplied by."""
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
    RETURNS (AdapterConfig): Raises ValueError that names the file, and the key, when it is missing
        or damaged, has a value of a wrong kind, or asks for more than LoRA on linear modules.
    """
    file = adapter_file(folder, _CONFIG)
    content = read_json(file)
    if content.get("peft_type") != "LORA":
        raise ValueError(
            f"The adapter in {str(folder)!r} is of the kind "
            f"{shorten(content.get('peft_type'))}: expected 'LORA'."
        )
    values = _Values(file, content)
    values.refuse_features()
    is_all_linear = content.get("target_modules") == ALL_LINEAR
    return AdapterConfig(
        file=file,
        base=BaseReference(
            values.text("base_model_name_or_path") or "", values.text("revision") or None
        ),
        rank=values.one("r", _is_rank, _RANK, default=8),
        alpha=values.one("lora_alpha", _is_alpha, _ALPHA, default=8),
        dropout=values.one("lora_dropout", _is_dropout, _DROPOUT, default=0.0),
        modules=(ALL_LINEAR,) if is_all_linear else values.names("target_modules"),
        excluded=values.names("exclude_modules"),
        layers=values.layers("layers_to_transform"),
        layer_lists=values.names("layers_pattern"),
        ranks=values.by_name("rank_pattern", _is_rank, _RANK),
        alphas=values.by_name("alpha_pattern", _is_alpha, _ALPHA),
        rslora=values.one("use_rslora", _is_flag, "true or false", default=None) or False,
    )


def adapter_file(folder: Path, name: str) -> Path:
    """A file of an adapter.

    folder (Path): A folder in PEFT's format.
    name (str): The file's name.
    RETURNS (Path): Raises ValueError when it is missing, or a link to somewhere else.
    """
    folder = finished_folder(folder)
    file = folder / name
    if not file.is_file():
        raise ValueError(
            f"There is no adapter in {str(folder)!r}: {name} is missing. Expected a folder as "
            "PEFT's save_pretrained writes it, with safetensors weights."
        )
    return find_inside(folder, name, named_in=folder)


class _Values:
    """The keys of one file.

    file (Path): Named in errors.
    content (dict): What it holds.
    """

    def __init__(self, file: Path, content: dict[str, Any]) -> None:
        self.file = file
        self.content = content

    def refuse_features(self) -> None:
        """Raises ValueError for a key that plain LoRA does not need."""
        start = self.content.get("init_lora_weights", True)
        if isinstance(start, str) and start.lower().startswith(_STARTS_FROM_BASE):
            raise ValueError(
                f"{str(self.file)!r}: init_lora_weights = {start!r} takes the first values of the "
                "LoRA weights out of the base, so that the adapter fits only a base without them; "
                "here the base stays as it is. Convert the adapter to plain LoRA: call PEFT's "
                "save_pretrained with path_initial_model_for_weight_conversion = the folder of the "
                "adapter as it was before training."
            )
        if start not in _PLAIN_STARTS:
            self._refuse("init_lora_weights")
        if self.content.get("bias") not in (None, "none"):
            self._refuse("bias")
        for key, value in self.content.items():
            if value and key not in _TAKEN + _REMARKS:
                self._refuse(key)

    def one(self, key: str, is_right: Callable[[Any], bool], expected: str, *, default: Any) -> Any:
        value = self.content.get(key, default)
        if value is not default and not is_right(value):
            self._wrong(key, expected)
        return value

    def text(self, key: str) -> str | None:
        return self.one(key, _is_text, "a string without control characters, or null", default=None)

    def names(self, key: str) -> tuple[str, ...]:
        value = self.content.get(key)
        if key == "layers_pattern" and isinstance(value, str):
            value = [value] if value else []
        if value is None and key != "target_modules":
            return ()
        if not isinstance(value, list) or not all(map(_is_name, value)):
            example = "['layers']" if key == "layers_pattern" else "['q_proj', 'v_proj']"
            or_all = f" or {ALL_LINEAR!r}" if key == "target_modules" else ""
            self._wrong(
                key,
                f"a list of module names such as {example}{or_all}; regular expressions are not "
                "taken, so write out the names that one stands for",
            )
        return tuple(value)

    def layers(self, key: str) -> tuple[int, ...]:
        value = self.content.get(key)
        numbers = [] if value is None else value if isinstance(value, list) else [value]
        if not all(_is_whole(number) and number >= 0 for number in numbers):
            self._wrong(key, "null or a list of layer numbers such as [0, 1]")
        return tuple(numbers)

    def by_name(self, key: str, is_right: Callable[[Any], bool], expected: str) -> dict[str, Any]:
        value = self.content.get(key) or {}
        if not (
            isinstance(value, dict)
            and all(map(_is_name, value))
            and all(map(is_right, value.values()))
        ):
            self._wrong(
                key,
                "an object of module names (regular expressions are not taken), each with "
                f"{expected}",
            )
        return value

    def _wrong(self, key: str, expected: str) -> NoReturn:
        value = shorten(self.content.get(key))
        raise ValueError(f"{str(self.file)!r}: {key} is {value}: expected {expected}.")

    def _refuse(self, key: str) -> NoReturn:
        raise ValueError(
            f"{str(self.file)!r}: {key} = {shorten(self.content[key])} asks for more than "
            f"plain LoRA on linear modules, which is all that can be loaded. {MERGE} If the value "
            "has no effect, take the key out of the file."
        )


_RANK = "a whole number of at least 1"
_ALPHA = "a number above 0 and of at most a million"
_DROPOUT = "a number in [0, 1)"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_rank(value: Any) -> bool:
    return _is_whole(value) and value >= 1


def _is_alpha(value: Any) -> bool:
    return (_is_whole(value) or isinstance(value, float)) and 0 < value <= 1e6


def _is_dropout(value: Any) -> bool:
    return (_is_whole(value) or isinstance(value, float)) and 0 <= value < 1


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and (not value or value.isprintable())


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _endings(module: str) -> Iterator[str]:
    """The name of a module, and all that follows each of its dots."""
    parts = module.split(".")
    return (".".join(parts[i:]) for i in range(len(parts)))
