"""Rows of a table, of which each may fail and leaves the others."""

import gc
import json
import math
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch

from .clock import DEVICE

# What torch raises for a kernel that refuses, a compiler that fails and memory that is too small:
# NotImplementedError, OutOfMemoryError and dynamo's errors are kinds of RuntimeError; products in
# float8 and attention by lengths refuse shapes and layouts with ValueError.
FAILURES: tuple[type[Exception], ...] = (RuntimeError, ValueError)
if find_spec("triton"):
    from triton.errors import TritonError

    FAILURES = (*FAILURES, TritonError)
_LONGEST = 240
# The line in dynamo's messages that says what happened.
_DYNAMO_SAYS = "Developer debug context:"
# Warnings with which SDPA says why no kernel is there also name those that were switched off.
_NO_REASONS = ("not used because", "runtime disabled")


def attempt(measure: Callable[[], dict[str, Any]], end: float = math.inf) -> dict[str, Any]:
    """What a measurement found, or why it found nothing.

    measure (Callable): Returns figures by name.
    end (float): On time.perf_counter's clock; nothing is begun after it.
    RETURNS (dict): The figures; or "failed", with the first line of the error's message. Errors
        that FAILURES does not name are raised.
    """
    if time.perf_counter() > end:
        return {"failed": "not begun, because the step's time was over"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if DEVICE.type == "cuda":
                torch.cuda.empty_cache()  # raises what an earlier row left broken
            return measure()
        except FAILURES as error:
            found = {"failed": _say(error, [str(warning.message) for warning in caught])}
    gc.collect()  # tensors in the frames that the error went through
    return found


def _say(error: Exception, warned: list[str]) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    said = lines[:1]
    if said[0].endswith(":"):  # "backend='inductor' raised:"
        said += lines[1:2]
    said += [line for line in lines if line.startswith(_DYNAMO_SAYS)]
    message = f"{type(error).__name__}: {' '.join(said)}"
    if "No available kernel" in message:
        sentences = [text.split(" (Triggered")[0].strip() for text in warned]
        reasons = [s for s in dict.fromkeys(sentences) if not any(n in s for n in _NO_REASONS)]
        message = " ".join([message, *reasons])
    return message if len(message) <= _LONGEST else message[: _LONGEST - 3] + "..."


def tell(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Print the rows so far, which is what stays if the process ends before the step does.

    RETURNS (dict): "rows".
    """
    found = {"rows": rows}
    print(json.dumps(found), flush=True)
    return found


def distance(Y: torch.Tensor, reference: torch.Tensor) -> float:
    """How far a result is from the exact one.

    Y, reference (Tensor): Shape: (rows, ...).
    RETURNS (float): The largest distance of a row, relative to the mean length of the reference's
        rows: single rows may be 0.
    """
    exact = reference.double().flatten(1)
    apart = (Y.double().flatten(1) - exact).norm(dim=1).max()
    return (apart / exact.norm(dim=1).mean()).item()


def in_cell(text: str) -> str:
    """RETURNS (str): A message that can stand in a table."""
    return text.replace("|", "/")
