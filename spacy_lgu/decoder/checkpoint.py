"""Compares the weights in a checkpoint with those of its decoder: all must come from the file.

    in the file                          in the decoder
    model.embed_tokens.weight            embed_tokens.weight
    model.layers.0.mlp.up_proj.weight    layers.0.mlp.up_proj.weight
    lm_head.weight                       -

A checkpoint of a causal-LM class has the decoder under a prefix, and heads beside it; one of a
model that reads more than text has other towers beside it, too. transformers knows the prefix of
most families, and initializes weights that it does not find at random, with a line in the log. Here
the prefix is found from the names, and a missing weight is an error.
"""

import contextlib
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModel, PretrainedConfig

from .experts import ShapesT, Stored, are_separate, stored_forms, take_mark
from .locking import one_at_a_time
from .separate import separate_experts
from .stored_quantized import is_4bit, is_quantization_state, is_quantized
from .versions import IS_5

# Constants that older versions of transformers saved with the weights.
_CONSTANTS = re.compile(r"(^|\.)(rotary_emb\.inv_freq|attention\.(masked_)?bias)$")
_INTEGERS = ("I", "U", "BOOL")


class Expected(NamedTuple):
    """The weights that a decoder needs.

    stored (Stored): How they may be stored.
    ignored (Sequence[str]): Patterns of the names of others that published files hold, such as
        layers for speculative decoding.
    unused (Pattern | None): What the names of weights of layers that are left out match, without
        the prefix. None: no layer is.
    """

    stored: Stored
    ignored: Sequence[str] = ()
    unused: re.Pattern[str] | None = None


class StoredTensor(NamedTuple):
    """A tensor as the header of its file describes it.

    file (str): Name of the file.
    dtype (str): As safetensors spells it, such as "BF16".
    shape (tuple[int, ...]): Its shape.
    """

    file: str
    dtype: str
    shape: tuple[int, ...]


def read_headers(files: Iterable[Path]) -> dict[str, StoredTensor]:
    """The tensors in some safetensors files; no weight is read.

    files (Iterable[Path]): The files of one checkpoint.
    RETURNS (dict[str, StoredTensor]): By name. Raises ValueError that names the file for a damaged
        one, and for a tensor that two of them hold.
    """
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        with open_tensors(file, what="weights file") as opened:
            for name in opened.keys():  # noqa: SIM118  safe_open is not a mapping
                if name in tensors:
                    raise ValueError(
                        f"The weight {name!r} is in {tensors[name].file!r} and in {str(file)!r}: "
                        "expected it once. Delete the file that is left over."
                    )
                stored = opened.get_slice(name)
                shape = tuple(stored.get_shape())
                tensors[name] = StoredTensor(file.name, stored.get_dtype(), shape)
    return tensors


