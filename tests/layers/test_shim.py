"""The bridge to torch: modes, threads, averaged weights, copies, bytes."""

import copy
import os
import pickle
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy
import pytest
import torch
from numpy.testing import assert_allclose
from thinc.api import SGD, Adam
from tokenizers import Tokenizer

from spacy_lgu.decoder.decoder import LGUDecoder

from ..conftest import build_layer, make_layer

IDS = numpy.array([0, 40, 41, 42, 0, 50, 51, 0, 60, 61, 62, 63])
LENGTHS = numpy.array([4, 3, 5])
INPUTS = (IDS, LENGTHS)


def make_shim(folder, **options):
    return make_layer(folder, **options).shims[0]


def train_step(shim, optimizer=None, seed=0):
    """One update with random gradients. RETURNS: The gradients of all trained weights."""
    torch.manual_seed(seed)
    Y, backprop = shim.begin_update(INPUTS)
    backprop(torch.from_numpy(numpy.random.default_rng(seed).normal(size=Y.shape)).float())
    trainable = shim.ready.decoder.trainable()
    gradients = {name: p.grad.clone() for name, p in trainable if p.grad is not None}
    if optimizer is not None:
        shim.finish_update(optimizer)
    else:
        for _, parameter in trainable:
            parameter.grad = None
    return gradients


def weights(shim):
    return {name: p.detach().clone() for name, p in shim.ready.decoder.named_parameters()}


def test_auto_does_not_change_where_a_text_is_cut():
    for window, context, expected in ((None, 10_000, 4096), (None, 64, 64), (5000, 10_000, 5000)):
        shim = build_layer("no/decoder", window=window).shims[0]
        assert shim.max_batch_items == "auto"
        assert shim.find_window(SimpleNamespace(max_position_embeddings=context)) == expected


# Modes and threads.


def test_predicting_in_threads_never_switches_modes(decoder_folder, monkeypatch):
    shim = make_shim(decoder_folder, lora_dropout=0.5)
    expected = shim.predict(INPUTS)
    switches = []
    original = LGUDecoder.train

    def train(decoder, mode=True):
        switches.append(mode)
        return original(decoder, mode)

    monkeypatch.setattr(LGUDecoder, "train", train)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(shim.predict, [INPUTS] * 40))
    assert switches == []
    assert not shim.ready.decoder.training
    for Y in results:
        assert_allclose(Y, expected, atol=1e-5)


def test_first_predictions_after_training_wait_for_evaluation_mode(decoder_folder):
    shim = make_shim(decoder_folder, lora_dropout=0.5)
    expected = shim.predict(INPUTS)
    shim.begin_update(INPUTS)
    base = shim.ready.decoder.base
    original = base.train

    def slow_train(mode=True):
        time.sleep(0.05)  # The decoder says it is in evaluation mode, its layers are not yet.
        return original(mode)

    base.train = slow_train
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(shim.predict, [INPUTS] * 8))
    for Y in results:
        assert_allclose(Y, expected, atol=1e-5)


def test_training_has_dropout_and_evaluation_has_none(decoder_folder):
    shim = make_shim(decoder_folder, lora_dropout=0.5)
    expected = shim.predict(INPUTS)
    torch.manual_seed(0)
    trained, _ = shim(INPUTS, is_train=True)
    assert (trained - expected).abs().max() > 0.05
    predicted, backprop = shim(INPUTS, is_train=False)
    assert (predicted == expected).all()
    assert backprop(predicted) is None


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_evaluating_between_steps_leaves_the_gradients_alone(decoder_folder, quantization):
    shim = make_shim(decoder_folder, quantization=quantization, lora_dropout=0.1)
    without = train_step(shim)
    before = shim.predict(INPUTS)
    with_evaluation = train_step(shim)
    assert len(without) == 16
    assert without.keys() == with_evaluation.keys()
    for name, gradient in without.items():
        assert gradient.abs().sum() > 0
        assert_allclose(with_evaluation[name], gradient, atol=1e-5, err_msg=name)
    assert (shim.predict(INPUTS) == before).all()


