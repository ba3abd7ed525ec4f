"""`python -m spacy lgu init-config`: files, messages and what is possible."""

import pytest
from spacy.util import load_config, load_config_from_str

from .conftest import failure, run


def init_config(*args) -> str:
    return run("lgu", "init-config", *args)


def test_file_is_written_and_the_command_shown(decoder_folder, tmp_path):
    path = tmp_path / "new" / "ner.cfg"
    printed = init_config(path, "--decoder", decoder_folder, "--unmasking", "cccb")
    command = f"python -m spacy train {path} --paths.train train.spacy --paths.dev dev.spacy"
    assert command in printed
    assert f"#     {command}" in path.read_text("utf8")
    config = load_config(path)
    assert config["nlp"]["pipeline"] == ["transformer", "ner", "doc_cleaner"]
    assert config["components"]["transformer"]["model"]["unmasking"] == "cccb"
    assert config["components"]["transformer"]["model"]["tuning"] == "full"
    assert config["paths"]["decoder"] == str(decoder_folder)


def test_stdout_gets_the_config_alone(decoder_folder):
    printed = init_config("-", "--decoder", decoder_folder, "-p", "tagger,parser")
    config = load_config_from_str(printed)
    assert config["nlp"]["pipeline"] == ["transformer", "tagger", "parser", "doc_cleaner"]
    assert printed.startswith("# tagger, parser, on a decoder")


def test_file_is_kept_without_force(decoder_folder, tmp_path):
    path = tmp_path / "mine.cfg"
    path.write_text("mine")
    assert "exists already. Use --force" in failure("lgu", "init-config", path)
    assert path.read_text() == "mine"
    init_config(path, "--decoder", decoder_folder, "--force")
    assert path.read_text().startswith("# ner, ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-p", "ner,nerr"), "no head 'nerr'"),
        (("--lang", "qq"), "no language 'qq': expected one of af,"),
        (("--optimize", "speed"), "expected one of efficiency,"),
        (("--unmasking", "ccccb"), "Cannot divide 4 decoder layers"),
        (("--unmasking", "ccbx"), "The unmasking pattern is 'ccbx'"),
        (("--decoder", "./nowhere"), "There is no folder './nowhere'"),
    ],
)
def test_wrong_options_write_nothing(options, message, decoder_folder, tmp_path):
    path = tmp_path / "x.cfg"
    assert message in failure("lgu", "init-config", path, "--decoder", decoder_folder, *options)
    assert not path.exists()


def test_encoder_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    printed = failure("lgu", "init-config", tmp_path / "x.cfg", "--decoder", tmp_path)
    assert "is not a decoder-only language model" in printed


def test_unknown_decoder_is_taken_for_a_large_one(tmp_path):
    path = tmp_path / "x.cfg"
    printed = init_config(path, "--decoder", "org/none", "--gpu")
    assert "'org/none' is neither a folder here nor in the local cache" in printed
    assert "--gpu-id 0" in printed
    model = load_config(path)["components"]["transformer"]["model"]
    assert (model["quantization"], model["tuning"]) == ("nf4", "lora")


def test_tokenizer_of_the_language(decoder_folder, tmp_path):
    path = tmp_path / "x.cfg"
    init_config(path, "--decoder", decoder_folder, "--lang", "zh")
    config = load_config(path)
    assert config["nlp"]["tokenizer"]["segmenter"] == "char"
    assert config["initialize"]["tokenizer"]["pkuseg_user_dict"] == "default"


@pytest.mark.parametrize("name", ["a$b", "a$$b", "${paths.train}"])
def test_decoder_that_a_config_cannot_name(name, decoder_folder, tmp_path):
    (tmp_path / name).symlink_to(decoder_folder)
    printed = failure("lgu", "init-config", "-", "--decoder", tmp_path / name)
    assert "has a $, with which a config's variables begin" in printed


@pytest.mark.parametrize("name", ["a b", 'q"q', "back\\slash", "%(x)s", "hash # ; x", "Łódź {x}"])
def test_decoder_in_a_folder_of_any_other_name(name, decoder_folder, tmp_path):
    (tmp_path / name).symlink_to(decoder_folder)
    config = load_config_from_str(init_config("-", "--decoder", tmp_path / name))
    config = config.interpolate()
    assert config["components"]["transformer"]["model"]["name"] == str(tmp_path / name)


def test_language_by_another_code(decoder_folder):
    printed = init_config("-", "--decoder", decoder_folder, "--lang", "eng")
    assert load_config_from_str(printed)["nlp"]["lang"] == "en"


def test_revision_and_accuracy_are_in_the_config(decoder_folder, tmp_path):
    run("lgu", "init-config", tmp_path / "x", "--decoder", "org/none", "--revision", "next")
    config = load_config(tmp_path / "x")
    assert config["paths"]["revision"] == "next"
    rough, fine = (
        load_config_from_str(run("lgu", "init-config", "-", "-d", decoder_folder, "-o", optimize))
        for optimize in ("efficiency", "accuracy")
    )
    assert (rough["training"]["max_steps"], fine["training"]["max_steps"]) == (1000, 4400)
