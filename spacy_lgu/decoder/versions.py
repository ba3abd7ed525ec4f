"""What differs between the supported versions of transformers, 4.53 and 5: all of it is in here.

                          4.53                          5
dtype of from_pretrained  torch_dtype                   dtype
dtype in a config         torch_dtype                   dtype
cache of the hub          utils.hub.TRANSFORMERS_CACHE  huggingface_hub's own
rotary settings           rope_theta, rope_scaling      rope_parameters
checkpointing             gradient_checkpointing_...    activation_checkpointing_...
a head left out           nothing                       a warning with a table
kinds of layers           some families: layer_types    layer_types
infinity in a config      Infinity                      an object
names that were mapped    are not restored              are restored in a save
tokenizer classes         read tokenizer.json           build parts of it anew
add_prefix_space          for all byte-level ones       only in classes that know it
"""

import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from threading import get_ident
from typing import Any

import torch
from huggingface_hub import constants
from packaging.version import Version
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PretrainedConfig, PreTrainedTokenizerFast
from transformers.utils import hub

TRANSFORMERS = version("transformers")
_CLASS_WARNING = "is not the same type as the class this function is called from"
# Rotary settings without which a model file of 5 does not run, whatever the scaling.
_ROTARY_FORM = (
    "rope_theta", "partial_rotary_factor", "mrope_interleaved", "llama_4_scaling_beta",
    "original_max_position_embeddings",
)  # fmt: skip
IS_5 = Version(TRANSFORMERS).major >= 5
_FLOATS = ("Infinity", "-Infinity", "NaN")
# Whether decoders with state-space layers take packed batches: 4.53 builds masks for them, passes
# no arguments on, and has no layer_types in their configs.
PACKS_STATE_SPACES = IS_5
# What the dtype is called, in a config and by from_pretrained. 5 warns of the name that 4.53 has.
DTYPE = "dtype" if IS_5 else "torch_dtype"


