"""The decoder's own optimizer under thinc: rates, averages, accumulation, copies, errors."""

import numpy
import pytest
import spacy
import torch
from numpy.testing import assert_allclose
from spacy.util import registry
from thinc.api import SGD, Adam

from spacy_lgu.decoder.settings import AdamWSettings

from ..conftest import build_layer, entity_examples, layer_config, make_layer, make_nlp, update_nlp
from .test_shim import INPUTS, train_step, weights

RATES = [0.01, 0.02, 0.005, 0.001]


def adamw_config(**values):
    return {"@misc": "spacy-lgu.adamw.v1", **values}


def make_shim(folder, *, optimizer=None, **options):
    return make_layer(folder, optimizer=adamw_config(**(optimizer or {})), **options).shims[0]


def step(shim, optimizer, *, seed):
    """One training step as `spacy train` makes it."""
    gradients = train_step(shim, seed=seed)
    for name, parameter in shim.ready.decoder.trainable():
        parameter.grad = gradients[name]
    shim.finish_update(optimizer)
    optimizer.step_schedules()


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_steps_are_those_of_torch(decoder_folder, tuning):
    """A loop in plain torch: rates of the schedule, global norm, decay of matrices only."""
    values = {"learn_rate_factor": 0.5, "grad_clip": 0.3}
    shim = make_shim(decoder_folder, tuning=tuning, optimizer=values)
    reference = make_shim(decoder_folder, tuning=tuning)
    # thinc's own settings, weight decay among them, are for the head.
    optimizer = Adam(iter([*RATES, 0.0]), L2=0.7, grad_clip=0.001, use_averages=False)
    parameters = [p for _, p in reference.ready.decoder.trainable()]
    matrices, vectors = ([p for p in parameters if (p.ndim > 1) == flag] for flag in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.1}]
    groups += [{"params": vectors, "weight_decay": 0.0}] if vectors else []
    plain = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), eps=1e-5)
    for seed, rate in enumerate(RATES):
        step(shim, optimizer, seed=seed)
        Y, backprop = reference.begin_update(INPUTS)
        backprop(torch.from_numpy(numpy.random.default_rng(seed).normal(size=Y.shape)).float())
        torch.nn.utils.clip_grad_norm_(parameters, 0.3)
        for group in plain.param_groups:
            group["lr"] = 0.5 * rate
        plain.step()
        plain.zero_grad()
    expected = weights(reference)
    assert len(vectors) == (9 if tuning == "full" else 0)
    for name, found in weights(shim).items():
        assert_allclose(found, expected[name], atol=2e-6, err_msg=name)
    assert not optimizer.nr_update
    assert all(p.grad is None for p in shim.ready.decoder.parameters())


def test_norms_are_not_decayed_in_full_tuning(decoder_folder):
    shim = make_shim(decoder_folder, tuning="full", optimizer={"weight_decay": 0.5})
    before = weights(shim)
    for _, parameter in shim.ready.decoder.trainable():
        parameter.grad = torch.zeros_like(parameter)
    shim.finish_update(SGD(0.1))
    for name, after in weights(shim).items():
        factor = 1.0 if "norm" in name else 0.95
        assert_allclose(after, factor * before[name], rtol=1e-6, err_msg=name)


def test_nothing_happens_without_gradients(decoder_folder):
    shim = make_shim(decoder_folder)
    before = weights(shim)
    shim.finish_update(Adam(0.1))
    assert all((weights(shim)[name] == before[name]).all() for name in before)
    frozen = make_shim(decoder_folder, tuning="frozen", optimizer={"paged_8bit": True})
    Y, backprop = frozen.begin_update(INPUTS)
    backprop(Y)
    frozen.finish_update(Adam(0.1))
    assert all(p.grad is None for p in frozen.ready.decoder.parameters())


def test_averages_are_those_of_the_weights(decoder_folder):
    shim = make_shim(decoder_folder)
    optimizer = Adam(0.05, use_averages=True)
    name, parameter = shim.ready.decoder.trainable()[0]
    expected = numpy.zeros(parameter.shape)
    for seed in range(4):
        step(shim, optimizer, seed=seed)
        # thinc's decay: the share of the past is (1 + t) / (10 + t), at most 0.9999.
        decay = min((2 + seed) / (11 + seed), 0.9999)
        expected = decay * expected + (1 - decay) * parameter.detach().numpy()
    assert_allclose(optimizer.averages[shim.id, name], expected, atol=1e-6)
    latest, kept = shim.predict(INPUTS), weights(shim)
    with shim.use_params(optimizer.averages):
        assert_allclose(weights(shim)[name], expected, atol=1e-6)
        assert (shim.predict(INPUTS) - latest).abs().max() > 1e-3
    assert (shim.predict(INPUTS) == latest).all()
    step(shim, optimizer, seed=9)
    assert any((weights(shim)[name] != kept[name]).any() for name in kept)


def test_a_copy_has_a_state_of_its_own(decoder_folder):
    shim, alone = make_shim(decoder_folder), make_shim(decoder_folder)
    optimizer = Adam(0.01, use_averages=False)
    for seed in range(2):
        step(shim, optimizer, seed=seed)
    copied = shim.copy()
    assert copied.settings.optimizer == AdamWSettings()
    alone.from_bytes(shim.to_bytes())
    before = weights(shim)
    step(copied, optimizer, seed=2)
    step(alone, optimizer, seed=2)
    # The copy begins as newly loaded weights do, and leaves the original alone.
    for name, found in weights(copied).items():
        assert_allclose(found, weights(alone)[name], atol=1e-6)
        assert (weights(shim)[name] == before[name]).all()
    step(shim, optimizer, seed=2)
    moved = weights(shim)
    assert any((moved[name] != found).any() for name, found in weights(copied).items())


