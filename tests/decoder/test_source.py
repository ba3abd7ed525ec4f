import json

import pytest
import requests
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import BertConfig, BitsAndBytesConfig, CTRLTokenizer, T5Config

from spacy_lgu.decoder import source
from spacy_lgu.decoder.local import read_local
from spacy_lgu.decoder.source import Source, find_source, load_tokenizer, read_config

from .conftest import FIRST, SECOND
from .helpers import check, edit_json


def test_folder_is_found(decoder_folder):
    found = find_source(str(decoder_folder))
    assert found == Source(str(decoder_folder), decoder_folder.resolve(), None)
    assert found.is_local
    assert found.location == str(decoder_folder.resolve())


def test_home_folder_is_found(decoder_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(decoder_folder.parent))
    assert find_source(f"~/{decoder_folder.name}").folder == decoder_folder.resolve()


@pytest.mark.parametrize(
    "name", ["/no/such", "./no", "../no/such", "~/no/such", "~nobody/no", "a/b/c"]
)
def test_missing_folder(name):
    with pytest.raises(ValueError, match=f"There is no folder '{name}' .*Give the folder of a"):
        find_source(name)


def test_file_is_no_name_on_the_hub(tmp_path, monkeypatch):
    (tmp_path / "train.spacy").touch()
    monkeypatch.chdir(tmp_path)
    for find in (find_source, read_local):
        with pytest.raises(ValueError, match=r"^'train.spacy' is a file. Give the folder of a"):
            find("train.spacy")


def test_folder_without_config(tmp_path):
    with pytest.raises(ValueError, match=r"has no config.json: expected a decoder"):
        find_source(str(tmp_path))


def test_folder_has_no_revisions(decoder_folder):
    with pytest.raises(ValueError, match=r"revision = 'main' was given for the folder"):
        find_source(str(decoder_folder), "main")


def test_name_in_the_cache_stands_for_a_commit(hub_name, hub_cache):
    snapshot = hub_cache / "models--org--tiny" / "snapshots" / SECOND
    found = find_source(hub_name)
    assert found == Source(hub_name, snapshot, SECOND)
    assert find_source(hub_name, "main").commit == SECOND
    assert find_source(hub_name, FIRST).commit == FIRST
    assert not found.is_local
    assert found.location == hub_name


def test_name_that_is_not_cached_while_offline(hub_cache):
    with pytest.raises(OSError, match=r"'org/none' is not in the local cache and .*HF_HOME"):
        find_source("org/none")
    with pytest.raises(OSError, match=r"'org/none' at revision 'v1' is not in the local cache"):
        find_source("org/none", "v1")


def response(status):
    answer = requests.Response()
    answer.status_code = status
    answer.request = requests.Request("GET", "https://huggingface.co/org/x").prepare()
    return answer


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            GatedRepoError("no", response=response(403)),
            OSError,
            "'org/x' at revision 'v1' is gated: accept",
        ),
        (
            RevisionNotFoundError("no", response=response(404)),
            ValueError,
            "'org/x' has no revision 'v1': expected a branch",
        ),
        (
            RepositoryNotFoundError("no", response=response(404)),
            ValueError,
            r"There is no decoder 'org/x': neither .*set HF_TOKEN",
        ),
        (LocalEntryNotFoundError("no"), OSError, "is not in the local cache"),
        (
            EntryNotFoundError("no"),
            ValueError,
            r"has no config\.json: it holds no decoder",
        ),
        (
            HfHubHTTPError("Too many", response=response(429)),
            OSError,
            "hub refused the decoder 'org/x' at revision 'v1': Too many",
        ),
    ],
)
def test_answers_of_the_hub_are_explained(monkeypatch, error, kind, message):
    def download(*args, **kwargs):
        raise error

    monkeypatch.setattr(source, "hf_hub_download", download)
    with pytest.raises(kind, match=message):
        find_source("org/x", "v1")


