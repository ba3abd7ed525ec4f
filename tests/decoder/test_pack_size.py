"""How large a pack is, on devices with this much memory or that."""

from types import SimpleNamespace

import pytest
import torch

from spacy_lgu.decoder import pack_size
from spacy_lgu.decoder.local import read_decoder
from spacy_lgu.decoder.pack_size import check_items, choose_items, computed_bytes, find_items

GIB = 2**30


def test_bytes_of_a_subtoken(decoder_folder):
    # Width 64, 4 heads of 16 of which 2 for keys and values, inner width 128.
    shape = read_decoder(str(decoder_folder)).shape
    assert computed_bytes(shape, 2) == max(3 * 2 * 128 + 2 * 2 * 64, 2 * (192 + 128 + 128) + 4 * 64)
    assert computed_bytes(shape, 4) == 4 * (192 + 128 + 128) + 4 * 64


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (None, 1024),
        (0, 256),
        (GIB // 100, 256),
        (GIB // 10, 512),
        (GIB, 4096),
        (2 * GIB, 8192),
        (40 * GIB, 16_384),
        (140 * GIB, 16_384),
    ],
)
def test_as_many_as_half_of_the_free_memory_holds(free, expected):
    assert choose_items(free, 102_400) == expected


def test_the_memory_that_is_free_now_counts(decoder_folder, monkeypatch):
    base = SimpleNamespace(config=read_decoder(str(decoder_folder)).config)
    on_cpu, on_gpu = (
        SimpleNamespace(base=base, dtype="bfloat16", device=torch.device(device))
        for device in ("cpu", "cuda:0")
    )
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2_000_000, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 1_000_000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 400_000)
    per_subtoken = computed_bytes(read_decoder(str(decoder_folder)).shape, 2)
    assert find_items(on_gpu) == choose_items(2_600_000, per_subtoken) == 1024
    monkeypatch.setattr(pack_size, "_free_bytes", lambda device: 80 * GIB)
    assert find_items(on_gpu) == 16_384
    assert find_items(on_cpu) == 1024


@pytest.mark.parametrize("items", [1, 4096, "auto"])
def test_what_a_pack_can_be(items):
    check_items(items)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (0, "must be at least 1, but is 0"),
        (-5, "must be at least 1, but is -5"),
        ("many", "is 'many': expected a number of subtokens, or 'auto'"),
        (2.5, "is 2.5: expected a number of subtokens, or 'auto'"),
        (True, "is True: expected a number of subtokens, or 'auto'"),
    ],
)
def test_what_a_pack_cannot_be(items, message):
    with pytest.raises(ValueError, match=message):
        check_items(items)
