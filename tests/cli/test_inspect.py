"""`python -m spacy lgu inspect`: pipelines, decoders, and what is wrong with them."""

import json
import shutil
import sys

import pytest
import torch
from spacy.util import load_config

from spacy_lgu.inspection import facts, inspecting, libraries
from spacy_lgu.inspection.machine import Gpu

from ..conftest import IS_5, make_nlp
from ..decoder.conftest import SECOND, hub_cache, hub_name, other_decoder_folder  # noqa: F401
from ..decoder.hybrids import BY_TYPE, save_hybrid
from .conftest import failure, run


def inspect(*args) -> str:
    """What the command printed, in one line."""
    return " ".join(run("lgu", "inspect", *args).split())


def inspect_json(*args) -> dict:
    return json.loads(run("lgu", "inspect", *args, "--json"))


@pytest.fixture(scope="module")
def saved(decoder_folder, tmp_path_factory):
    """A pipeline with an adapter of rank 4 on an NF4 base, and a ner that listens."""
    folder = tmp_path_factory.mktemp("saved") / "pipeline"
    make_nlp(decoder_folder, quantization="nf4").to_disk(folder)
    return folder


def test_saved_pipeline(saved):
    (decoder,) = (found := inspect_json(saved))["decoders"]
    assert found["pipeline"]["pipes"][1] == {
        "name": "ner",
        "factory": "ner",
        "listens_to": ["*"],
    }
    assert decoder["layers"] == "ccbb"
    assert decoder["listeners"] == ["ner"]
    assert decoder["quantization"] == "nf4"
    # 4 layers, query (64 to 64) and value (64 to 32), rank 4
    assert decoder["parameters"]["trained"] == 4 * 4 * (128 + 96)
    assert decoder["adapter"]["modules"] == ["q_proj", "v_proj"]
    assert decoder["tokenizer"]["puts_bos_first"] is True
    assert decoder["disk"]["base"] > decoder["disk"]["adapter"] > 0
    assert decoder["saved_with"]["spacy-lgu"] == found["versions"]["spacy-lgu"]
    assert set(decoder["base"]["sha256"]) == {"model.safetensors"}
    assert decoder["runs"]["on"] == "CPU"
    assert found["notes"] == []


def test_report_is_drawn(saved):
    printed = inspect(saved)
    assert "│ 0 │ 1 │ 2 │ 3 │ │ c │ c │ b │ b │" in printed
    assert "ccbb = layers 0-1 causal, layers 2-3 bidirectional" in printed
    assert "lora, rank 4, alpha 8, dropout 0, on 8 modules: q_proj, v_proj" in printed
    assert "listened to by ner" in printed


def test_the_first_layers_with_repeated_texts(decoder_folder, tmp_path):
    options = ["--n-layers", "3", "--unmasking", "cb", "--tuning", "lora", "--rank", "4"]
    options += ["--quantization", "none", "--dtype", "float32"]
    (whole,) = inspect_json(decoder_folder, *options[4:], "--unmasking", "cb")["decoders"]
    (cut,) = inspect_json(decoder_folder, *options)["decoders"]
    (again,) = inspect_json(decoder_folder, *options, "--repeat", "2")["decoders"]
    assert (whole["n_layers"], whole["depth"], whole["repeat"]) == (4, None, 0)
    assert (cut["n_layers"], cut["depth"], cut["layers"]) == (3, 3, "ccb")
    assert cut["parameters"]["trained"] == 3 * 4 * (128 + 96)
    assert cut["memory"]["weights"] < whole["memory"]["weights"]
    assert cut["memory"]["training"] < whole["memory"]["training"] < again["memory"]["training"]
    assert cut["memory"]["inference"] == again["memory"]["inference"]  # max_batch_items bounds it
    assert again["repeat"] == 2
    make_nlp(decoder_folder, n_layers=3, unmasking="cb", repeat=2).to_disk(tmp_path)
    printed = inspect(tmp_path)
    assert "mistral, the first 3 layers of width 64" in printed
    assert "repeat each text is run 3 times end to end, and its last copy read" in printed
    assert inspect_json(tmp_path)["decoders"][0]["memory"]["weights"] == cut["memory"]["weights"]
    message = failure("lgu", "inspect", decoder_folder, "--n-layers", "5")
    assert "n_layers is 5, but the decoder" in message


