"""Too little memory, on any device: which errors say so, or that a GPU is lost, and half as much at
once."""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy
import torch

from .packing import micro_batches

logger = logging.getLogger("spacy_lgu")

ResultT = TypeVar("ResultT")

# What libraries raise without a class of its own: torch's allocator on the CPU (the second on
# Windows), oneDNN, and cuBLAS, cuDNN and bitsandbytes, which take memory past torch's.
_WORDS = (
    "can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "could not create a primitive",
    "could not execute a primitive",
    "CUDA out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that less at once could go well.

    error (BaseException): Of torch, CuPy, NumPy or Python.
    RETURNS (bool): False for any other error.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    # CuPy's class is not imported: a machine with torch alone has none.
    return type(error).__name__ == "OutOfMemoryError" or any(w in str(error) for w in _WORDS)


def is_device_lost(message: str) -> bool:
    """Whether the GPU computes nothing any more. An error's words may be those of a text, and some
    errors of CUDA pass: the GPU is asked.

    message (str): Of an error.
    RETURNS (bool): False where there is no GPU.
    """
    if "CUDA error" not in message or not torch.cuda.is_available():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


@dataclass(kw_only=True)
class Halving:
    """As much at once as the memory allows: once it was too little, half of that, and so on.

    what (str): What needs the memory, as "for {n} subtokens".
    item (str): What cannot be halved, as "sequence".
    advice (str): What users can do.
    advice_for_one (str): What they can do about a single item that is too long.
    most (int | None): Units for which the memory was enough, once it was not.
    """

    what: str
    item: str
    advice: str
    advice_for_one: str
    most: int | None = None
    _has_told: bool = False

    def run(
        self,
        lengths: numpy.ndarray,
        groups: list[numpy.ndarray],
        compute: Callable[[numpy.ndarray], ResultT],
        device: torch.device,
    ) -> list[ResultT]:
        """Compute something for groups of items, in their order.

        lengths (ndarray): Units of each item. Shape: (n,).
        groups (list[ndarray]): Indices of items. One that does not fit is cut.
        compute (Callable): Gets the indices of a group, or of a part of one.
        device (device): Where it computes.
        RETURNS (list): What was computed. Raises torch.OutOfMemoryError, which says how long it is,
            for a single item that does not fit, and any other error of compute.
        """
        results: list[ResultT] = []
        waiting = deque(groups)
        failed = 0
        while waiting:
            chosen = waiting.popleft()
            try:
                results.append(compute(chosen))
                continue
            # Only its words say which one it is: torch has no class for it on a CPU.
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(chosen) == 1:
                    what = self.what.format(n=lengths[chosen[0]])
                    raise torch.OutOfMemoryError(
                        f"There is too little memory on {device} {what} in one {self.item}. "
                        f"{self.advice_for_one} ({str(error)[:200]})"
                    ) from error
            if device.type == "cuda":
                # So that other sizes fit: the error and all that its frames hold are gone.
                torch.cuda.empty_cache()
            own = lengths[chosen]
            failed = failed or int(own.sum())
            self.most = max(int(own.sum()) // 2, int(own.max()))
            # In the order that they have: the callers' rows keep theirs.
            parts = micro_batches(own, self.most, order=numpy.arange(len(own)))
            waiting.extendleft(chosen[part] for part in reversed(parts))
        if failed:
            self._tell(failed, device)
        return results

    def _tell(self, failed: int, device: torch.device) -> None:
        """Say it once: later batches begin with what went well."""
        if self._has_told:
            return
        self._has_told = True
        logger.warning(
            "There is too little memory on %s %s at once: from now on, it is at most %d. %s",
            device,
            self.what.format(n=failed),
            self.most,
            self.advice,
        )
