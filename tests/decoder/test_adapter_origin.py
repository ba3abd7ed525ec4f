import json
import shutil
from dataclasses import replace

import pytest

from spacy_lgu.decoder.adapter import check_adapter, save_adapter
from spacy_lgu.decoder.adapter_config import BaseReference
from spacy_lgu.decoder.settings import LoraSettings

from .helpers import build, check, edit_json


def test_an_adapter_keeps_its_settings(decoder_folder, tmp_path, caplog):
    save_adapter(build(decoder_folder).decoder.adapter, tmp_path)
    same = LoraSettings(rank=2, dropout=0.0, path=str(tmp_path))
    check(decoder_folder, lora=same)
    assert caplog.text == ""
    other = LoraSettings(rank=4, dropout=0.3, modules=("k_proj",), path=str(tmp_path))
    check(decoder_folder, lora=other)
    assert (
        "keeps its own rank = 2, dropout = 0.0, modules = ['q_proj', 'v_proj']; the config's "
        "[lora] says rank = 4, dropout = 0.3, modules = ['k_proj']."
    ) in caplog.text


def test_an_adapter_keeps_what_the_config_has_no_settings_for(decoder_folder, tmp_path, caplog):
    save_adapter(build(decoder_folder).decoder.adapter, tmp_path)
    file = tmp_path / "adapter_config.json"
    edit_json(file, use_rslora=True, alpha_pattern={"q_proj": 2})
    lora = LoraSettings(rank=2, dropout=0.0, path=str(tmp_path))
    check(decoder_folder, lora=lora)
    assert "keeps its own alphas = {'q_proj': 2}, rslora = True; the config's" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('["ccbb"]', "expected a JSON object"),
        ('{"unmasking": 1100}', "expected a string or null in 'unmasking', but found 1100"),
    ],
)
def test_an_adapter_with_a_damaged_record_of_its_training(
    decoder_folder, tmp_path, content, message
):
    save_adapter(build(decoder_folder).decoder.adapter, tmp_path)
    (tmp_path / "training.json").write_text(content)
    with pytest.raises(ValueError, match=rf"training\.json' is damaged: {message}"):
        check(decoder_folder, lora=LoraSettings(path=str(tmp_path)))


def test_an_adapter_of_all_linear_modules(decoder_folder, tmp_path, caplog):
    every = LoraSettings(rank=2, dropout=0.0, modules="all-linear")
    save_adapter(build(decoder_folder, lora=every).decoder.adapter, tmp_path)
    file = tmp_path / "adapter_config.json"
    every = replace(every, path=str(tmp_path))
    check(decoder_folder, lora=every)
    # As PEFT takes it; it writes the names.
    edit_json(file, target_modules="all-linear")
    check(decoder_folder, lora=every)
    assert caplog.text == ""


def test_an_adapter_of_a_copy_of_the_decoder(decoder_folder, tmp_path):
    shutil.copytree(decoder_folder, tmp_path / "copy")
    save_adapter(build(decoder_folder).decoder.adapter, tmp_path / "adapter")
    lora = LoraSettings(rank=2, dropout=0.0, path=str(tmp_path / "adapter"))
    check(tmp_path / "copy", lora=lora)


def test_an_adapter_whose_decoder_is_elsewhere(decoder_folder, tmp_path, caplog):
    save_adapter(build(decoder_folder).decoder.adapter, tmp_path)
    config = tmp_path / "adapter_config.json"
    edit_json(config, base_model_name_or_path="/another/machine/decoder")
    lora = LoraSettings(rank=2, dropout=0.0, path=str(tmp_path))
    check(decoder_folder, lora=lora)
    assert "was trained on the decoder in '/another/machine/decoder', which is not" in caplog.text


@pytest.mark.parametrize(("adapted", "warns"), [("ccbb", False), ("cbbb", True), (None, False)])
def test_an_adapter_of_another_pattern(decoder_folder, tmp_path, caplog, adapted, warns):
    save_adapter(build(decoder_folder).decoder.adapter, tmp_path)
    if adapted is not None:
        (tmp_path / "training.json").write_text(json.dumps({"unmasking": adapted}))
    check(decoder_folder, lora=LoraSettings(path=str(tmp_path)))
    assert ("trained under the pattern cbbb, but will be" in caplog.text) == warns


def test_an_adapter_of_a_pipeline_of_another_pattern(decoder_folder, tmp_path, caplog):
    save_adapter(build(decoder_folder).decoder.adapter, tmp_path / "adapter")
    (tmp_path / "lgu.json").write_text(json.dumps({"unmasking": "cbbb"}))
    check(decoder_folder, lora=LoraSettings(path=str(tmp_path / "adapter")))
    assert "trained under the pattern cbbb, but will be trained under ccbb" in caplog.text


def test_adapter_of_a_base_with_another_name(adapter_folder, other_decoder_folder):
    lora = LoraSettings(path=str(adapter_folder))
    with pytest.raises(ValueError, match=r"was trained on '.*decoder0' .*not on '.*other0'"):
        build(other_decoder_folder, lora=lora)


def test_adapter_of_another_revision(adapter_folder):
    config = adapter_folder / "adapter_config.json"
    first, second = "a" * 40, "b" * 40
    edit_json(config, base_model_name_or_path="org/x", revision=first)
    for revision in (first, None, "main"):
        check_adapter(adapter_folder, base=BaseReference("org/x", revision))
    message = rf"trained on 'org/x' \(revision {first}\), not on .*{second}"
    with pytest.raises(ValueError, match=message):
        check_adapter(adapter_folder, base=BaseReference("org/x", second))
    edit_json(config, revision="main")  # which moves
    check_adapter(adapter_folder, base=BaseReference("org/x", second))


@pytest.mark.parametrize("recorded", ["org/x", "./models/decoder", "/models/decoder", "~/decoder"])
def test_what_cannot_be_compared_is_told(adapter_folder, decoder_folder, caplog, recorded):
    edit_json(adapter_folder / "adapter_config.json", base_model_name_or_path=recorded)
    check_adapter(adapter_folder, base=BaseReference(str(decoder_folder), None))
    assert f"was trained on the decoder in {recorded!r}, which is not here" in caplog.text


def test_a_base_is_the_same_under_another_spelling_of_its_folder(adapter_folder, decoder_folder):
    spelling = f"{decoder_folder}/../{decoder_folder.name}/"
    check_adapter(adapter_folder, base=BaseReference(spelling, None))


def test_an_adapter_that_does_not_say_what_it_was_trained_on(adapter_folder, caplog):
    edit_json(adapter_folder / "adapter_config.json", base_model_name_or_path=None)
    check_adapter(adapter_folder, base=BaseReference("org/x", None))
    assert "make sure that 'org/x' is the same one" in caplog.text