@pytest.mark.parametrize(
    ("wanted", "is_fast", "here"),
    [("int8", False, "int8"), ("auto", True, "int8"), ("auto", False, "exact")],
)
def test_products(decoder_folder, tmp_path, monkeypatch, wanted, is_fast, here):
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: is_fast)
    make_nlp(decoder_folder, products=wanted).to_disk(tmp_path)
    (decoder,) = inspect_json(tmp_path)["decoders"]
    assert decoder["products"] == {"wanted": wanted, "here": here}
    line = f"products {wanted} once it is loaded: {here} here; trained exactly"
    assert line in inspect(tmp_path)


def test_exact_products_go_without_saying(saved):
    assert "products" not in inspect(saved)
    assert inspect_json(saved)["decoders"][0]["products"]["here"] == "exact"


def test_no_weight_is_read(saved, tmp_path):
    copied = shutil.copytree(saved, tmp_path / "pipeline")
    for file in copied.rglob("*.safetensors"):
        file.write_bytes(b"")
    (copied / "ner" / "model").unlink()
    assert inspect_json(copied)["decoders"][0]["layers"] == "ccbb"


def test_base_by_name_that_is_not_here(decoder_folder, tmp_path):
    moved = shutil.copytree(decoder_folder, tmp_path / "decoder")
    nlp = make_nlp(moved, component={"base_weights": "reference"})
    nlp.to_disk(tmp_path / "pipeline")
    shutil.rmtree(moved)
    printed = inspect(tmp_path / "pipeline")
    assert "PROBLEM Its base" in printed
    assert "is not on this machine: it cannot be loaded until that is there" in printed
    assert "quantization none, computing in float32, tuning lora" in printed


def test_texts_of_others_do_not_reach_the_terminal_as_commands(saved, tmp_path):
    copied = shutil.copytree(saved, tmp_path / "pipeline")
    meta = json.loads((copied / "meta.json").read_text())
    (copied / "meta.json").write_text(json.dumps({**meta, "name": "x\x1b[2J\ud83d"}))
    assert r"Pipeline en x\x1b[2J\ud83d 0.0.0" in inspect(copied)
    inspect_json(copied)


def test_base_that_is_a_link_to_elsewhere(saved, decoder_folder, tmp_path):
    copied = shutil.copytree(saved, tmp_path / "pipeline")
    shutil.rmtree(copied / "transformer" / "base")
    (copied / "transformer" / "base").symlink_to(decoder_folder)
    assert "the file 'base' is not inside" in failure("lgu", "inspect", copied)


def test_damaged_description_is_named(saved, tmp_path):
    copied = shutil.copytree(saved, tmp_path / "pipeline")
    (copied / "transformer" / "lgu.json").write_text("{")
    assert "lgu.json' is damaged" in failure("lgu", "inspect", copied)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("meta.json", "There is no saved pipeline in "),
        ("transformer/lgu.json", "There is no decoder in "),
        ("transformer", "There is no decoder in "),
    ],
)
def test_what_a_pipeline_lacks_is_named(missing, message, saved, tmp_path):
    copied = shutil.copytree(saved, tmp_path / "pipeline")
    if missing == "transformer":
        shutil.rmtree(copied / missing)
    else:
        (copied / missing).unlink()
    assert message in failure("lgu", "inspect", copied)


def test_pipeline_without_a_decoder(tmp_path):
    import spacy

    spacy.blank("en").to_disk(tmp_path / "blank")
    assert "None of its pipes has a decoder under" in inspect(tmp_path / "blank")


def test_decoder_with_settings(decoder_folder):
    (decoder,) = inspect_json(
        decoder_folder, "--unmasking", "cb", "--quantization", "nf4", "--tuning", "lora",
        "--rank", 8, "--batch-size", 100, "--max-batch-items", 200,
    )["decoders"]  # fmt: skip
    assert decoder["layers"] == "ccbb"
    assert decoder["parameters"]["trained"] == 8 * 4 * (128 + 96)
    assert decoder["memory"]["batch_size"] == 100
    assert decoder["memory"]["max_batch_items"] == 200
    (chosen,) = inspect_json(decoder_folder)["decoders"]
    assert (chosen["tuning"], chosen["quantization"]) == ("full", "none")
    assert chosen["parameters"]["trained"] == chosen["parameters"]["total"]


