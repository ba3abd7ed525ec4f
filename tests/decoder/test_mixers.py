"""Decoders with recurrent layers: packed is as each sequence alone, and only attention opens."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import torch
from torch.testing import assert_close

from spacy_lgu.decoder import layer_check
from spacy_lgu.decoder.families import check_family
from spacy_lgu.decoder.layer_check import check_layers
from spacy_lgu.decoder.mixers import (
    RectangleMixer,
    find_mixers,
    layer_kinds,
    run_on_rectangles,
)
from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.decoder.refusals import FamilyError
from spacy_lgu.decoder.self_test import check_decoder
from spacy_lgu.decoder.versions import enable_checkpointing
from spacy_lgu.unmasking import LayerKind

from ..conftest import IS_5
from .hybrids import (
    BY_TYPE,
    HYBRIDS,
    THREE,
    config_class,
    make_decoder,
    make_pair,
    run_alone,
)
from .reference import CPU, make_lgu, random_ids, relative_error

needs_5 = pytest.mark.skipif(not IS_5, reason="needs a family that came with transformers 5")

# Chunks of linear attention are 64 positions long.
PACKED_LENGTHS = [6, 70, 1, 4, 66, 13]
KINDS = {"a": "attention", "p": "parallel", "r": "recurrent", "f": "feed-forward"}
every_hybrid = pytest.mark.parametrize("hybrid", HYBRIDS, ids=list(BY_TYPE))
three_hybrids = pytest.mark.parametrize("hybrid", THREE, ids=lambda hybrid: hybrid.model_type)


def pack(ids, lengths):
    return PackedBatch.pack(ids, lengths, device=CPU)


def weigh(Y):
    return (Y * torch.linspace(-1, 1, Y.numel()).reshape(Y.shape)).sum()


@every_hybrid
def test_packed_equals_each_sequence_alone_under_every_pattern(hybrid):
    packed, eager = make_pair(hybrid)
    ids = random_ids(PACKED_LENGTHS)
    for unmasked in hybrid.patterns():
        with torch.no_grad():
            Y = make_lgu(packed, unmasked)(pack(ids, PACKED_LENGTHS))
            expected = run_alone(eager, hybrid, ids, PACKED_LENGTHS, unmasked)
        assert relative_error(Y, expected) < 5e-6, unmasked


@every_hybrid
def test_kinds_and_mixers_are_found(hybrid):
    packed, _ = make_pair(hybrid)
    assert [kind.value for kind in layer_kinds(packed.config)] == [KINDS[k] for k in hybrid.kinds]
    # Its own mixer in each layer that has one, and nothing else.
    found = [mixer.layer_idx for mixer in find_mixers(packed)]
    assert found == [i for i, kind in enumerate(hybrid.kinds) if kind in "rp"]


@every_hybrid
def test_families_are_accepted_by_the_layer_check(hybrid):
    check_family(hybrid.config())


@three_hybrids
def test_without_rectangles_sequences_run_into_each_other(hybrid):
    packed, eager = make_pair(hybrid)
    batch, unmasked = pack(random_ids(PACKED_LENGTHS), PACKED_LENGTHS), (False,) * 4
    with torch.no_grad():
        output = packed(
            input_ids=batch.ids,
            position_ids=batch.positions,
            use_cache=False,
            packed=batch,
            unmasked=unmasked,
        )
        ids = batch.ids[0].numpy()
        expected = run_alone(eager, hybrid, ids, PACKED_LENGTHS, unmasked)
    Y = output.last_hidden_state[0]
    assert relative_error(Y[:6], expected[:6]) < 5e-6  # the first sequence has no neighbour before
    assert relative_error(Y[6:], expected[6:]) > 0.05


@three_hybrids
def test_the_order_of_a_batch_does_not_matter(hybrid):
    decoder = make_decoder(hybrid, hybrid.patterns()[-1])
    sequences = numpy.split(random_ids(PACKED_LENGTHS), numpy.cumsum(PACKED_LENGTHS)[:-1])
    order = [4, 2, 0, 5, 1, 3]
    with torch.no_grad():
        Ys = decoder(pack(numpy.concatenate(sequences), PACKED_LENGTHS)).split(PACKED_LENGTHS)
        lengths = [PACKED_LENGTHS[i] for i in order]
        shuffled = decoder(pack(numpy.concatenate([sequences[i] for i in order]), lengths))
    assert_close(shuffled, torch.cat([Ys[i] for i in order]), atol=1e-5, rtol=1e-5)


@every_hybrid
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_of_all_weights_equal_those_of_each_sequence_alone(hybrid, checkpointing):
    unmasked = hybrid.patterns()[-1]
    packed, eager = make_pair(hybrid)
    ids = random_ids(PACKED_LENGTHS)
    if checkpointing:
        enable_checkpointing(packed)
    decoder = make_lgu(packed, unmasked).train()
    weigh(decoder(pack(ids, PACKED_LENGTHS))).backward()
    weigh(run_alone(eager, hybrid, ids, PACKED_LENGTHS, unmasked)).backward()
    expected = {name: p.grad for name, p in eager.named_parameters()}
    scale = max(float(grad.norm()) for grad in expected.values() if grad is not None)
    for name, p in packed.named_parameters():
        if expected[name] is None:
            assert p.grad is None, name
        else:
            assert float((p.grad - expected[name]).norm()) < 2e-5 * scale, name


@three_hybrids
@pytest.mark.parametrize("checkpointing", [False, True])
def test_eight_threads_equal_one(hybrid, checkpointing):
    decoder = make_decoder(hybrid, hybrid.patterns()[-1])
    if checkpointing:
        enable_checkpointing(decoder.base)
        decoder.train()
    batches = [
        pack(random_ids(lengths, seed=i), lengths)
        for i, lengths in enumerate([[5, 3], [1], [9, 2, 2], [70, 4], [3, 3], [12], [2, 7], [66]])
    ]

    def run(batch):
        Y = decoder(batch)
        grads = torch.autograd.grad(weigh(Y), decoder.base.embed_tokens.weight)
        return Y.detach(), *grads

    expected = [run(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, batches * 4))
    for results, wanted in zip(found, expected * 4, strict=True):
        for result, value in zip(results, wanted, strict=True):
            assert_close(result, value, atol=1e-5, rtol=1e-5)


@three_hybrids
def test_copies_and_pickles_compute_the_same(hybrid):
    decoder = make_decoder(hybrid, hybrid.patterns()[-1])
    batch = pack(random_ids([5, 9]), [5, 9])
    with torch.no_grad():
        expected = decoder(batch)
        copied = copy.deepcopy(decoder.base)
        pickled = pickle.loads(pickle.dumps(decoder.base))
        for other in (copied, pickled):
            assert torch.equal(make_lgu(other, decoder.unmasked)(batch), expected)
            for mixer, original in zip(find_mixers(other), find_mixers(decoder.base), strict=True):
                assert type(mixer) is type(original)
                assert mixer is not original
    for parameter in copied.parameters():
        parameter.data.zero_()
    assert torch.equal(decoder(batch), expected)


@needs_5
def test_a_mixer_stays_an_instance_of_its_class():
    packed, _ = make_pair(BY_TYPE["lfm2"])
    before = find_mixers(packed)
    kinds, states = [type(mixer) for mixer in before], packed.state_dict()
    run_on_rectangles(packed)
    run_on_rectangles(packed)
    assert find_mixers(packed) == before
    for mixer, kind in zip(before, kinds, strict=True):
        assert isinstance(mixer, kind)
        assert type(mixer).__mro__[1:3] == (RectangleMixer, kind)
        assert type(mixer).__name__ == "Lfm2ShortConv"
    assert packed.state_dict().keys() == states.keys()


def test_decoders_with_attention_alone_are_left_as_they_are():
    from .reference import BY_NAME
    from .reference import make_pair as make_plain_pair

    packed, _ = make_plain_pair(BY_NAME["qwen3"])
    kinds = [type(module) for module in packed.modules()]
    run_on_rectangles(packed)
    assert [type(module) for module in packed.modules()] == kinds
    assert find_mixers(packed) == []


@needs_5
def test_mixers_need_a_packed_batch_and_no_mask():
    decoder = make_decoder(BY_TYPE["lfm2"], (False, True, False, True))
    batch = pack(random_ids([5]), [5])
    with pytest.raises(ValueError, match="Lfm2ShortConv runs on packed batches only: call the"):
        decoder.base(input_ids=batch.ids, use_cache=False)
    with pytest.raises(ValueError, match="and without an attention mask"):
        find_mixers(decoder.base)[0](
            torch.zeros(1, 5, 32), packed=batch, attention_mask=torch.ones(1, 5)
        )


@needs_5
def test_recurrent_layers_cannot_be_opened():
    packed, _ = make_pair(BY_TYPE["lfm2"])
    with pytest.raises(ValueError, match="Layer 2 of the decoder is recurrent and has no causal"):
        make_lgu(packed, (False, True, True, True))


@needs_5
def test_fused_training_kernels_that_pass_an_adapter_by_are_not_called(monkeypatch):
    """They get the weight of the last linear module, not the module with its adapter."""
    from transformers.models.bamba import modeling_bamba

    def refuse(*args, **kwargs):
        raise AssertionError("The fused kernel was called.")

    monkeypatch.setattr(modeling_bamba, "mamba2_split_conv1d_scan_combined", refuse)
    packed, _ = make_pair(BY_TYPE["bamba"])
    decoder = make_lgu(packed, (False, True, False, True)).train()
    mixers = find_mixers(decoder.base)
    assert [(m.training, m.out_proj.training) for m in mixers] == [(False, True)] * 2
    decoder(pack(random_ids([5]), [5])).sum().backward()
    assert all(m.out_proj.weight.grad is not None for m in mixers)
    assert not any(m.training for m in decoder.eval().modules())


@needs_5
def test_a_config_that_calls_recurrent_layers_attention_is_refused(monkeypatch):
    def call_all_attention(config):
        return (LayerKind.ATTENTION,) * config.num_hidden_layers

    monkeypatch.setattr(layer_check, "layer_kinds", call_all_attention)
    message = r"in layer 0, run as bidirectional .* position 5 moved positions \[5\] instead of"
    with pytest.raises(FamilyError, match=message):
        layer_check._check_directions(BY_TYPE["qwen3_5_text"].config())


@needs_5
@pytest.mark.parametrize("names", [["conv", "full_attention"], "conv conv", [1, 2, 3, 4]])
def test_kinds_for_too_few_layers_are_refused(names):
    config = BY_TYPE["lfm2"].config()
    object.__setattr__(config, "layer_types", names)
    with pytest.raises(ValueError, match=r"has 4 layers .* but layer_types is .* expected a kind"):
        layer_kinds(config)


def look_ahead(self, hidden_states, **kwargs):
    return hidden_states.roll(-1, dims=1)


@needs_5
def test_a_mixer_that_looks_ahead_is_refused(monkeypatch):
    from transformers.models.lfm2.modeling_lfm2 import Lfm2ShortConv

    monkeypatch.setattr(Lfm2ShortConv, "forward", look_ahead)
    message = r"in layer 0, run as causal .* change of position \d moved positions"
    with pytest.raises(FamilyError, match=message):
        layer_check._check_directions(BY_TYPE["lfm2"].config())


@needs_5
def test_the_self_test_finds_a_mixer_that_looks_ahead(monkeypatch):
    from transformers.models.lfm2.modeling_lfm2 import Lfm2ShortConv

    decoder = make_decoder(BY_TYPE["lfm2"], (False, True, False, True))
    check_decoder(decoder)
    monkeypatch.setattr(Lfm2ShortConv, "forward", look_ahead)
    with pytest.raises(ValueError, match="Layer 0 of the decoder should be causal, but a change"):
        check_decoder(decoder)


@needs_5
def test_a_mixer_that_leaks_is_refused(monkeypatch):
    monkeypatch.setattr(layer_check, "run_on_rectangles", find_mixers)
    message = "causal packed attention differs from the family's own attention by"
    with pytest.raises(FamilyError, match=message):
        check_layers(BY_TYPE["lfm2"].config())


@needs_5
@pytest.mark.parametrize("family", ["bamba", "granitemoehybrid"])
def test_decoders_without_any_softmax_attention_are_refused(family):
    message = f"'{family}' cannot be unmasked: none of its layers has softmax attention, so there"
    with pytest.raises(FamilyError, match=message):
        check_family(config_class(family)())


@needs_5
@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("jamba", "it does not tell its state-space layers where the sequences"),
        ("zamba2", "its layers share an attention block"),
        ("recurrent_gemma", "its recurrent layers keep their state where threads would share it"),
    ],
)
def test_hybrids_that_are_refused(family, reason):
    with pytest.raises(FamilyError, match=f"'{family}' cannot be unmasked: {reason}"):
        check_family(config_class(family)())


@needs_5
def test_an_adapter_equals_its_merged_weights():
    """So that fused kernels or rectangles pass none of it by."""
    import peft

    hybrid = BY_TYPE["qwen3_5_text"]
    packed, eager = make_pair(hybrid)
    unmasked, ids = (False, True, False, False), random_ids(PACKED_LENGTHS)
    config = peft.LoraConfig(r=2, target_modules=r".*\.(in_proj_qkv|out_proj|in_proj_a)")
    adapter = peft.get_peft_model(packed, config)
    for name, p in packed.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.3)
    with torch.no_grad():
        Y = make_lgu(packed, unmasked, adapter=adapter).train()(pack(ids, PACKED_LENGTHS))
        for name, module in packed.named_modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                target = eager.get_submodule(name)
                before = target.weight.clone()
                target.weight += module.get_delta_weight("default")
                assert relative_error(target.weight, before) > 0.1
        expected = run_alone(eager, hybrid, ids, PACKED_LENGTHS, unmasked)
    assert relative_error(Y, expected) < 2e-5
