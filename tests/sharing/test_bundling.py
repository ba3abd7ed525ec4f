"""A base goes into a pipeline and out of it; what the pipeline computes stays the same."""

import json
import shutil

import pytest
import spacy
import srsly
from safetensors.torch import load_file, save_file

from spacy_lgu.decoder.weights import WEIGHTS
from spacy_lgu.sharing.packed import PackedModel, packed_models, unpacked_decoders

from ..cli.conftest import failure, run
from ..conftest import TEXTS, layer_config, make_nlp
from ..decoder.helpers import edit_description, edit_json, fill_cache, make_format_1
from .conftest import COMMIT, NAME, contents, load, outputs, save_nlp, use_cache

BUNDLED = {"transformer/base/config.json", f"transformer/base/{WEIGHTS}"}
WRITTEN = {"config.cfg", "transformer/lgu.json"}
CASES = {
    "nf4": {"quantization": "nf4"},
    "int8": {"quantization": "int8"},
    "bfloat16": {"dtype": "bfloat16"},
    "dora, two layers, repeated": {
        "lora_variant": "dora", "n_layers": 2, "unmasking": "cb", "repeat": 1
    },
    "frozen": {"tuning": "frozen"},
}  # fmt: skip


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_there_and_back(hub_cache, tmp_path, options):
    referring = save_nlp(NAME, tmp_path / "referring", **options)
    before, expected = contents(referring), outputs(referring)
    printed = " ".join(run("lgu", "bundle", referring, tmp_path / "bundled").split())
    assert "also those of the base of transformer" in printed
    run("lgu", "unbundle", tmp_path / "bundled", tmp_path / "again")
    assert contents(referring) == before
    again = contents(tmp_path / "again")
    assert {name for name in before if again[name] != before[name]} <= WRITTEN
    assert again.keys() == before.keys()
    run("lgu", "verify", tmp_path / "again")
    assert outputs(tmp_path / "again") == expected
    shutil.rmtree(hub_cache)
    run("lgu", "verify", tmp_path / "bundled")
    assert outputs(tmp_path / "bundled") == expected


def test_bundle_adds_the_base_and_nothing_else(referring, tmp_path):
    run("lgu", "bundle", referring, tmp_path / "bundled")
    before, after = contents(referring), contents(tmp_path / "bundled")
    assert after.keys() - before.keys() == BUNDLED
    assert {name for name in before if after[name] != before[name]} == WRITTEN
    lines = before["config.cfg"].decode().splitlines()
    changed = [line for line in after["config.cfg"].decode().splitlines() if line not in lines]
    assert changed == ['base_weights = "bundle"']


def test_a_bundled_pipeline_is_saved_as_one(referring, hub_cache, tmp_path):
    run("lgu", "bundle", referring, tmp_path / "bundled")
    shutil.rmtree(hub_cache)
    load(tmp_path / "bundled").to_disk(tmp_path / "later")
    assert (tmp_path / "later" / "transformer" / "base" / WEIGHTS).is_file()


def test_the_first_layers_alone_are_bundled(hub_cache, tmp_path):
    folder = save_nlp(NAME, tmp_path / "referring", n_layers=1, unmasking="c")
    run("lgu", "bundle", folder, tmp_path / "bundled")
    names = load_file(tmp_path / "bundled" / "transformer" / "base" / WEIGHTS)
    assert {name.split(".")[1] for name in names if name.startswith("layers.")} == {"0"}
    assert not any("lm_head" in name for name in names)


def test_a_decoder_inside_another_component(hub_cache, tmp_path):
    nlp = load(save_nlp(NAME, tmp_path / "saved", pipes=("tagger", "ner")))
    nlp.replace_listeners("transformer", "ner", ["model.tok2vec"])
    nlp.to_disk(tmp_path / "replaced")
    expected = outputs(tmp_path / "replaced")
    printed = " ".join(run("lgu", "bundle", tmp_path / "replaced", tmp_path / "bundled").split())
    assert "the base of ner, transformer" in printed
    (model,) = packed_models(tmp_path / "bundled")
    with model.unpacked() as (inner,):
        assert (inner / "base" / WEIGHTS).is_file()
    run("lgu", "unbundle", tmp_path / "bundled", tmp_path / "again")
    again, before = contents(tmp_path / "again"), contents(tmp_path / "replaced")
    changed = {name for name in before if again[name] != before[name]}
    assert again.keys() == before.keys()
    assert changed <= {*WRITTEN, "ner/model"}
    shutil.rmtree(hub_cache)
    run("lgu", "verify", tmp_path / "bundled")
    assert outputs(tmp_path / "bundled") == expected