def test_loaded_weights_are_stepped(decoder_folder):
    shim = make_shim(decoder_folder)
    optimizer = Adam(0.01, use_averages=False)
    step(shim, optimizer, seed=0)
    shim.from_bytes(shim.to_bytes())
    before = weights(shim)
    step(shim, optimizer, seed=1)
    assert any((weights(shim)[name] != before[name]).any() for name in before)


def test_8_bits_are_refused_before_anything_is_loaded_or_computed(decoder_folder, monkeypatch):
    message = r"paged_8bit = true needs a CUDA GPU, but the decoder is on cpu"
    layer = build_layer(decoder_folder, optimizer=adamw_config(paged_8bit=True))
    with monkeypatch.context() as patch:
        patch.setattr("spacy_lgu.layers.shim.build_decoder", None)
        with pytest.raises(ValueError, match=message):
            layer.initialize()
    # What was trained on a GPU predicts on a CPU, and says so when it is to be trained there.
    layer.from_bytes(make_layer(decoder_folder).to_bytes())
    shim = layer.shims[0]
    assert shim.predict(INPUTS).shape == (12, 64)
    with pytest.raises(ValueError, match=message):
        shim.begin_update(INPUTS)


def test_builder_and_config():
    built = registry.resolve({"optimizer": adamw_config(grad_clip=2.0)})["optimizer"]
    assert built == AdamWSettings(grad_clip=2.0)
    nlp = spacy.blank("en")
    config = {"model": {"optimizer": adamw_config(learn_rate_factor=0.1)}}
    shim = nlp.add_pipe("lgu_transformer", config=config).shim
    assert shim.settings.optimizer.learn_rate_factor == 0.1
    with pytest.raises(ValueError, match="learn_rate_factor must be positive, but is -1"):
        nlp.add_pipe(
            "lgu_transformer",
            name="other",
            config={"model": {"optimizer": adamw_config(learn_rate_factor=-1)}},
        )


# In a pipeline.


def trained(folder, *, accumulate=1, **values):
    nlp = make_nlp(folder, pipes=("tagger",), optimizer=adamw_config(**values))
    optimizer = Adam(0.01, use_averages=False, L2=0.0, grad_clip=0)
    examples = entity_examples(nlp)
    for _ in range(3):
        for i in range(accumulate):
            nlp.update(examples[i::accumulate], sgd=False)
        for name in ("transformer", "tagger"):
            nlp.get_pipe(name).finish_update(optimizer)
    return nlp


def test_accumulated_gradients_are_one_step(decoder_folder):
    whole, parts = trained(decoder_folder), trained(decoder_folder, accumulate=2)
    for name, found in weights(parts.get_pipe("transformer").shim).items():
        assert_allclose(found, weights(whole.get_pipe("transformer").shim)[name], atol=1e-4)


def test_the_head_keeps_the_rate_of_the_training(decoder_folder):
    slow, fast = (trained(decoder_folder, learn_rate_factor=f) for f in (1e-9, 1.0))
    start = make_nlp(decoder_folder, pipes=("tagger",))
    kept, moved = (weights(nlp.get_pipe("transformer").shim) for nlp in (slow, fast))
    for name, before in weights(start.get_pipe("transformer").shim).items():
        assert_allclose(kept[name], before, atol=1e-6)
        assert ("lora_" in name) == bool((moved[name] - before).abs().max() > 1e-3)
    heads = [nlp.get_pipe("tagger").model.get_ref("softmax") for nlp in (start, slow)]
    assert numpy.abs(heads[0].get_param("W") - heads[1].get_param("W")).max() > 0.01


def test_trained_sourced_and_replaced(decoder_folder, tmp_path):
    nlp = trained(decoder_folder)
    expected = nlp("Ann ate naan")._.trf_data.model_output.last_hidden_state
    nlp.to_disk(tmp_path)
    other = spacy.blank("en")
    for name in ("transformer", "tagger"):
        other.add_pipe(name, source=spacy.load(tmp_path))
    found = other("Ann ate naan")._.trf_data.model_output.last_hidden_state
    assert_allclose(found, expected, atol=1e-5)
    other.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    tok2vec = other.config["components"]["tagger"]["model"]["tok2vec"]
    assert tok2vec["optimizer"]["@misc"] == "spacy-lgu.adamw.v1"
    (inside,) = (shim for node in other.get_pipe("tagger").model.walk() for shim in node.shims)
    before = weights(inside)
    left_alone = weights(other.get_pipe("transformer").shim)
    update_nlp(
        other, entity_examples(other), Adam(0.01, use_averages=False), exclude=("transformer",)
    )
    assert any((weights(inside)[name] != before[name]).any() for name in before)
    for name, weight in weights(other.get_pipe("transformer").shim).items():
        assert (weight == left_alone[name]).all()


def test_inside_another_pipe(decoder_folder):
    tok2vec = layer_config(decoder_folder, optimizer=adamw_config(learn_rate_factor=3.0))
    tok2vec["@architectures"] = "spacy-lgu.Tok2VecLGU.v1"
    tok2vec["pooling"] = {"@layers": "reduce_mean.v1"}
    model = registry.resolve({"model": tok2vec})["model"]
    (shim,) = (shim for node in model.walk() for shim in node.shims)
    assert shim.settings.optimizer == AdamWSettings(learn_rate_factor=3.0)
