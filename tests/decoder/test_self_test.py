"""A loaded decoder notices layers of another direction, vectors that are none, a lost adapter."""

import pytest
import torch

from spacy_lgu.decoder import attention
from spacy_lgu.decoder.self_test import _find_moved, check_decoder

from .helpers import build, build_unshaken


def force_direction(monkeypatch, unmasked: bool) -> None:
    """Let every layer attend in one direction, whatever it is told."""
    compute = attention._bucketed

    def attend(*args, **options):
        return compute(*args, **{**options, "unmasked": unmasked})

    monkeypatch.setattr(attention, "_bucketed", attend)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
@pytest.mark.parametrize("unmasking", ["cccc", "bbbb", "cbbc", "cccb"])
def test_every_pattern_proves_itself(decoder_folder, unmasking, quantization, dtype):
    built = build(decoder_folder, unmasking=unmasking, quantization=quantization, dtype=dtype)
    check_decoder(built.decoder)


@pytest.mark.parametrize(
    ("unmasking", "forced", "message"),
    [
        ("ccbb", False, r"Layer 2 .* should be bidirectional, .* moved positions \[3\] of 4"),
        ("bbbb", False, r"Layer 0 .* should be bidirectional, .* moved positions \[3\] of 4"),
        ("ccbb", True, r"Layer 0 .* should be causal, .* moved positions \[0, 1, 2, 3\] of 4"),
        ("bbbc", True, r"Layer 3 .* should be causal, .* moved positions \[0, 1, 2, 3\] of 4"),
    ],
)
def test_layers_of_another_direction(decoder_folder, monkeypatch, unmasking, forced, message):
    force_direction(monkeypatch, forced)
    with pytest.raises(ValueError, match=message):
        build_unshaken(decoder_folder, unmasking=unmasking)
    build_unshaken(decoder_folder, unmasking=unmasking, self_test=False)


def test_vectors_that_are_no_numbers(decoder_folder):
    decoder = build(decoder_folder, tuning="full").decoder
    decoder.base.norm.weight.data[3] = float("nan")
    with pytest.raises(ValueError, match=r"not finite in float32: its weights are damaged"):
        check_decoder(decoder)


@pytest.mark.parametrize("name", ["q_proj", "k_proj"])
def test_queries_and_keys_that_are_no_numbers(decoder_folder, name):
    """For which attention kernels give zeros."""
    decoder = build(decoder_folder, tuning="full").decoder
    getattr(decoder.base.layers[1].self_attn, name).weight.data[3, 5] = float("nan")
    with pytest.raises(ValueError, match=r"not finite in float32: its weights are damaged"):
        check_decoder(decoder)


def test_decoder_that_does_not_run(decoder_folder):
    decoder = build(decoder_folder).decoder
    decoder.base.layers[2].mlp.down_proj = torch.nn.Linear(95, 64)  # of 96
    message = r"decoder '.*' does not run: layer 2 or .* fails .RuntimeError: .*96.*config\.json is"
    with pytest.raises(ValueError, match=message):
        check_decoder(decoder)


def test_adapter_that_is_not_applied(decoder_folder):
    decoder = build(decoder_folder).decoder
    decoder.adapter.base_model.disable_adapter_layers()
    with pytest.raises(ValueError, match=r"not applied in 8 of 8 modules, such as 'layers\.0\.se"):
        check_decoder(decoder)
    decoder.adapter.base_model.enable_adapter_layers()
    check_decoder(decoder)
    layer = decoder.base.layers[1].self_attn.q_proj
    layer.forward = layer.base_layer.forward
    with pytest.raises(ValueError, match=r"not applied in 1 of 8 modules, such as 'layers\.1\.se"):
        check_decoder(decoder)


def test_nothing_stays_behind(decoder_folder):
    decoder = build(decoder_folder).decoder
    check_decoder(decoder)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in decoder.modules())


def test_what_moved_by_eye():
    text = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]])
    again = text + torch.tensor([0.0, 0.01])
    changed = text + torch.tensor([[0.0, 0.0], [0.0, 0.07], [0.09, 0.0], [5.0, 5.0]])
    assert _find_moved(torch.cat([text, again, changed])[None], 0.0) == [2, 3]
    assert _find_moved(torch.cat([text, text, changed])[None], 0.0) == [1, 2, 3]
    # 8 times 0.0024 of the largest value, 4, is 0.0768.
    assert _find_moved(torch.cat([text, text, changed])[None], 0.0024) == [2, 3]
