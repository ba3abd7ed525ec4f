"""Rotary settings that are wrong, or that transformers would lose without a word."""

import json

import pytest

from spacy_lgu.decoder.config import make_config

from ..conftest import IS_5

needs_5 = pytest.mark.skipif(not IS_5, reason="rope_parameters are read by transformers 5")
PLAIN = {"rope_type": "default", "rope_theta": 1e4}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4, "original_max_position_embeddings": 16}
KINDS = ["sliding_attention", "full_attention"]


def read(folder, family, *, part=False, **values):
    """The config of a decoder with two layers, perhaps as part of one that reads more."""
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
    values = {"model_type": family, **sizes, "vocab_size": 64, **values}
    if part:
        values = {"model_type": family.removesuffix("_text"), "text_config": values}
    (folder / "config.json").write_text(json.dumps(values))
    return make_config(folder / "config.json")


@needs_5
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_type": 5}, r"a string in 'rope_parameters\.rope_type', but found 5"),
        ({"rope_theta": "x"}, r"above 0 in 'rope_parameters\.rope_theta', but found 'x'"),
        ({"rope_theta": -1}, r"above 0 in 'rope_parameters\.rope_theta', but found -1"),
        ({"rope_theta": None}, r"above 0 in 'rope_parameters\.rope_theta', but found null"),
        ({"factor": "x"}, r"above 0 in 'rope_parameters\.factor', but found 'x'"),
        ({"factor": 0}, r"above 0 in 'rope_parameters\.factor', but found 0"),
        ({"factor": True}, r"above 0 in 'rope_parameters\.factor', but found true"),
        ({"attention_factor": "x"}, r"above 0 in 'rope_parameters\.attention_factor'"),
        ({"original_max_position_embeddings": "q"}, r"original_max.*s', but found 'q'"),
    ],
)
@pytest.mark.parametrize("part", [False, True])
def test_types(tmp_path, part, changes, message):
    settings = {**YARN, **changes}
    family = "gemma3_text" if part else "llama"
    where = "text_config." if part else ""
    message = message.replace("'rope_par", f"'{where}rope_par")
    with pytest.raises(ValueError, match=rf"config\.json' is damaged: expected .*{message}"):
        read(tmp_path, family, part=part, rope_parameters=settings)


def test_types_as_version_4_writes_them(tmp_path):
    scaling = {"rope_type": "linear", "factor": "x"}
    with pytest.raises(ValueError, match=r"above 0 in 'rope_scaling\.factor', but found 'x'"):
        read(tmp_path, "llama", rope_scaling=scaling)


@needs_5
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (PLAIN, "has no rope_theta for 'sliding_attention': decoders of the family 'gemma3_text'"),
        ({"sliding_attention": PLAIN}, "has no rope_theta for 'full_attention'"),
        (
            {"sliding_attention": PLAIN, "full_attention": {"rope_type": "default"}},
            "has no rope_theta for 'full_attention'",
        ),
        ({**PLAIN, "full_attention": PLAIN}, "has no rope_theta for 'sliding_attention'"),
    ],
)
@pytest.mark.parametrize("part", [False, True])
def test_kinds_of_layers_without_settings(tmp_path, part, settings, message):
    # transformers would take its defaults, 10,000 and 1,000,000.
    with pytest.raises(ValueError, match=rf"config\.json' is damaged: 'rope_parameters' {message}"):
        read(tmp_path, "gemma3_text", part=part, layer_types=KINDS, rope_parameters=settings)


@needs_5
def test_kinds_of_layers_that_a_decoder_has_not(tmp_path):
    config = read(
        tmp_path,
        "gemma3_text",
        layer_types=["full_attention"] * 2,
        rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 77.0}},
    )
    assert config.rope_parameters["full_attention"]["rope_theta"] == 77


@needs_5
def test_settings_by_kind_where_a_family_has_one_for_all(tmp_path):
    settings = {"full_attention": PLAIN}
    message = "settings for 'full_attention', but decoders of the family 'llama' have the same"
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "llama", rope_parameters=settings)


def test_two_bases(tmp_path):
    with pytest.raises(ValueError, match=r"'rope_theta' is 77, but in 'rope_parameters' it is 100"):
        read(tmp_path, "llama", rope_theta=77, rope_parameters=PLAIN)
    assert read(tmp_path, "llama", rope_theta=1e4, rope_parameters=PLAIN).hidden_size == 32