def test_a_child_process_uses_one_thread(decoder_folder, monkeypatch):
    shim = make_shim(decoder_folder)
    threads = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    shim.predict(INPUTS)
    assert threads == []
    shim._process = -1  # as if made in a parent process
    shim.predict(INPUTS)
    shim.predict(INPUTS)
    assert threads == [1]
    assert shim._process == os.getpid()


def test_a_child_process_cannot_use_the_gpu(decoder_folder, monkeypatch):
    shim = make_shim(decoder_folder)
    shim._process = -1
    monkeypatch.setattr(LGUDecoder, "device", torch.device("cuda", 0))
    with pytest.raises(RuntimeError, match=r"n_process > 1 cannot use.*Use n_process=1"):
        shim.predict(INPUTS)


# Training.


def test_finish_update_steps_what_is_trained_and_nothing_else(decoder_folder):
    shim = make_shim(decoder_folder)
    before = weights(shim)
    gradients = train_step(shim, SGD(0.1, L2=0, grad_clip=0, use_averages=False))
    after = weights(shim)
    for name in before:
        if "lora_" in name:
            assert_allclose(after[name], before[name] - 0.1 * gradients[name], atol=1e-5)
        else:
            assert (after[name] == before[name]).all()
    assert all(p.grad is None for p in shim.ready.decoder.parameters())
    # Without gradients nothing moves.
    shim.finish_update(SGD(0.1))
    assert all((weights(shim)[name] == after[name]).all() for name in after)


def test_weights_stay_leaves_that_can_be_trained(decoder_folder):
    shim = make_shim(decoder_folder, tuning="full")
    optimizer = Adam(0.01, use_averages=False)
    for _ in range(2):
        assert len(train_step(shim, optimizer)) == 38
    assert all(p.requires_grad and p.is_leaf for p in shim.ready.decoder.parameters())


def test_a_frozen_decoder_has_nothing_to_train(decoder_folder):
    shim = make_shim(decoder_folder, tuning="frozen")
    before = weights(shim)
    Y, backprop = shim.begin_update(INPUTS)
    backprop(Y)
    shim.finish_update(SGD(0.1))
    assert not shim.ready.decoder.training
    assert all((weights(shim)[name] == before[name]).all() for name in before)


def test_averaged_weights_are_used_for_a_while(decoder_folder):
    shim = make_shim(decoder_folder)
    optimizer = Adam(0.05, use_averages=True)
    for seed in range(3):
        train_step(shim, optimizer, seed)
    latest, name = shim.predict(INPUTS), shim.ready.decoder.trainable()[0][0]
    kept = weights(shim)
    with shim.use_params(optimizer.averages):
        average = optimizer.averages[shim.id, name]
        assert_allclose(weights(shim)[name], average)
        assert not numpy.allclose(kept[name], average, atol=1e-3)
        averaged = shim.predict(INPUTS)
        shim.ready.decoder.trainable()[0][1].data.zero_()
        assert numpy.abs(average).max() > 0  # the optimizer's array is not ours to change
    assert (averaged - latest).abs().max() > 1e-3
    assert (shim.predict(INPUTS) == latest).all()
    assert all((weights(shim)[name] == kept[name]).all() for name in kept)


def test_averaged_weights_are_given_back_after_an_error(decoder_folder):
    shim = make_shim(decoder_folder)
    optimizer = Adam(0.05, use_averages=True)
    train_step(shim, optimizer)
    train_step(shim, optimizer)
    kept = weights(shim)
    with pytest.raises(KeyError), shim.use_params(optimizer.averages):
        raise KeyError
    assert all((weights(shim)[name] == kept[name]).all() for name in kept)


def test_averages_of_other_weights_change_nothing(decoder_folder):
    shim = make_shim(decoder_folder)
    before = shim.predict(INPUTS)
    name = shim.ready.decoder.trainable()[0][0]
    with shim.use_params({(shim.id + 1000, name): numpy.ones(3), (shim.id, "W"): numpy.ones(3)}):
        assert (shim.predict(INPUTS) == before).all()


