"""The keys of adapter_config.json: some are read, each with its kind checked, others refused."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ..inputs import shorten

ALL_LINEAR = "all-linear"
_NAME = re.compile(r"\w+(\.\w+)*", re.ASCII)
_RANK = "a whole number of at least 1"
_ALPHA = "a number above 0 and of at most a million"

_EXAMPLES = {"layers_pattern": "['layers']", "target_parameters": "['mlp.experts.down_proj']"}

_TAKEN = (
    "alpha_pattern", "base_model_name_or_path", "bias", "exclude_modules", "init_lora_weights",
    "layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout", "peft_type", "r",
    "rank_pattern", "revision", "target_modules", "target_parameters", "use_dora", "use_rslora",
)  # fmt: skip
# Remarks on how the adapter was made, which do not affect its vectors.
_REMARKS = (
    "auto_mapping", "eva_config", "inference_mode", "megatron_core", "peft_version",
    "qalora_group_size", "task_type",
)  # fmt: skip
# Initial values of LoRA weights: those that leave the base as it is, and those taken out of it.
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")
_STARTS_FROM_BASE = ("pissa", "olora", "corda", "lora_ga")

MERGE = (
    "Train an adapter without it, or merge this one into its base (PEFT's merge_and_unload, then "
    "save_pretrained) and name that folder as the decoder."
)


class AdapterKeys:
    """The keys of one file. A wrong value raises ValueError that names file and key.

    file (Path): Named in errors.
    content (dict): What it holds.
    """

    def __init__(self, file: Path, content: dict[str, Any]) -> None:
        self.file = file
        self.content = content

    def refuse_features(self) -> None:
        """Raise ValueError for a key that none of LoRA's variants here needs."""
        start = self.content.get("init_lora_weights", True)
        if isinstance(start, str) and start.lower().startswith(_STARTS_FROM_BASE):
            raise ValueError(
                f"{str(self.file)!r}: init_lora_weights = {start!r} takes the initial values of "
                "the LoRA weights out of the base, so that the adapter fits only a base without "
                "them, but here the base stays as it is. Convert the adapter to plain LoRA: call "
                "PEFT's save_pretrained with path_initial_model_for_weight_conversion = the folder "
                "of the adapter as it was before training."
            )
        if start not in _PLAIN_STARTS:
            self._refuse("init_lora_weights")
        if self.content.get("bias") not in (None, "none"):
            self._refuse("bias")
        for key, value in self.content.items():
            if value and key not in _TAKEN + _REMARKS:
                self._refuse(key)

    def rank(self, key: str) -> int:
        return self._one(key, _is_rank, _RANK, default=8)

    def alpha(self, key: str) -> float:
        return self._one(key, _is_alpha, _ALPHA, default=8)

    def dropout(self, key: str) -> float:
        return self._one(key, _is_dropout, "a number in [0, 1)", default=0.0)

    def flag(self, key: str) -> bool:
        return self._one(key, _is_flag, "true or false", default=None) or False

    def text(self, key: str) -> str | None:
        expected = "a string without control characters, or null"
        return self._one(key, _is_text, expected, default=None)

    def names(self, key: str) -> tuple[str, ...]:
        value = self.content.get(key)
        if key == "layers_pattern" and isinstance(value, str):
            value = [value] if value else []
        if value is None and (key != "target_modules" or self.content.get("target_parameters")):
            return ()
        if not isinstance(value, list) or not all(map(_is_name, value)):
            example = _EXAMPLES.get(key, "['q_proj', 'v_proj']")
            or_all = f" or {ALL_LINEAR!r}" if key == "target_modules" else ""
            self._wrong(
                key,
                f"a list of module names such as {example}{or_all}; regular expressions are not "
                "supported, so write out the names that one stands for",
            )
        return tuple(value)

    def layers(self, key: str) -> tuple[int, ...]:
        value = self.content.get(key)
        numbers = [] if value is None else value if isinstance(value, list) else [value]
        if not all(_is_whole(number) and number >= 0 for number in numbers):
            self._wrong(key, "null or a list of layer numbers such as [0, 1]")
        return tuple(numbers)

    def ranks(self, key: str) -> dict[str, int]:
        return self._by_name(key, _is_rank, _RANK)

    def alphas(self, key: str) -> dict[str, float]:
        return self._by_name(key, _is_alpha, _ALPHA)

    def _one(
        self, key: str, is_right: Callable[[Any], bool], expected: str, *, default: Any
    ) -> Any:
        value = self.content.get(key, default)
        if value is not default and not is_right(value):
            self._wrong(key, expected)
        return value

    def _by_name(self, key: str, is_right: Callable[[Any], bool], expected: str) -> dict[str, Any]:
        value = self.content.get(key) or {}
        if not (
            isinstance(value, dict)
            and all(map(_is_name, value))
            and all(map(is_right, value.values()))
        ):
            self._wrong(
                key,
                "an object of module names (regular expressions are not supported), each with "
                f"{expected}",
            )
        return value

    def _wrong(self, key: str, expected: str) -> NoReturn:
        value = shorten(self.content.get(key))
        raise ValueError(f"{str(self.file)!r}: {key} is {value}: expected {expected}.")

    def _refuse(self, key: str) -> NoReturn:
        raise ValueError(
            f"{str(self.file)!r}: {key} = {shorten(self.content[key])} asks for more than "
            "LoRA, rsLoRA or DoRA, which is all that can be loaded. "
            f"{MERGE} If the value has no effect, remove the key from the file."
        )


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
