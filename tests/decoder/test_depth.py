"""The first layers of a decoder alone: config, weights, modules, saves."""

import pytest
import torch
from torch.testing import assert_close
from transformers import CONFIG_MAPPING, AutoModel

from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.decoder.depth import check_depth, cut_config, find_unused, first_layers
from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.decoder.settings import LoraSettings
from spacy_lgu.unmasking import unmask_layers

from ..conftest import IS_5
from . import hybrids
from .helpers import (
    BATCH,
    CPU,
    IDS,
    LENGTHS,
    build,
    check,
    gradients,
    shake,
    vectors,
)
from .reference import BY_NAME, make_pair, random_ids, relative_error, run_reference
from .reference_families import FAMILIES, N_LAYERS

# What Cohere 2 of transformers 4.53 says whenever its config is read.
pytestmark = pytest.mark.filterwarnings("ignore:The `sliding_window_pattern` attr:FutureWarning")
MIXED = [5, 1, 8, 3]
# Refused at any depth but the whole.
BY_DEPTH = {
    "gemma4": r"transformers reads layer_types as \[",
    "minicpm3": r"its layers compute by how many there are: vectors differ by",
}


# Configs.


def test_config_by_eye():
    config = CONFIG_MAPPING["qwen2"](
        num_hidden_layers=4, use_sliding_window=True, sliding_window=8, max_window_layers=2
    )
    config.transformers_version = "4.51.0"
    config.eos_token_id = [3, 4, 5, 6]
    cut = cut_config(config, 3, where="here")
    assert cut.num_hidden_layers == 3
    assert cut.layer_types == ["full_attention", "full_attention", "sliding_attention"]
    assert (cut.transformers_version, cut.eos_token_id) == ("4.51.0", [3, 4, 5, 6])
    assert (config.num_hidden_layers, len(config.layer_types)) == (4, 4)
    assert cut_config(config, None, where="here") is config
    assert cut_config(config, 4, where="here") is config


@pytest.mark.parametrize("n_layers", [0, 5])
def test_a_depth_that_the_decoder_does_not_have(n_layers):
    config = BY_NAME["llama"].config()
    message = f"n_layers is {n_layers}, but the decoder 'here' has 4 layers: expected 1 to 4, or nu"
    with pytest.raises(ValueError, match=message):
        cut_config(config, n_layers, where="here")
    with pytest.raises(ValueError, match="n_layers is"):
        first_layers(AutoModel.from_config(config), n_layers)


def test_nothing_else_of_a_config_changes():
    for family in FAMILIES:
        config = family.config()
        if family.name == "gemma4":
            continue
        before, after = config.to_dict(), cut_config(config, 3, where="here").to_dict()
        for name in before.keys() | after.keys():
            if before.get(name) != after.get(name):
                value = before[name]
                assert after[name] == (3 if name == "num_hidden_layers" else value[:3]), name


@pytest.mark.skipif(not IS_5, reason="transformers 4.53 has no Gemma 4")
def test_a_family_that_wants_a_certain_layer_at_the_end():
    config = BY_NAME["gemma4"].config(hidden_size_per_layer_input=0)
    message = (
        r"gemma4_text' cannot be cut to n_layers = 3: transformers reads layer_types as .*full"
    )
    with pytest.raises(ValueError, match=message):
        cut_config(config, 3, where="here")
    kinds = ["sliding_attention", "full_attention"] * 2
    config = BY_NAME["gemma4"].config(hidden_size_per_layer_input=0, layer_types=kinds)
    check_depth(config, cut_config(config, 2, where="here"))
    config = BY_NAME["gemma4"].config(layer_types=kinds)
    message = r"size of its weight 'embed_tokens_per_layer\.weight' depends on it"
    with pytest.raises(ValueError, match=message):
        check_depth(config, cut_config(config, 2, where="here"))


@pytest.mark.skipif(not IS_5, reason="transformers 4.53 has one size for all layers")
def test_sizes_of_single_layers():
    config = CONFIG_MAPPING["llama"](
        num_hidden_layers=4,
        per_layer_config={1: {"intermediate_size": 8}, 3: {"intermediate_size": 16}},
    )
    cut = cut_config(config, 2, where="here")
    assert [layer.intermediate_size for layer in cut.per_layer_config] == [11008, 8]


def test_names_of_layers_that_are_left_out():
    unused = find_unused(["layers.0.a", "layers.1.experts.0.a", "norm.weight"], 2, 12)
    names = ["layers.1.a", "layers.2.a", "layers.11.experts.0.a", "layers.12.a", "norm.weight"]
    assert [bool(unused.fullmatch(name)) for name in names] == [False, True, True, False, False]


# Vectors.


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_every_depth_equals_a_decoder_of_so_many_layers(family):
    packed, eager = make_pair(family)
    ids = random_ids(MIXED)
    batch = PackedBatch.pack(ids, MIXED, device=CPU)
    whole = LGUDecoder(packed, unmasked=(False,) * N_LAYERS, dtype="float32")
    config = family.config()
    for n_layers, pattern in ((1, "b"), (2, "cb"), (3, "bc")):
        if family.name in BY_DEPTH:
            with pytest.raises(
                ValueError, match=f"n_layers = {n_layers}: .*{BY_DEPTH[family.name]}"
            ):
                check_depth(config, cut_config(config, n_layers, where="here"))
            continue
        cut = cut_config(config, n_layers, where="here")
        check_depth(config, cut)
        short = AutoModel.from_config(cut, attn_implementation="eager").eval()
        names = short.state_dict().keys()
        short.load_state_dict({n: t for n, t in eager.state_dict().items() if n in names})
        unmasked = unmask_layers(pattern, n_layers)
        with torch.no_grad():
            expected = run_reference(short, family.windows[:n_layers], ids, MIXED, unmasked)
            assert relative_error(whole.under(pattern, n_layers)(batch), expected) < 1e-5