def test_averages_before_there_are_weights(decoder_folder):
    model = build_layer(decoder_folder)
    with model.shims[0].use_params({}):
        assert model.shims[0].built is None


# Copies, bytes, devices.


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_a_copy_shares_what_is_frozen_and_nothing_else(decoder_folder, quantization):
    shim = make_shim(decoder_folder, quantization=quantization)
    shim.max_batch_items, shim.base_weights = 17, "reference"
    before = shim.predict(INPUTS)
    copied = shim.copy()
    assert (copied.predict(INPUTS) == before).all()
    assert (copied.max_batch_items, copied.base_weights) == (17, "reference")
    assert copied.id != shim.id
    own = dict(shim.ready.decoder.named_parameters())
    for name, parameter in copied.ready.decoder.named_parameters():
        shared = parameter.data_ptr() == own[name].data_ptr()
        assert shared != ("lora_" in name), name
    train_step(copied, SGD(0.1))
    assert (shim.predict(INPUTS) == before).all()
    assert (copied.predict(INPUTS) - before).abs().max() > 1e-3


def test_a_copy_of_a_fully_trained_decoder_shares_no_weight(decoder_folder):
    shim = make_shim(decoder_folder, tuning="full")
    copied = shim.copy()
    own = {p.data_ptr() for p in shim.ready.decoder.parameters()}
    assert not own & {p.data_ptr() for p in copied.ready.decoder.parameters()}
    assert (copied.predict(INPUTS) == shim.predict(INPUTS)).all()


def test_a_copy_before_there_are_weights(decoder_folder):
    model = build_layer(decoder_folder)
    assert model.copy().shims[0].built is None


@pytest.mark.parametrize(
    ("tuning", "quantization"), [("lora", "none"), ("lora", "nf4"), ("full", "none")]
)
def test_bytes_restore_what_was_trained(decoder_folder, tuning, quantization):
    trained = make_layer(decoder_folder, tuning=tuning, quantization=quantization)
    train_step(trained.shims[0], SGD(0.1))
    untrained = build_layer(decoder_folder, tuning=tuning, quantization=quantization)
    restored = untrained.from_bytes(trained.to_bytes())
    assert restored.get_dim("nO") == 64
    expected = trained.shims[0].predict(INPUTS)
    assert_allclose(restored.shims[0].predict(INPUTS), expected, atol=1e-5)
    untrained = make_layer(decoder_folder, tuning=tuning, quantization=quantization, adapter=False)
    assert (untrained.shims[0].predict(INPUTS) - expected).abs().max() > 1e-2


def test_restored_weights_can_be_trained_on(decoder_folder):
    trained = make_layer(decoder_folder)
    model = build_layer(decoder_folder)
    restored = model.from_bytes(trained.to_bytes()).shims[0]
    expected = train_step(trained.shims[0])
    for name, gradient in train_step(restored).items():
        assert_allclose(gradient, expected[name], atol=1e-5)


def test_bytes_before_there_are_weights(decoder_folder):
    empty = build_layer(decoder_folder)
    restored = build_layer(decoder_folder)
    assert restored.from_bytes(empty.to_bytes()).shims[0].built is None


def test_the_tokenizer_neither_truncates_nor_pads(decoder_folder, tmp_path):
    shutil.copytree(decoder_folder, tmp_path / "decoder")
    path = str(tmp_path / "decoder" / "tokenizer.json")
    saved = Tokenizer.from_file(path)
    saved.enable_truncation(3)
    saved.enable_padding(length=9)
    saved.save(path)
    shim = make_shim(tmp_path / "decoder")
    restored = build_layer(tmp_path / "decoder").shims[0].from_bytes(shim.to_bytes())
    for tokenizer in (shim.ready.tokenizer, restored.ready.tokenizer):
        assert len(tokenizer.backend_tokenizer.encode("a b c d").ids) == 5 + 3


