import json
import math

import pytest
import torch
from transformers import LlamaConfig

from spacy_lgu.decoder import versions
from spacy_lgu.decoder.config import make_config
from spacy_lgu.decoder.description import read_description
from spacy_lgu.decoder.saved_with import check_newer, check_saved_with
from spacy_lgu.decoder.tiny import tiny_config
from spacy_lgu.decoder.verification import record_decoder
from spacy_lgu.decoder.versions import (
    config_dtype,
    find_contradiction,
    find_unread,
    read_floats,
    rotary_settings,
)

from ..conftest import IS_5
from .helpers import build, check, edit_description, edit_json, restore, save
from .reference import BY_NAME

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}


def yarn(n_positions):
    return BY_NAME["llama"].config(rope_scaling=dict(YARN), max_position_embeddings=n_positions)


def test_rotary_settings_have_one_form_in_all_versions():
    config = LlamaConfig(rope_theta=500.0, rope_scaling={"type": "linear", "factor": 2.0})
    (settings,) = rotary_settings(config)
    assert settings["rope_theta"] == 500.0
    assert settings["rope_type"] == "linear"
    assert settings["factor"] == 2.0


def test_rotary_settings_without_scaling():
    (settings,) = rotary_settings(LlamaConfig(rope_theta=500.0))
    assert settings == {"rope_theta": 500.0, "rope_type": "default"}


@pytest.mark.skipif(not IS_5, reason="transformers 4.53 has two bases instead")
def test_rotary_settings_of_each_kind_of_layer():
    settings = rotary_settings(BY_NAME["gemma3"].config())
    assert [one["rope_theta"] for one in settings] == [10000.0, 1000000.0]


def test_the_tiny_decoder_keeps_the_base_and_drops_the_scaling():
    config = LlamaConfig(rope_theta=500.0, rope_scaling={"rope_type": "linear", "factor": 2.0})
    (settings,) = rotary_settings(tiny_config(config))
    assert settings == {"rope_theta": 500.0, "rope_type": "default"}
    assert rotary_settings(config)[0]["factor"] == 2.0  # a copy was changed


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_dtype_of_a_config_under_both_names(decoder_folder, copied_folder, name):
    edit_json(copied_folder / "config.json", torch_dtype=None, dtype=None)
    edit_json(copied_folder / "config.json", **{name: "bfloat16"})
    if IS_5 or name == "torch_dtype":
        assert config_dtype(make_config(copied_folder / "config.json")) == torch.bfloat16


_YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}


@pytest.mark.parametrize(
    ("values", "is_read"),
    [
        ({"rope_parameters": {"rope_theta": 1e6}}, False),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, False),
        ({"rope_parameters": {"rope_theta": 1e6}, "rope_theta": 1e6}, True),
        ({"rope_parameters": {"rope_theta": 1e6}, "rope_scaling": {"factor": 2.0}}, False),
        ({"rope_parameters": _YARN, "rope_theta": 1e6}, False),
        ({"rope_parameters": _YARN, "rope_theta": 1e6, "rope_scaling": None}, False),
        ({"rope_parameters": _YARN, "rope_theta": 1e6, "rope_scaling": _YARN}, True),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}, "rope_theta": 1e6}, False),
        ({"rope_parameters": None}, True),
        ({"rope_theta": 1e6}, True),
        ({}, True),
    ],
)
def test_rotary_settings_that_4_53_passes_over(monkeypatch, values, is_read):
    monkeypatch.setattr(versions, "IS_5", False)
    unread = find_unread(values)
    assert (unread is None) == is_read
    if not is_read:
        assert "Install transformers>=5, or write them as 'rope_theta'" in unread
    monkeypatch.setattr(versions, "IS_5", True)
    assert find_unread(values) is None