def test_several_decoders_inside_one_component(referring, tmp_path):
    nlp = load(referring)
    nlp.replace_listeners("transformer", "ner", ["model.tok2vec"])
    nlp.to_disk(tmp_path / "replaced")
    file = tmp_path / "replaced" / "ner" / "model"
    content = srsly.msgpack_loads(file.read_bytes())
    (shims,) = [shims for shims in content["shims"] if shims]
    content["shims"] += [shims, shims]
    file.write_bytes(srsly.msgpack_dumps(content))
    with unpacked_decoders(tmp_path / "replaced") as found:
        assert list(found) == ["transformer", "ner", "ner (2)", "ner (3)"]
        assert len(set(found.values())) == 4


def test_a_packed_model_stays_what_it_is(referring, hub_cache, tmp_path):
    nlp = load(referring)
    nlp.replace_listeners("transformer", "ner", ["model.tok2vec"])
    nlp.remove_pipe("transformer")
    nlp.to_disk(tmp_path / "replaced")
    (model,) = packed_models(tmp_path / "replaced")
    with model.unpacked() as folders:
        assert model.pack(folders) == model.file.read_bytes()
    expected = load(tmp_path / "replaced")(TEXTS[0]).to_json()
    run("lgu", "bundle", tmp_path / "replaced", tmp_path / "bundled")
    shutil.rmtree(hub_cache)
    assert load(tmp_path / "bundled")(TEXTS[0]).to_json() == expected


def test_packed_files_stay_in_their_folder(tmp_path):
    shim = srsly.msgpack_dumps({"files": {"lgu.json": b"{}", "../out": b""}})
    (tmp_path / "model").write_bytes(srsly.msgpack_dumps({"shims": [[shim]]}))
    model = PackedModel(tmp_path / "model")
    with pytest.raises(ValueError, match=r"holds a file '\.\./out', outside the decoder's"):
        model.unpacked().__enter__()
    assert not (tmp_path / "out").exists()


def test_a_model_has_a_largest_size(referring, tmp_path, monkeypatch):
    nlp = load(referring)
    nlp.replace_listeners("transformer", "ner", ["model.tok2vec"])
    nlp.to_disk(tmp_path / "replaced")
    monkeypatch.setattr("spacy_lgu.sharing.packed._MAX_BYTES", 10_000)
    message = failure("lgu", "bundle", tmp_path / "replaced", tmp_path / "bundled")
    assert "cannot hold more than 4 GiB" in message
    assert not (tmp_path / "bundled").exists()


def test_another_name_for_the_same_base(hub_cache, decoder_folder, tmp_path):
    bundled = save_nlp(decoder_folder, tmp_path / "bundled", quantization="nf4")
    expected = outputs(bundled)
    run("lgu", "unbundle", bundled, tmp_path / "out", "--base", NAME)
    found = load(tmp_path / "out")
    model = found.config["components"]["transformer"]["model"]
    assert (model["name"], model["revision"]) == (NAME, COMMIT)
    adapter = json.loads((tmp_path / "out/transformer/adapter/adapter_config.json").read_text())
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == (NAME, COMMIT)
    run("lgu", "verify", tmp_path / "out")
    assert outputs(tmp_path / "out") == expected


def test_a_base_that_was_stored_quantized(hub_cache, decoder_folder, tmp_path):
    stored = tmp_path / "stored"
    run("lgu", "fetch", decoder_folder, stored, "--quantize", "nf4", "--dtype", "float32")
    bundled = save_nlp(stored, tmp_path / "bundled", quantization="nf4")
    for base in (stored, NAME):
        run("lgu", "unbundle", bundled, tmp_path / "out", "--base", base, "--force")
        assert outputs(tmp_path / "out") == outputs(bundled)