def test_a_loaded_decoder_stays_on_its_device(decoder_folder):
    layer = make_layer(decoder_folder)
    layer.to_cpu()
    with pytest.raises(ValueError, match="is on cpu and cannot be moved to cuda:0 once loaded"):
        layer.shims[0].to_device("gpu", 0)
    empty = build_layer(decoder_folder)
    empty.shims[0].to_device("gpu", 0)


def test_predicting_between_forward_and_backward_changes_no_gradient(decoder_folder):
    found = []
    for options in ({}, {"gradient_checkpointing": True}):
        shim = make_shim(decoder_folder, lora_dropout=0.5, **options)
        torch.manual_seed(0)
        Y, backprop = shim.begin_update(INPUTS)
        shim.predict(INPUTS)
        backprop(torch.ones_like(Y))
        found.append({name: p.grad for name, p in shim.ready.decoder.trainable()})
    for name, gradient in found[0].items():
        assert_allclose(found[1][name], gradient, atol=1e-5)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_deep_copies_and_pickles_are_decoders_of_their_own(decoder_folder, duplicate):
    shim = make_shim(decoder_folder)
    shim.set_options(max_batch_items=77, base_weights="bundle")
    expected = shim.predict(INPUTS)
    other = duplicate(shim)
    assert (other.max_batch_items, other.base_weights) == (77, "bundle")
    assert other.settings == shim.settings
    assert torch.equal(other.predict(INPUTS), expected)
    train_step(other, SGD(1.0))
    assert not torch.equal(other.predict(INPUTS), expected)
    assert torch.equal(shim.predict(INPUTS), expected)


def test_a_shim_without_weights_is_pickled(decoder_folder):
    shim = build_layer(decoder_folder).shims[0]
    assert pickle.loads(pickle.dumps(shim)).built is None


def test_new_processes_share_the_cores_and_use_no_gpu(decoder_folder, monkeypatch):
    shim = make_shim(decoder_folder)
    data, state = pickle.dumps(shim), shim.__getstate__()
    n_threads = []
    monkeypatch.setattr(torch, "set_num_threads", n_threads.append)
    pickle.loads(data)
    assert n_threads == []
    monkeypatch.setattr("multiprocessing.parent_process", lambda: "a process")
    pickle.loads(data)
    assert n_threads == [1]
    with pytest.raises(RuntimeError, match="is on a GPU, which n_process > 1 cannot use"):
        shim.__setstate__({**state, "device": "cuda"})
    # Pickled where there was a GPU, and read by itself.
    monkeypatch.setattr("multiprocessing.parent_process", lambda: None)
    shim.__setstate__({**state, "device": "cuda"})
    assert shim.ready.decoder.device.type == "cpu"


def test_half_precision_is_not_trained(decoder_folder):
    shim = make_shim(decoder_folder)
    shim.ready.decoder.dtype = "float16"
    with pytest.raises(ValueError, match=r"'float16' cannot train.*Load the pipeline with"):
        shim.begin_update(INPUTS)


def test_another_decoder_has_a_pass_and_copies_of_its_own(decoder_folder, monkeypatch):
    found = iter([100, 200])
    monkeypatch.setattr("spacy_lgu.layers.shim.find_items", lambda decoder: next(found))
    shim = make_layer(decoder_folder).shims[0]
    assert (shim.find_items(), shim.find_items()) == (100, 100)
    shim.set_built(shim.ready)
    assert shim.find_items() == 200


def test_a_search_may_repeat_less_than_the_settings_say(decoder_folder):
    shim = make_layer(decoder_folder, repeat=3).shims[0]
    config = SimpleNamespace(max_position_embeddings=64)
    assert shim.find_window(config) == 16
    shim.ready.decoder.repeat = 1
    assert shim.find_window(config) == 32


def test_a_copy_knows_that_it_was_trained(decoder_folder):
    layer = make_layer(decoder_folder)
    layer.shims[0].is_trained = True
    assert layer.copy().shims[0].is_trained