@pytest.mark.skipif(IS_5, reason="transformers 5 reads these settings")
def test_a_config_saved_by_5_is_refused_before_a_weight_is_read(copied_folder, no_weights):
    edit_json(copied_folder / "config.json", rope_parameters={"rope_theta": 1e6})
    file = copied_folder / "config.json"
    values = json.loads(file.read_text())
    del values["rope_theta"]
    file.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"config\.json' is damaged: 'rope_parameters' are the"):
        build(copied_folder)


def test_yarn_settings_that_contradict_each_other():
    assert find_contradiction(yarn(2048)) is None
    contradiction = find_contradiction(yarn(1024))
    assert contradiction is not None
    assert "the YaRN factor is 4, but max_position_embeddings = 1,024 is 2 times" in contradiction
    assert "transformers 4 computes with 2, transformers 5 with 4" in contradiction
    linear = LlamaConfig(rope_scaling={"rope_type": "linear", "factor": 2.0})
    assert find_contradiction(linear) is None


def test_contradicting_settings_are_named_before_a_weight_is_read(copied_folder, no_weights):
    edit_json(copied_folder / "config.json", head_dim=16, rope_parameters=None, rope_theta=1e4)
    edit_json(copied_folder / "config.json", rope_scaling=YARN)  # of 64 positions
    with pytest.warns(
        UserWarning, match=r"copied': the YaRN factor is 4, but max.* is 0\.125 times"
    ):
        check(copied_folder)


def test_contradicting_settings_are_refused_under_another_major_version():
    same, other = ("5.24.0", "4.53.2") if IS_5 else ("4.53.2", "5.24.0")
    with pytest.raises(ValueError, match=rf"'x' was saved with transformers {other}.*YaRN factor"):
        check_saved_with({"transformers": other}, yarn(1024), "x")
    check_saved_with({"transformers": same}, yarn(1024), "x")
    check_saved_with({"transformers": other}, yarn(2048), "x")


def test_what_5_saved_is_refused_under_4_53(monkeypatch):
    monkeypatch.setattr(versions, "IS_5", False)
    with pytest.raises(ValueError, match=r"'x' was saved with transformers 5\.24\.0.*>=5, or"):
        check_newer({"transformers": "5.24.0"}, "x")
    check_newer({"transformers": "4.53.2"}, "x")
    monkeypatch.setattr(versions, "IS_5", True)
    check_newer({"transformers": "5.24.0"}, "x")


def test_a_save_of_another_version_is_refused_at_load(saved, monkeypatch):
    built, folder = saved
    monkeypatch.setattr(versions, "IS_5", False)
    edit_description(folder, libraries={"transformers": "5.99.0"})
    with pytest.raises(ValueError, match=r"saved with transformers 5\.99\.0"):
        restore(folder, built)


def test_versions_that_are_none(saved):
    built, folder = saved
    edit_description(folder, libraries={"transformers": "new"})
    with pytest.raises(ValueError, match=r"lgu\.json' is damaged: expected versions in 'librar"):
        restore(folder, built)


def test_a_save_without_versions_is_one_of_4_53(saved):
    built, folder = saved
    edit_description(folder, libraries=None)
    restored = restore(folder, built)
    assert restored.base == built.base


def test_the_versions_survive_a_record(decoder_folder, tmp_path):
    save(build(decoder_folder), tmp_path / "x", "bundle")
    edit_description(tmp_path / "x", libraries={"transformers": "4.53.1"})
    record_decoder(tmp_path / "x")
    assert read_description(tmp_path / "x").libraries == {"transformers": "4.53.1"}


def test_infinities_in_configs_are_read_as_5_writes_them():
    values = {"limits": [0.0, {"__float__": "Infinity"}], "low": {"__float__": "-Infinity"}}
    assert read_floats(values) == {"limits": [0.0, float("inf")], "low": float("-inf")}
    assert math.isnan(read_floats({"x": {"__float__": "NaN"}})["x"])
    for other in ({"__float__": "3"}, {"__float__": ["NaN"]}, {"__float__": "NaN", "x": 1}, "NaN"):
        assert read_floats(other) == other