def dtype_option(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """RETURNS (dict): The keyword argument with which from_pretrained takes a dtype."""
    return {DTYPE: dtype}


def config_dtype(config: PretrainedConfig) -> torch.dtype | None:
    """RETURNS (dtype | None): The dtype that a config names."""
    dtype = getattr(config, DTYPE, None)
    return getattr(torch, dtype) if isinstance(dtype, str) else dtype


def hub_cache() -> str:
    """RETURNS (str): The folder into which transformers downloads. 4.53 has variables of its own
    for it; 5 has only those of huggingface_hub."""
    return str(getattr(hub, "TRANSFORMERS_CACHE", constants.HF_HUB_CACHE))


def rotary_settings(config: PretrainedConfig) -> list[dict[str, Any]]:
    """The settings of a decoder's rotary embeddings, under the names of transformers 5.

    config (PretrainedConfig): Its config.
    RETURNS (list[dict]): One, or in some families one per kind of layer, with at least "rope_type";
        none if there are no rotary embeddings.
    """
    if not IS_5:
        scaling = getattr(config, "rope_scaling", None) or {}
        theta = getattr(config, "rope_theta", None)
        if theta is None and not scaling:
            return []
        # "type" is the older name, which some configs still have.
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        return [{"rope_theta": theta, **scaling, "rope_type": kind}]
    settings = getattr(config, "rope_parameters", None) or {}
    by_layer = [value for value in settings.values() if isinstance(value, dict)]
    return by_layer or ([settings] if settings else [])


def without_rotary_scaling(values: dict[str, Any]) -> dict[str, Any]:
    """A config's values with plain rotary embeddings of the same bases.

    values (dict[str, Any]): From to_dict.
    RETURNS (dict[str, Any]): The values, changed in place.
    """
    scaling = values.pop("rope_scaling", None) or {}
    if "mrope_section" in scaling:
        sections = _share_frequencies(values, values.get("partial_rotary_factor"))
        values["rope_scaling"] = {"type": "default", "mrope_section": sections}
    settings = values.get("rope_parameters") or {}
    nested = [value for value in settings.values() if isinstance(value, dict)]
    for one in nested or ([settings] if settings else []):
        plain = {"rope_type": "default", **{n: one[n] for n in _ROTARY_FORM if n in one}}
        if "mrope_section" in one:
            plain["mrope_section"] = _share_frequencies(values, one.get("partial_rotary_factor"))
        one.clear()
        one.update(plain)
    return values


def _share_frequencies(values: dict[str, Any], factor: float | None) -> list[int]:
    """M-RoPE shares the frequencies of a head out to three kinds of positions, which are all the
    same in text (Qwen2-VL, arXiv 2409.12191, section 2.1).

    RETURNS (list[int]): How many each gets in a head of the decoder with these values.
    """
    width = values.get("head_dim") or values["hidden_size"] // values["num_attention_heads"]
    n_frequencies = int(width * (factor or 1.0)) // 2
    part = n_frequencies // 4
    return [n_frequencies - 2 * part, part, part]


def find_unread(values: dict[str, Any]) -> str | None:
    """Settings of a decoder that this version of transformers would pass over.

    values (dict[str, Any]): config.json. What 5 saves has its rotary settings under a name that
        4.53 does not know: it would take its own default for the base of the frequencies.
    RETURNS (str | None): What is wrong and what to do.
    """
    settings = values.get("rope_parameters")
    if IS_5 or not settings:
        return None
    by_layer = [value for value in settings.values() if isinstance(value, dict)]
    is_plain = not by_layer and settings.get("rope_type", "default") == "default"
    needed = {"rope_theta", "partial_rotary_factor"} & {"rope_theta", *settings}
    if needed <= values.keys() and (is_plain or values.get("rope_scaling")):
        return None
    return (
        "'rope_parameters' are the rotary settings of transformers 5, which the installed "
        f"{TRANSFORMERS} does not read. Install transformers>=5, or write them as 'rope_theta' and "
        "'rope_scaling'"
    )


def read_floats(value: Any) -> Any:
    """A value of config.json with its infinities. 5 writes them as {"__float__": "Infinity"}, since
    JSON has none, and turns them back where it reads the file itself.

    value (Any): From json, with whatever is nested in it.
    RETURNS (Any): The value with floats for such objects.
    """
    if isinstance(value, list):
        return [read_floats(part) for part in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"__float__"} and value["__float__"] in _FLOATS:
        return float(value["__float__"])
    return {name: read_floats(part) for name, part in value.items()}


def find_contradiction(config: PretrainedConfig) -> str | None:
    """YaRN settings that versions of transformers read differently: 4.53 takes the quotient of the
    context lengths where both are known, 5 the factor.

    config (PretrainedConfig): A decoder's config.
    RETURNS (str | None): What contradicts what, and what to do.
    """
    for settings in rotary_settings(config):
        original = settings.get("original_max_position_embeddings")
        if settings["rope_type"] != "yarn" or not original:
            continue
        quotient = config.max_position_embeddings / original
        factor = settings.get("factor")
        if factor is not None and abs(quotient - factor) > 1e-6 * quotient:
            return (
                f"the YaRN factor is {factor:g}, but max_position_embeddings = "
                f"{config.max_position_embeddings:,} is {quotient:g} times "
                f"original_max_position_embeddings = {original:,}: transformers 4 computes with "
                f"{quotient:g}, transformers 5 with {factor:g}"
            )
    return None


def rename_prefix(prefix: str, decoder: Any, names: Callable[[], Iterable[str]]) -> dict[str, str]:
    """How transformers finds a decoder's weights that are stored under any prefix.

    prefix (str): What their names begin with in the file.
    decoder (type): The decoder's class, of which transformers knows one prefix.
    names (Callable): Gives the names of all weights in the file; called where they matter. If any
        begins with the prefix that it knows, 4.53 looks for all weights under that.
    RETURNS (dict[str, str]): Replacements by pattern, the argument key_mapping of from_pretrained;
        empty if transformers finds them by itself.
    """
    known: str = decoder.base_model_prefix
    if prefix in ("", f"{known}."):
        return {}
    is_sought = not IS_5 and known and any(name.startswith(known) for name in names())
    return {f"^{re.escape(prefix)}": f"{known}." if is_sought else ""}


def forget_conversions(decoder: Any, key_mapping: dict[str, str]) -> None:
    """Let a decoder be saved as it is: under its own names, not under those it was read from, to
    which 5 returns; and with weights that were read quantized, for which 5 knows no way back.

    decoder (PreTrainedModel): Changed in place.
    key_mapping (dict[str, str]): With which it was loaded.
    """
    if IS_5:
        decoder._weight_conversions = [
            conversion
            for conversion in decoder._weight_conversions
            if not key_mapping.keys() & set(conversion._original_source_patterns)
            and not any(hasattr(op, "hf_quantizer") for op in getattr(conversion, "operations", ()))
        ]


def enable_checkpointing(decoder: Any) -> None:
    """Let a decoder recompute its activations in the backward pass.

    decoder (PreTrainedModel): Changed in place.
    """
    options = {"use_reentrant": False}
    if IS_5:
        decoder.activation_checkpointing_enable(options)
    else:
        decoder.gradient_checkpointing_enable(options)


def set_prefix_space(tokenizer: PreTrainedTokenizerFast, tokenizer_config: dict[str, Any]) -> None:
    """Put a space before the first word if the options of a byte-level tokenizer ask for it: 5
    passes over the option where the tokenizer is of no class of its own.

    tokenizer (PreTrainedTokenizerFast): Changed in place.
    tokenizer_config (dict): What it was loaded with.
    """
    wanted = tokenizer_config.get("add_prefix_space")
    splitting = tokenizer.backend_tokenizer.pre_tokenizer
    if wanted is not None and isinstance(splitting, ByteLevel):
        splitting.add_prefix_space = wanted


@contextmanager
def without_class_warning() -> Iterator[None]:
    """While a tokenizer is read in this thread, leave out 4.53's warning that its class is not the
    one that saved it: tokenizer.json says all of how text is split."""
    thread = get_ident()

    def drop(record: logging.LogRecord) -> bool:
        return record.thread != thread or _CLASS_WARNING not in record.getMessage()

    logger = logging.getLogger("transformers.tokenization_utils_base")
    logger.addFilter(drop)
    try:
        yield
    finally:
        logger.removeFilter(drop)


def _drop_load_report(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return "LOAD REPORT" not in message and "were not used when" not in message


# 5 logs a table of weights that it did not use, such as those of the LM head, or did not find, and
# 4.53 a list of them.
# match_weights has compared them before, and load_decoder raises for any that was not loaded.
logging.getLogger("transformers.modeling_utils").addFilter(_drop_load_report)
# PEFT 0.21 asks under the name of 4.53.
warnings.filterwarnings(
    "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
)