def test_unbundle_names_the_first_weight_that_differs(
    bundled, decoder_folder, other_decoder, tmp_path
):
    shutil.copytree(decoder_folder, tmp_path / "near")
    weights = load_file(tmp_path / "near" / WEIGHTS)
    weights["model.layers.2.mlp.up_proj.weight"][3, 5] += 1e-6
    save_file(weights, tmp_path / "near" / WEIGHTS, metadata={"format": "pt"})
    near = failure("lgu", "unbundle", bundled, tmp_path / "out", "--base", tmp_path / "near")
    assert "1 of its weights differ, the first of them 'layers.2.mlp.up_proj.weight'" in near
    far = failure("lgu", "unbundle", bundled, tmp_path / "out", "--base", other_decoder)
    assert "the first of them 'embed_tokens.weight'" in far
    edit_json(tmp_path / "near" / "config.json", rms_norm_eps=1e-3)
    other = failure("lgu", "unbundle", bundled, tmp_path / "out", "--base", tmp_path / "near")
    assert "says rms_norm_eps = 0.001 instead of 1e-06, which the pipeline has" in other
    assert not (tmp_path / "out").exists()


def test_trained_weights_have_no_base(decoder_folder, tmp_path):
    folder = save_nlp(decoder_folder, tmp_path / "full", tuning="full")
    message = failure("lgu", "unbundle", folder, tmp_path / "out")
    assert "were trained (tuning = 'full'), so that no base has them" in message
    message = failure("lgu", "bundle", folder, tmp_path / "out")
    assert "have their weights with them: there is nothing to bundle" in message


def test_what_is_wrong_in_a_model_is_told_with_its_file(decoder_folder, other_decoder, tmp_path):
    nlp = make_nlp(decoder_folder)
    nlp.replace_listeners("transformer", "ner", ["model.tok2vec"])
    nlp.remove_pipe("transformer")
    nlp.to_disk(tmp_path / "replaced")
    arguments = (tmp_path / "replaced", tmp_path / "out", "--base", other_decoder)
    message = failure("lgu", "unbundle", *arguments)
    assert "the first of them 'embed_tokens.weight'" in message
    assert f"In '{tmp_path / 'replaced' / 'ner' / 'model'}'." in message


def test_unbundle_needs_a_bundle(referring, tmp_path):
    message = failure("lgu", "unbundle", referring, tmp_path / "out")
    assert "there is nothing to unbundle" in message
    message = failure("lgu", "unbundle", referring, tmp_path / "out", "--revision", "main")
    assert "--revision is 'main': expected --base as well" in message


