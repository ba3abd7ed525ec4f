"""LoRA's variants and LoRA+ under thinc: what is stepped, averaged, copied and packed in bytes."""

import copy
import pickle

import numpy
import pytest
import torch
from numpy.testing import assert_allclose
from thinc.api import SGD, Adam

from ..conftest import build_layer, make_layer
from .test_shim import INPUTS, train_step, weights
from .test_shim_optimizer import make_shim, step

VARIANTS = ["rslora", "dora"]


def make_trained(folder, variant, **options):
    """A shim after two steps of thinc's optimizer."""
    shim = make_layer(folder, lora_variant=variant, **options).shims[0]
    for seed in (0, 1):
        train_step(shim, Adam(0.05), seed=seed)
    return shim


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_all_of_dora_is_stepped_and_nothing_else(decoder_folder, quantization):
    shim = make_layer(decoder_folder, lora_variant="dora", quantization=quantization).shims[0]
    before = weights(shim)
    gradients = train_step(shim, SGD(0.1, grad_clip=0.0))
    assert sum("magnitude" in name for name in gradients) == 8
    for name, after in weights(shim).items():
        if name in gradients:
            expected = before[name] - 0.1 * gradients[name]
            torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(after, before[name]), name


def test_evaluating_between_steps_leaves_the_gradients_of_dora_alone(decoder_folder):
    for quantization in ("nf4", "int8"):
        shim = make_trained(decoder_folder, "dora", quantization=quantization)
        expected = train_step(shim, seed=7)
        shim.predict(INPUTS)
        found = train_step(shim, seed=7)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6)


def test_averaged_magnitudes_are_used_for_a_while(decoder_folder):
    shim = make_layer(decoder_folder, lora_variant="dora").shims[0]
    optimizer = Adam(0.05, use_averages=True)
    for seed in range(3):
        train_step(shim, optimizer, seed=seed)
    latest = shim.predict(INPUTS)
    name = next(name for name, _ in shim.ready.decoder.trainable() if "magnitude" in name)
    with shim.use_params(optimizer.averages):
        assert_allclose(weights(shim)[name], optimizer.averages[shim.id, name])
        assert (shim.predict(INPUTS) - latest).abs().max() > 1e-3
    assert torch.equal(shim.predict(INPUTS), latest)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_copies_and_bytes(decoder_folder, variant, quantization):
    shim = make_trained(decoder_folder, variant, quantization=quantization)
    expected = shim.predict(INPUTS)
    restored = build_layer(decoder_folder, lora_variant=variant, quantization=quantization).shims[0]
    restored.from_bytes(shim.to_bytes())
    others = [shim.copy(), copy.deepcopy(shim), pickle.loads(pickle.dumps(shim)), restored]
    for other in others:
        assert_allclose(other.predict(INPUTS), expected, atol=1e-6)
    kept = weights(shim)
    for other in others:
        train_step(other, Adam(0.05), seed=9)
        assert (other.predict(INPUTS) - expected).abs().max() > 1e-3
    assert torch.equal(shim.predict(INPUTS), expected)
    assert all(torch.equal(value, kept[name]) for name, value in weights(shim).items())


@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_steps_of_lora_plus_are_those_of_torch(decoder_folder, variant):
    values = {"lora_plus_ratio": 4.0, "weight_decay": 0.1, "grad_clip": 0.3}
    shim = make_shim(decoder_folder, lora_variant=variant, optimizer=values)
    reference = make_shim(decoder_folder, lora_variant=variant)
    named = reference.ready.decoder.trainable()
    groups = [
        {"params": [p for n, p in named if "lora_A" in n], "weight_decay": 0.1, "lr": 0.01},
        {"params": [p for n, p in named if "lora_B" in n], "weight_decay": 0.1, "lr": 0.04},
        {"params": [p for n, p in named if "magn" in n], "weight_decay": 0.0, "lr": 0.01},
    ]
    assert [len(group["params"]) for group in groups] == [8, 8, 8 if variant == "dora" else 0]
    plain = torch.optim.AdamW([g for g in groups if g["params"]], betas=(0.9, 0.95), eps=1e-5)
    optimizer = Adam(0.01)
    for seed in range(4):
        step(shim, optimizer, seed=seed)
        Y, backprop = reference.begin_update(INPUTS)
        backprop(torch.from_numpy(numpy.random.default_rng(seed).normal(size=Y.shape)).float())
        torch.nn.utils.clip_grad_norm_([p for _, p in named], 0.3)
        plain.step()
        plain.zero_grad()
    expected = weights(reference)
    for name, found in weights(shim).items():
        assert_allclose(found, expected[name], atol=2e-6, err_msg=name)