@pytest.mark.parametrize(("free", "expected"), [(2**40, 16_384), (2**26, 8192)])
def test_packs_that_suit_a_gpu(decoder_folder, monkeypatch, free, expected):
    gpu = Gpu(name="any", capability=(9, 0), free=free, total=2**41)
    monkeypatch.setattr("spacy_lgu.inspection.machine._look_at_gpu", lambda gpu_id: gpu)
    options = ("--gpu-id", 0, "--tuning", "frozen", "--dtype", "float32")
    (decoder,) = inspect_json(decoder_folder, *options)["decoders"]
    assert decoder["memory"]["is_auto"]
    # A subtoken takes 2,048 bytes; the weights, with what comes with them, less than 16 MiB.
    assert decoder["memory"]["max_batch_items"] == expected
    text = inspect(decoder_folder, *options)
    assert f"with max_batch_items = auto, which is {expected:,}: " in text


def test_decoder_of_the_hub(hub_name):  # noqa: F811
    (decoder,) = inspect_json(hub_name)["decoders"]
    assert decoder["base"]["commit"] == SECOND
    assert decoder["disk"]["here"] > 0
    assert decoder["disk"]["on_hub"] is None


def test_decoder_of_which_only_the_config_is_here(hub_cache, hub_name):  # noqa: F811
    snapshot = hub_cache / "models--org--tiny" / "snapshots" / SECOND
    for file in snapshot.iterdir():
        if file.name != "config.json":
            file.unlink()
    printed = inspect(hub_name)
    assert "! Its weights are not on this machine: `python -m spacy lgu fetch org/tiny`" in printed
    assert "tokenizer not on this machine" in printed
    assert "4 layers of width 64" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--unmasking", "cccccc"), "Cannot divide 4 decoder layers into 6 layer groups"),
        (("--quantization", "nf5"), "quantization is 'nf5': expected one of"),
        (("--tuning", "full", "--quantization", "nf4"), "cannot train weights quantized"),
        (("--gpu-id", "7"), "There is no GPU 7"),
    ],
)
def test_wrong_options(options, message, decoder_folder):
    assert message in failure("lgu", "inspect", decoder_folder, *options)


def test_settings_are_for_decoders(saved):
    assert "is a saved pipeline, which has its own unmasking" in failure(
        "lgu", "inspect", saved, "--unmasking", "cb"
    )


def test_part_of_a_pipeline(saved):
    assert "is one component of a pipeline: give" in failure(
        "lgu", "inspect", saved / "transformer"
    )


def test_name_that_is_nowhere(hub_cache):  # noqa: F811
    assert "'org/none' is not in the local cache" in failure("lgu", "inspect", "org/none")


def test_family_that_cannot_be_unmasked(tmp_path):
    from transformers import GPTNeoConfig

    kinds = [[["global"], 4]]
    config = GPTNeoConfig(hidden_size=32, num_layers=4, num_heads=2, attention_types=kinds)
    config.save_pretrained(tmp_path)
    printed = inspect(tmp_path, "--tuning", "frozen")
    assert "PROBLEM Decoders of the family 'gpt_neo' cannot be unmasked" in printed


def test_weights_of_a_decoder_that_cannot_be_loaded(decoder_folder, tmp_path):
    folder = shutil.copytree(decoder_folder, tmp_path / "decoder")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:20])
    assert "PROBLEM" in (printed := inspect(folder))
    assert "model.safetensors" in printed
    weights.rename(folder / "pytorch_model.bin")
    printed = inspect(folder)
    assert "are incomplete: model.safetensors missing" in printed
    assert "lgu fetch" not in printed