@contextlib.contextmanager
def open_tensors(file: Path, *, what: str) -> Iterator[Any]:
    """A safetensors file, open within the context.

    file (Path): The file.
    what (str): What it is, for the message.
    YIELDS (safe_open): Raises ValueError that names the file when it, or a tensor that is read from
        it, is damaged.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            yield opened
    except SafetensorError as error:
        raise ValueError(
            f"The {what} {str(file)!r} ({file.stat().st_size:,} bytes) is damaged or incomplete: "
            f"{error}. Copy or download it again."
        ) from error


@one_at_a_time
def build_skeleton(config: PretrainedConfig) -> torch.nn.Module:
    """A decoder without weights, from its config alone.

    config (PretrainedConfig): The decoder's config, perhaps from with_separate_experts.
    RETURNS (Module): On the device `meta`.
    """
    with torch.device("meta"):
        skeleton: torch.nn.Module = AutoModel.from_config(take_mark(config))
    if are_separate(config):
        separate_experts(skeleton)
    return skeleton


def decoder_shapes(config: PretrainedConfig) -> Expected:
    """Names and shapes of a decoder's weights, from its config alone.

    config (PretrainedConfig): The decoder's config.
    RETURNS (Expected): In the order of the modules.
    """
    skeleton: Any = build_skeleton(take_mark(config))
    return Expected(stored_forms(skeleton), skeleton._keys_to_ignore_on_load_unexpected or ())


def find_decoder(
    stored: Collection[str], expected: Expected, *, where: str, fits: Callable[..., bool] | None
) -> tuple[str, ShapesT]:
    """Find a decoder among the names in a checkpoint.

    stored (Collection[str]): The names.
    expected (Expected): From decoder_shapes.
    where (str): The checkpoint, for the message.
    fits (Callable | None): Whether the tensor of a name has a shape, if that is known.
    RETURNS (tuple[str, dict]): The prefix and the form under which most of the weights are found.
        Raises ValueError when all are found under several prefixes.
    """
    found = []
    for form in expected.stored.forms:
        prefix = _find_prefix(stored, form, where)
        names = [name for name in form if prefix + name in stored]
        n_fitting = len(names)
        if fits is not None:
            n_fitting = sum(fits(prefix + name, form[name]) for name in names)
        # Forms have different numbers of weights.
        found.append((len(names) / len(form), n_fitting / len(form), prefix, form))
    return max(found, key=itemgetter(0, 1))[2:]


def match_weights(tensors: dict[str, StoredTensor], expected: Expected, *, where: str) -> str:
    """Find a decoder among the tensors of a checkpoint.

    tensors (dict[str, StoredTensor]): From read_headers.
    expected (Expected): From decoder_shapes.
    where (str): The checkpoint, for messages.
    RETURNS (str): What its weights' names begin with there, such as "model.", or "". Raises
        ValueError naming weights that are missing, that the decoder does not have (except for
        heads and towers beside it), or that have another shape, and quantized weights outside of
        linear layers.
    """

    def fits(name: str, shape: tuple[int, ...]) -> bool:
        return _fits(name, shape, tensors)

    prefix, form = find_decoder(tensors, expected, where=where, fits=fits)
    stored = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
    missing = [name for name in form if name not in stored]
    if missing:
        raise _mismatch(where, "does not hold", [prefix + name for name in missing], len(form))
    children = {name.split(".")[0] for name in form}
    unexpected = [
        prefix + name
        for name in stored
        if name not in form
        and name.split(".")[0] in children
        and not _CONSTANTS.search(name)
        and not (expected.unused and expected.unused.fullmatch(name))
        and not any(re.search(pattern, prefix + name) for pattern in expected.ignored)
        and not is_quantization_state(name, stored)
    ]
    if unexpected:
        raise _mismatch(where, "holds more than the config says, with", unexpected, len(stored))
    differing = [
        f"{prefix}{name} of shape {list(stored[name].shape)} ({stored[name].dtype}) instead of "
        f"{list(shape)}"
        for name, shape in form.items()
        if not _fits(name, shape, stored)
    ]
    if differing:
        raise _mismatch(where, "does not fit its config, with", differing, len(form))
    if not IS_5 and any(stored[name].dtype.startswith("F8") for name in form):
        raise ValueError(
            f"The checkpoint {where!r} holds weights in float8, which the installed version of "
            "transformers does not compute with. Install version 5, or convert them to bfloat16."
        )
    # A single one of another layer that was linear once is read as a plain weight: separating.py.
    allowed = expected.stored.linear
    plain = expected.stored.whole if IS_5 else frozenset()
    quantized = [
        name
        for name in form
        if is_quantized(name, stored)
        and name not in allowed
        and not (name in plain and is_4bit(name, stored))
    ]
    if quantized:
        raise ValueError(
            f"The checkpoint {where!r} holds {len(quantized)} quantized weights, such as "
            f"{prefix}{quantized[0]}, which are in no linear layers of a decoder of the installed "
            "version of transformers. Name the unquantized decoder, or install the version that "
            "it was saved with."
        )
    return prefix


@contextlib.contextmanager
def staged(files: Iterable[Path]) -> Iterator[Path]:
    """A temporary folder that holds nothing but some files.

    transformers reads more files than it is given: an adapter_config.json beside the weights makes
    it load another decoder, from anywhere.

    files (Iterable[Path]): The files, with different names.
    YIELDS (Path): The folder, with links to them, or copies where the system allows no links.
    """
    with tempfile.TemporaryDirectory(prefix="spacy-lgu-") as name:
        for file in files:
            link = Path(name, file.name)
            try:
                os.symlink(file.resolve(), link)
            except FileExistsError:  # a copy would go through the link that is there
                raise
            except OSError:  # Windows allows only administrators to make links
                shutil.copyfile(file, link)
        yield Path(name)


def _find_prefix(stored: Collection[str], expected: ShapesT, where: str) -> str:
    """The prefix under which most of the expected names are found."""
    names = list(expected)
    anchors = {names[0], names[len(names) // 2], names[-1]}  # any of them may be missing
    found = {
        name.removesuffix(anchor)
        for name in stored
        for anchor in anchors
        if name == anchor or name.endswith(f".{anchor}")
    }
    counts = {prefix: sum(prefix + name in stored for name in names) for prefix in found}
    complete = sorted(prefix for prefix, count in counts.items() if count == len(names))
    if len(complete) > 1:
        raise ValueError(
            f"The checkpoint {where!r} holds {len(complete)} decoders, under the prefixes "
            f"{complete}: expected one. Save the right one by itself."
        )
    return max(counts, key=counts.__getitem__, default="")


def _fits(name: str, shape: tuple[int, ...], stored: dict[str, StoredTensor]) -> bool:
    tensor = stored[name]
    if is_4bit(name, stored):
        return math.prod(tensor.shape) == -(-math.prod(shape) // 2)  # two in a byte
    is_8bit = name.removesuffix("weight") + "SCB" in stored
    return tensor.shape == shape and tensor.dtype.startswith(_INTEGERS) == is_8bit


def _mismatch(where: str, what: str, names: list[str], n_all: int) -> ValueError:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return ValueError(
        f"The checkpoint {where!r} {what} {len(names)} of {n_all} weights: {shown}. Expected all "
        "weights of the decoder that its config.json describes, and besides them only heads: "
        "config and weights are of different decoders, or files are missing. Copy or download them "
        "again."
    )