@pytest.mark.parametrize("hybrid", hybrids.HYBRIDS, ids=lambda hybrid: hybrid.model_type)
def test_every_depth_of_a_hybrid(hybrid):
    packed, eager = hybrids.make_pair(hybrid)
    ids = random_ids(MIXED)
    whole = hybrids.make_lgu(packed, (False,) * 4)
    cut = cut_config(hybrid.config(), 2, where="here")
    check_depth(hybrid.config(), cut)
    short = AutoModel.from_config(cut, attn_implementation="eager").eval()
    names = short.state_dict().keys()
    short.load_state_dict({n: t for n, t in eager.state_dict().items() if n in names})
    with torch.no_grad():
        decoder = whole.under("cb", 2)
        expected = hybrids.run_alone(short, hybrid, ids, MIXED, decoder.unmasked)
        Y = decoder(PackedBatch.pack(ids, MIXED, device=CPU))
    assert decoder.unmasked == (False, True)
    assert relative_error(Y, expected) < 1e-5


@pytest.mark.parametrize("hybrid", hybrids.THREE, ids=lambda hybrid: hybrid.model_type)
def test_a_hybrid_without_attention_in_its_first_layers(hybrid, tmp_path):
    folder = hybrids.save_hybrid(tmp_path, hybrid)
    message = r"cut to n_layers = 1: the first layer with softmax attention, .*, is layer 1\."
    with pytest.raises(ValueError, match=message):
        check(folder, unmasking="b", n_layers=1)


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_loaded_as_deep_as_it_is_run(decoder_folder, quantization):
    options = {"quantization": quantization, "tuning": "frozen"}
    whole = build(decoder_folder, **options)
    short = build(decoder_folder, unmasking="cb", n_layers=3, **options)
    Y = whole.decoder.under("cb", 3).predict(IDS, LENGTHS, 1000)
    assert_close(vectors(short), Y)
    assert not torch.allclose(vectors(whole), Y, atol=1e-2)
    assert short.decoder.unmasked == (False, False, True)
    # Other tensors: a base is shared among decoders of one depth.
    assert short.shared is not whole.shared
    again = build(decoder_folder, unmasking="bc", n_layers=3, **options)
    assert again.shared is short.shared


def test_gradients_and_targets_are_those_of_the_layers_that_are_used(decoder_folder):
    lora = LoraSettings(rank=2, dropout=0.0, modules="all-linear")
    built = build(decoder_folder, unmasking="cb", n_layers=2, lora=lora)
    found = gradients(built.decoder)
    assert {name.split("layers.")[1][0] for name in found} == {"0", "1"}
    assert all(bool(gradient.any()) for gradient in found.values())
    assert built.describe()[0].endswith("cb = layer 0 causal, layer 1 bidirectional")
    name = next(iter(found))
    weight = dict(built.decoder.trainable())[name]
    step = torch.zeros_like(weight)
    step[0, 0] = 1e-2

    def loss(shift) -> float:
        with torch.no_grad():
            weight.add_(shift * step)
            Y = built.decoder(BATCH).double()
            weight.sub_(shift * step)
        return float((Y * torch.linspace(-1, 1, Y.numel()).reshape(Y.shape)).sum())

    slope = (loss(1.0) - loss(-1.0)) / 2e-2
    assert slope == pytest.approx(float(found[name][0, 0]), rel=0.02, abs=1e-3)


# Another pattern and depth of a decoder in memory.


def test_under_another_pattern_and_depth_changes_nothing(decoder_folder):
    built = build(decoder_folder, repeat=1)
    before = vectors(built)
    decoder = built.decoder.under("bc", 2)
    assert decoder.unmasked == (True, False)
    assert decoder.repeat == 1
    assert not decoder.training
    assert torch.equal(vectors(built), before)
    names = {name for name, _ in built.decoder.trainable() if int(name.split("layers.")[1][0]) < 2}
    trained = dict(decoder.trainable())
    assert trained.keys() == names
    assert all(p is trained[n] for n, p in built.decoder.trainable() if n in trained)
    same = built.decoder.under("ccbb")
    assert same.base is built.decoder.base
    assert torch.equal(same.predict(IDS, LENGTHS, 1000), before)
    copied = decoder.under("bb")
    shake(copied)  # the weights are shared
    assert not torch.equal(vectors(built), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cb", 5), "n_layers is 5, but the decoder '.*' has 4 layers"),
        (("cb", 0), "n_layers is 0, but the decoder '.*' has 4 layers"),
        (("ccb", 2), "Cannot divide 2 decoder layers into 3 layer groups"),
        (("cx", 2), "unmasking pattern is 'cx'"),
    ],
)
def test_under_what_does_not_go(decoder_folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(decoder_folder, tuning="frozen").decoder.under(*arguments)