def test_broken_libraries_get_a_word(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    printed = inspect(saved)
    assert "! It cannot run here: bitsandbytes cannot be imported" in printed

    def fail():
        return None, "torch or transformers cannot be used here"

    monkeypatch.setattr(facts, "import_decoders", fail)
    printed = inspect(saved)
    assert "PROBLEM torch or transformers cannot be used here" in printed
    assert "listened to by ner" in printed
    # Before a decoder's config is read, for which these are needed.
    monkeypatch.setattr(inspecting, "import_decoders", fail)
    monkeypatch.setattr("spacy_lgu.decoder.local.read_decoder", None)
    assert "✘ torch or transformers cannot be used here" in failure("lgu", "inspect", "org/any")


def test_library_that_is_not_installed():
    assert libraries.find_broken(["no-such-library"])["no-such-library"].startswith(
        "no-such-library is not installed: ModuleNotFoundError"
    )


@pytest.mark.skipif(not IS_5, reason="needs decoders of transformers 5")
def test_recurrent_layers_are_named(tmp_path):
    folder = save_hybrid(tmp_path / "hybrid", BY_TYPE["qwen3_5_text"])
    printed = inspect(folder, "--unmasking", "cb")
    assert "│ 0-1 │ 2-3 │ │ c │ b │ └─────┴─────┘ layers 0, 2 recurrent (always causal)" in printed
    assert (
        "cb = layers 0, 2 recurrent (always causal), layer 1 causal, layer 3 bidirectional"
    ) in printed
    (decoder,) = inspect_json(folder, "--unmasking", "cb")["decoders"]
    assert decoder["problem"] is None
    assert decoder["layers"] == "cccb"
    assert decoder["kinds"] == ["recurrent", "attention", "recurrent", "attention"]
    message = failure("lgu", "inspect", folder, "--unmasking", "bccc")
    assert "in this decoder only layers 1, 3 can be unmasked" in " ".join(message.split())


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"model_type": "bloom", "n_layer": 2, "n_head": 4}, "ALiBi, which packed attention does"),
        ({"model_type": "mamba", "num_hidden_layers": 2}, "it has state-space layers"),
        ({"model_type": "vit", "num_hidden_layers": 2}, "it is not a language model that reads"),
        (
            {"model_type": "rwkv", "num_hidden_layers": 2},
            "does not say num_attention_heads",
        ),
    ],
)
def test_families_whose_configs_lack_sizes(tmp_path, values, reason):
    config = {"hidden_size": 48, "vocab_size": 64, **values}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for args in (("inspect", tmp_path), ("init-config", "-", "--decoder", tmp_path)):
        message = " ".join(failure("lgu", *args).split())
        assert f"of the family '{values['model_type']}' cannot be unmasked: " in message
        assert reason in message


def test_options_of_a_decoder_are_passed_on(monkeypatch):
    seen = {}

    def inspect_target(target, load, **options):
        seen.update(target=target, batch=load.batch_size, items=load.max_batch_items, **options)
        return {}

    monkeypatch.setattr("spacy_lgu.inspection.inspecting.inspect_target", inspect_target)
    run(
        "lgu", "inspect", "org/name", "--json", "--revision", "next", "--unmasking", "cb",
        "--n-layers", 3, "--repeat", 2, "--quantization", "int8", "--tuning", "frozen",
        "--dtype", "float16", "--rank", 5, "--gradient-checkpointing", "--max-batch-items", 6,
        "--batch-size", 7,
    )  # fmt: skip
    assert seen.pop("offline") in (True, False)
    assert seen == {
        "target": "org/name", "batch": 7, "items": 6, "revision": "next", "unmasking": "cb",
        "n_layers": 3, "repeat": 2, "quantization": "int8", "tuning": "frozen",
        "dtype": "float16", "rank": 5, "gradient_checkpointing": True,
    }  # fmt: skip


def test_checkpointing_and_batches_of_a_saved_pipeline(decoder_folder, tmp_path):
    def training(folder, *options):
        printed = run("lgu", "inspect", folder, "--json", "--batch-size", 4000, *options)
        return json.loads(printed)["decoders"][0]["memory"]["training"]

    make_nlp(decoder_folder, pipes=()).to_disk(tmp_path / "plain")
    make_nlp(decoder_folder, pipes=(), gradient_checkpointing=True).to_disk(tmp_path / "less")
    assert training(tmp_path / "less") < training(tmp_path / "plain")
    assert training(tmp_path / "plain", "--batch-size", 40) < training(tmp_path / "plain")
    config = load_config(tmp_path / "plain" / "config.cfg", interpolate=False)
    config["components"]["transformer"]["model"]["optimizer"] = {
        "@misc": "spacy-lgu.adamw.v1",
        "paged_8bit": True,
    }
    before = training(tmp_path / "plain")
    config.to_disk(tmp_path / "plain" / "config.cfg")
    assert training(tmp_path / "plain") < before