@pytest.mark.parametrize("name", ["a b", "org/-x", "x" * 97])
def test_invalid_name(hub_cache, name):
    with pytest.raises(ValueError, match=f"'{name}' is neither a folder here nor a valid name"):
        find_source(name)


@pytest.mark.parametrize(
    "config", [BertConfig(), BertConfig(architectures=["BertForMaskedLM"]), T5Config()]
)
def test_encoders_are_refused(tmp_path, no_weights, config):
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"{config.model_type}\\) is not a decoder-only language"):
        check(tmp_path)


def test_config_is_read_without_weights(decoder_folder, no_weights):
    assert read_config(find_source(str(decoder_folder))).num_hidden_layers == 4


@pytest.mark.parametrize(
    ("stored", "quantization"),
    [
        (BitsAndBytesConfig(load_in_4bit=True).to_dict(), "none"),
        (BitsAndBytesConfig(load_in_4bit=True).to_dict(), "int8"),
        (BitsAndBytesConfig(load_in_8bit=True).to_dict(), "nf4"),
        ({"quant_method": "gptq", "bits": 4}, "nf4"),
    ],
)
def test_weights_quantized_otherwise(copied_folder, no_weights, stored, quantization):
    edit_json(copied_folder / "config.json", quantization_config=stored)
    method = getattr(stored["quant_method"], "value", stored["quant_method"])
    message = f"already quantized \\({method}.*quantization = '{quantization}'"
    with pytest.raises(ValueError, match=message):
        check(copied_folder, quantization=quantization)


def test_slow_tokenizer(copied_folder, no_weights):
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (copied_folder / name).unlink(missing_ok=True)
    (copied_folder / "vocab.json").write_text(json.dumps({"<unk>": 0, "a</w>": 1}))
    (copied_folder / "merges.txt").write_text("#version: 0.2\n")
    CTRLTokenizer(copied_folder / "vocab.json", copied_folder / "merges.txt").save_pretrained(
        copied_folder
    )
    with pytest.raises(ValueError, match=r"(slow tokenizer|Couldn't instantiate).*tokenizer\.json"):
        check(copied_folder)


def test_tokenizer_config_is_passed_on(decoder_folder):
    found = find_source(str(decoder_folder))
    assert load_tokenizer(found, {"model_max_length": 17}).model_max_length == 17


def test_a_space_before_the_first_word_on_request(decoder_folder):
    found = find_source(str(decoder_folder))
    plain = load_tokenizer(found, {})
    asked = load_tokenizer(found, {"add_prefix_space": True})
    assert asked("Ann").input_ids == plain(" Ann").input_ids != plain("Ann").input_ids
    assert load_tokenizer(found, {"add_prefix_space": False})("Ann") == plain("Ann")


def test_an_adapter_is_no_decoder(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"holds an adapter, not a decoder\. Name the decoder"):
        find_source(str(tmp_path))


def test_damaged_tokenizer_says_so(copied_folder):
    file = copied_folder / "tokenizer.json"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"tokenizer of .* cannot be read: (EOF|Untermin)"):
        check(copied_folder)
    (copied_folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json' is damaged: Expecting property"):
        check(copied_folder)


@pytest.mark.parametrize("kind", ["LlamaTokenizer", "Qwen2TokenizerFast", "TokenizersBackend"])
def test_a_saved_tokenizer_splits_as_its_file_says(copied_folder, kind, caplog):
    """Whatever class it names: transformers 5 builds the splitting rules of some anew."""
    ids = load_tokenizer(find_source(str(copied_folder)), {})("Ann  Lee\n\nZürich 12").input_ids
    edit_json(copied_folder / "tokenizer_config.json", tokenizer_class=kind)
    read = load_tokenizer(find_source(str(copied_folder)), {}, as_saved=True)
    assert read("Ann  Lee\n\nZürich 12").input_ids == ids
    assert (read.bos_token_id, read.eos_token_id) == (0, 1)
    assert "not the same type" not in caplog.text