def test_outputs_are_not_overwritten(referring, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").touch()
    assert "Use --force to replace it" in failure("lgu", "bundle", referring, out)
    assert [path.name for path in out.iterdir()] == ["mine"]
    run("lgu", "bundle", referring, out, "--force")
    assert not (out / "mine").exists()
    for place in (referring, referring / "in", tmp_path):
        assert "Name a folder beside it" in failure("lgu", "bundle", referring, place, "--force")


def test_damage_and_a_missing_base_are_found_first(referring, hub_cache, tmp_path, monkeypatch):
    monkeypatch.delattr("spacy_lgu.sharing.rewriting.replace_folder")
    patched = referring / "ner" / "cfg"
    whole = patched.read_text()
    patched.write_text("{}")
    message = failure("lgu", "bundle", referring, tmp_path / "out")
    assert "../ner/cfg is missing or not what was saved" in message
    patched.write_text(whole)
    shutil.rmtree(hub_cache)
    message = failure("lgu", "bundle", referring, tmp_path / "out")
    assert "needs its base decoder 'org/tiny', which cannot be read" in message


def test_a_pipeline_is_needed(tmp_path):
    message = failure("lgu", "bundle", tmp_path / "no", tmp_path / "out")
    assert "There is no saved pipeline in" in message
    spacy.blank("en").to_disk(tmp_path / "blank")
    for command in (["bundle"], ["unbundle"], ["export"]):
        message = failure("lgu", *command, tmp_path / "blank", tmp_path / "out")
        assert "There is no decoder of this package in" in message
    message = failure("lgu", "push", tmp_path / "blank", "org/name", "--dry-run")
    assert "There is no decoder of this package in" in message


def test_another_width_is_found_first(referring, tmp_path):
    edit_description(referring / "transformer", width=63)
    message = failure("lgu", "bundle", referring, tmp_path / "out")
    assert "was saved with vectors of width 63, but those of 'org/tiny' have 64" in message


def test_saves_without_hashes(referring, tmp_path):
    make_format_1(referring / "transformer")
    run("lgu", "bundle", referring, tmp_path / "bundled")
    run("lgu", "verify", tmp_path / "bundled")
    saved = json.loads((tmp_path / "bundled" / "transformer" / "lgu.json").read_text())
    assert "tokenizer/tokenizer.json" in saved["files"]


def test_two_transformers(hub_cache, decoder_folder, tmp_path):
    nlp = make_nlp(decoder_folder)
    nlp.add_pipe(
        "lgu_transformer",
        name="second",
        config={"model": layer_config(NAME, n_layers=2, unmasking="cb")},
    )
    nlp.get_pipe("second").initialize(list, nlp=nlp)
    nlp.to_disk(tmp_path / "mixed")
    expected = outputs(tmp_path / "mixed")
    assert "base of second" in " ".join(
        run("lgu", "bundle", tmp_path / "mixed", tmp_path / "a").split()
    )
    assert outputs(tmp_path / "a") == expected
    printed = run("lgu", "unbundle", tmp_path / "a", tmp_path / "b", "--base", NAME)
    assert "base of second, transformer" in " ".join(printed.split())
    assert outputs(tmp_path / "b") == expected
    run("lgu", "verify", tmp_path / "b")


def test_what_a_killed_save_left(referring, hub_cache, tmp_path):
    expected = outputs(referring)
    (referring / "transformer").rename(referring / ".transformer.previous")
    (referring / ".ner.partial-1-00000000").mkdir()
    run("lgu", "bundle", referring, tmp_path / "bundled")
    assert {*BUNDLED} <= contents(tmp_path / "bundled").keys()
    assert not any(path.name.startswith(".") for path in (tmp_path / "bundled").iterdir())
    assert (referring / ".transformer.previous").is_dir()
    assert outputs(tmp_path / "bundled") == expected


def test_what_was_removed_from_the_pipeline(referring, other_decoder, tmp_path):
    nlp = make_nlp(other_decoder, pipes=(), component={"base_weights": "reference"})
    nlp.get_pipe("transformer").to_disk(referring / "earlier")
    edit_json(referring / "earlier" / "lgu.json", format=3)
    run("lgu", "bundle", referring, tmp_path / "bundled")
    assert (tmp_path / "bundled" / "earlier" / "lgu.json").is_file()


def test_damage_of_a_second_decoder_is_found(decoder_folder, tmp_path):
    nlp = make_nlp(decoder_folder, pipes=())
    config = {"model": layer_config(decoder_folder)}
    nlp.add_pipe("lgu_transformer", name="second", config=config)
    nlp.get_pipe("second").initialize(list, nlp=nlp)
    nlp.to_disk(tmp_path / "two")
    for name in ("transformer", "second"):
        shutil.copytree(tmp_path / "two", tmp_path / name)
        file = tmp_path / name / name / "adapter" / "adapter_model.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        for command in (("unbundle", tmp_path / "out"), ("push", "me/two", "--dry-run")):
            told = failure("lgu", command[0], tmp_path / name, *command[1:])
            assert "adapter_model.safetensors is missing or not what was saved" in told


def test_the_base_of_the_record_is_at_its_commit(
    tmp_path,
    monkeypatch,
    decoder_folder,
    other_decoder,
):
    (tmp_path / "hub").mkdir()
    fill_cache(tmp_path / "hub", NAME, {COMMIT: decoder_folder})
    use_cache(tmp_path / "hub", monkeypatch)
    save_nlp(NAME, tmp_path / "bundled", component={"base_weights": "bundle"})
    shutil.rmtree(tmp_path / "hub")
    (tmp_path / "hub").mkdir()
    fill_cache(tmp_path / "hub", NAME, {COMMIT: decoder_folder, "2" * 40: other_decoder})
    run("lgu", "unbundle", tmp_path / "bundled", tmp_path / "out")
    assert outputs(tmp_path / "out") == outputs(tmp_path / "bundled")
