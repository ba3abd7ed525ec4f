"""Arrays in one buffer, and what a pass asks of the device."""

import numpy
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from spacy_lgu.decoder import transfers
from spacy_lgu.decoder.settings import LoraSettings
from spacy_lgu.decoder.transfers import to_device

from .helpers import CPU, IDS, LENGTHS, build

ARRAYS = [
    numpy.arange(6, dtype="int64")[None],
    numpy.array([0, 2, 5], dtype="int32"),
    numpy.zeros((0, 3), dtype="float32"),
    numpy.array([[True, False], [True, True]]),
    numpy.arange(12, dtype="int64").reshape(3, 4).T,  # not contiguous
]


def assert_equal(tensors, arrays):
    assert len(tensors) == len(arrays)
    for tensor, array in zip(tensors, arrays, strict=True):
        numpy.testing.assert_array_equal(tensor.numpy(), array)
        assert tensor.numpy().dtype == array.dtype


def test_arrays_come_back_from_one_buffer():
    buffer = transfers._join(ARRAYS, pinned=False)
    # 48, 12, 0, 4 and 96 bytes, each begun at a multiple of 16.
    assert buffer.shape == (48 + 16 + 0 + 16 + 96,)
    parts = transfers._split(buffer, ARRAYS)
    assert_equal(parts, ARRAYS)
    assert [p.data_ptr() - buffer.data_ptr() for p in parts if p.numel()] == [0, 48, 64, 80]


def test_nothing_is_sent():
    assert transfers._join([], pinned=False).shape == (0,)
    assert to_device([], CPU) == []


def test_on_a_cpu():
    assert_equal(to_device(ARRAYS, CPU), ARRAYS)


def test_a_gpu_gets_one_copy_without_waiting(monkeypatch):
    copies = []
    join = transfers._join

    class Buffer:
        def __init__(self, buffer):
            self.buffer = buffer

        def to(self, device, *, non_blocking):
            copies.append((str(device), non_blocking))
            return self.buffer

    def join_unpinned(arrays, *, pinned):
        assert pinned
        return Buffer(join(arrays, pinned=False))

    monkeypatch.setattr(transfers, "_join", join_unpinned)
    assert_equal(to_device(ARRAYS, torch.device("cuda", 0)), ARRAYS)
    assert copies == [("cuda:0", True)]


# Those whose answer the process has to wait for.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique")


class Recorder(TorchDispatchMode):
    """The operations that would make the process wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.waiting = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        is_mask = name.startswith("index") and any(
            isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)
            for index in (args[1] if isinstance(args[1], list) else ())
        )
        if name.startswith(WAITING) or is_mask:
            self.waiting.append(name)
        return function(*args, **(kwargs or {}))


def test_waiting_is_seen():
    with Recorder() as recorder:
        X = torch.arange(3)
        X[X > 1]
        X.max().item()
        bool(torch.isfinite(X).all())
    assert recorder.waiting == ["index", "_local_scalar_dense", "_local_scalar_dense"]


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("max_items", [1000, 8])
def test_no_pass_waits_for_the_device(decoder_folder, quantization, dtype, max_items):
    lora = LoraSettings(rank=2, modules="all-linear")
    built = build(decoder_folder, quantization=quantization, dtype=dtype, lora=lora)
    with Recorder() as recorder:
        built.decoder.predict(IDS, LENGTHS, max_items)
    assert recorder.waiting == []
