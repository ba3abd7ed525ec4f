"""How many subtokens a forward pass has at inference, where that is left to the device.

On a GPU, large packs keep the matrix products busy; how large they may be is a matter of memory. On
an H200, a 7B decoder in NF4 reads about 10% faster in packs of 16,384 than in smaller ones.

`inspect` tells it where torch cannot be imported, too: functions that need torch import it.
"""

from typing import TYPE_CHECKING, Any

from .shape import DecoderShape

if TYPE_CHECKING:
    import torch

    from .decoder import LGUDecoder

AUTO = "auto"
# On a CPU: activations then fit its caches better, which took 9-14% less time than 4096 (one core;
# 6M parameters in float32 and bfloat16, 135M in bfloat16).
CPU_ITEMS = 1024
# On a GPU, at most: beyond, nothing was gained.
_GPU_ITEMS = 16_384
# And at least: with fewer, a GPU would wait for its orders. Where even these are too many, the
# decoder halves them.
_FEWEST = 256
# Half of what is free stays free: for the heads after the decoder, vectors, kernels' own needs.
_SHARE = 0.5
# The longest sequence of a text that is cut, however large a pack may be: where it is cut, and so
# its vectors, must not depend on a device's memory.
AUTO_WINDOW = 4096


def check_items(max_batch_items: Any) -> None:
    """Refuse a value that no pack can have.

    max_batch_items (Any): The option. Raises ValueError unless it is an integer of 1 or more, or
        "auto".
    """
    is_number = isinstance(max_batch_items, int) and not isinstance(max_batch_items, bool)
    if max_batch_items != AUTO and not is_number:
        raise ValueError(
            f"max_batch_items is {max_batch_items!r}: expected a number of subtokens, or 'auto'."
        )
    if is_number and max_batch_items < 1:
        raise ValueError(f"max_batch_items must be at least 1, but is {max_batch_items}.")


def computed_bytes(shape: DecoderShape, n_bytes: int) -> int:
    """Bytes of a subtoken within one layer that are needed at once: in the MLP, or in attention.

    shape (DecoderShape): The decoder's sizes.
    n_bytes (int): Of a number in the computing dtype.
    """
    W, inner = shape.width, shape.inner_width
    Q, K = shape.n_heads * shape.head_width, shape.n_key_value_heads * shape.head_width
    mlp = 3 * n_bytes * inner + 2 * n_bytes * W
    attention = n_bytes * (3 * Q + 4 * K + 2 * W) + 4 * W
    return max(mlp, attention)


def choose_items(free: int | None, per_subtoken: int) -> int:
    """What "auto" stands for.

    free (int | None): Free memory of the GPU, in bytes, beside the weights. None: on a CPU.
    per_subtoken (int): From computed_bytes.
    RETURNS (int): Subtokens per forward pass; on a GPU a power of two.
    """
    if free is None:
        return CPU_ITEMS
    n = int(_SHARE * free) // per_subtoken
    if n <= _FEWEST:
        return _FEWEST
    return min(_GPU_ITEMS, 2 ** (n.bit_length() - 1))


def find_items(decoder: "LGUDecoder") -> int:
    """What "auto" stands for, for a decoder that is loaded.

    decoder (LGUDecoder): The decoder.
    RETURNS (int): Subtokens per forward pass, by the memory that is free now.
    """
    from .loading import TORCH_DTYPES
    from .local import measure_shape

    if decoder.device.type != "cuda":
        return CPU_ITEMS
    n_bytes = TORCH_DTYPES[decoder.dtype].itemsize
    per_subtoken = computed_bytes(measure_shape(decoder.base.config), n_bytes)
    return choose_items(_free_bytes(decoder.device), per_subtoken)


def _free_bytes(device: "torch.device") -> int:
    """RETURNS (int): What the system has, and what torch keeps of it without using it."""
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
