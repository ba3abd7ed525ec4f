import gc
import json
import logging
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
import requests
import torch
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    BertConfig,
    BitsAndBytesConfig,
    CTRLTokenizer,
    MistralConfig,
    T5Config,
)

from spacy_lgu.decoder import loading
from spacy_lgu.decoder.building import build_decoder, check_settings
from spacy_lgu.decoder.loading import (
    Source,
    find_source,
    fingerprint,
    load_decoder,
    load_shared_base,
    load_tokenizer,
    read_config,
    resolve_dtype,
)

from .conftest import FIRST, SECOND
from .helpers import CPU, IDS, LENGTHS, build, fill_cache, gradients, make_settings, vectors


@pytest.fixture
def no_weights(monkeypatch):
    """Reading a weight fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError("Weights were loaded before the checks were through.")

    monkeypatch.setattr(AutoModel, "from_pretrained", refuse)


@pytest.fixture
def copied_folder(decoder_folder, tmp_path):
    return Path(shutil.copytree(decoder_folder, tmp_path / "copied"))


def check(name, **values):
    return check_settings(make_settings(name, **values), {})


def edit_config(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def shard(folder):
    """Split model.safetensors in two, with an index."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[:9]}
    files["model-00002-of-00002.safetensors"] = names[9:]
    for file, members in files.items():
        save_file({n: tensors[n] for n in members}, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for file, members in files.items() for name in members}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


# Finding


def test_folder_is_found(decoder_folder):
    source = find_source(str(decoder_folder))
    assert source == Source(str(decoder_folder), decoder_folder.resolve(), None)
    assert source.location == str(decoder_folder.resolve())


def test_home_folder_is_found(decoder_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(decoder_folder.parent))
    assert find_source(f"~/{decoder_folder.name}").folder == decoder_folder.resolve()


@pytest.mark.parametrize("name", ["/no/such", "./no", "../no/such", "~/no/such", "a/b/c"])
def test_missing_folder(name):
    with pytest.raises(ValueError, match=f"There is no folder '{name}' .*Give the folder of a"):
        find_source(name)


def test_folder_without_config(tmp_path):
    with pytest.raises(ValueError, match=r"has no config.json: expected a decoder"):
        find_source(str(tmp_path))


def test_folder_has_no_revisions(decoder_folder):
    with pytest.raises(ValueError, match=r"revision = 'main' was given for the folder"):
        find_source(str(decoder_folder), "main")


def test_name_in_the_cache_stands_for_a_commit(hub_name):
    assert find_source(hub_name) == Source(hub_name, None, SECOND)
    assert find_source(hub_name, "main").commit == SECOND
    assert find_source(hub_name, FIRST).commit == FIRST
    assert find_source(hub_name).location == hub_name


def test_revision_is_honoured(hub_name, decoder_folder, other_decoder_folder):
    values = {"tuning": "frozen"}
    first, second = (build(hub_name, revision=r, **values) for r in (FIRST, None))
    assert torch.equal(vectors(first), vectors(build(other_decoder_folder, **values)))
    assert torch.equal(vectors(second), vectors(build(decoder_folder, **values)))
    assert not torch.allclose(vectors(first), vectors(second), atol=0.1)


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
        (GatedRepoError("no", response(403)), OSError, "'org/x' at revision 'v1' is gated: accept"),
        (
            RevisionNotFoundError("no", response(404)),
            ValueError,
            "'org/x' has no revision 'v1': expected a branch",
        ),
        (
            RepositoryNotFoundError("no", response(404)),
            ValueError,
            r"There is no decoder 'org/x': neither .*set HF_TOKEN",
        ),
        (LocalEntryNotFoundError("no"), OSError, "is not in the local cache"),
        (
            EntryNotFoundError("no", response(404)),
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

    monkeypatch.setattr(loading, "hf_hub_download", download)
    with pytest.raises(kind, match=message):
        find_source("org/x", "v1")


@pytest.mark.parametrize("name", ["a b", "org/-x", "x" * 97])
def test_invalid_name(hub_cache, name):
    with pytest.raises(ValueError, match=f"'{name}' is neither a folder here nor a valid name"):
        find_source(name)


# Checking before a weight is read


@pytest.mark.parametrize(
    "config", [BertConfig(), BertConfig(architectures=["BertForMaskedLM"]), T5Config()]
)
def test_encoders_are_refused(tmp_path, no_weights, config):
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"{config.model_type}\\) is not a decoder-only language"):
        check(tmp_path)


def test_refused_family_is_refused_before_weights(tmp_path, no_weights):
    MistralConfig().save_pretrained(tmp_path)
    edit_config(tmp_path, model_type="gemma2", attn_logit_softcapping=50.0)
    with pytest.raises(ValueError, match="family 'gemma2' cannot be unmasked"):
        check(tmp_path)


def test_more_groups_than_layers(decoder_folder, no_weights):
    with pytest.raises(ValueError, match="Cannot divide 4 decoder layers into 5 layer groups"):
        check(decoder_folder, unmasking="ccccb")


def test_float16_cannot_train(decoder_folder, no_weights):
    with pytest.raises(ValueError, match="'float16' cannot train: gradients would underflow"):
        check(decoder_folder, dtype="float16")
    check(decoder_folder, dtype="float16", tuning="frozen")


def test_slow_tokenizer(copied_folder, no_weights):
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (copied_folder / name).unlink()
    (copied_folder / "vocab.json").write_text(json.dumps({"<unk>": 0, "a</w>": 1}))
    (copied_folder / "merges.txt").write_text("#version: 0.2\n")
    CTRLTokenizer(copied_folder / "vocab.json", copied_folder / "merges.txt").save_pretrained(
        copied_folder
    )
    with pytest.raises(ValueError, match=r"is CTRLTokenizer, a slow tokenizer .*tokenizer\.json"):
        check(copied_folder)


def test_tokenizer_config_is_passed_on(decoder_folder):
    source = find_source(str(decoder_folder))
    assert load_tokenizer(source, {"model_max_length": 17}).model_max_length == 17


@pytest.mark.parametrize("n_bytes", [4, 100, -8])
def test_truncated_weights(copied_folder, no_weights, n_bytes):
    file = copied_folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:n_bytes])
    with pytest.raises(ValueError, match=r"model\.safetensors' \(.* bytes\) is damaged or incompl"):
        check(copied_folder)


def test_corrupt_header(copied_folder, no_weights):
    file = copied_folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[8:40] = b"?" * 32
    file.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"is damaged or incomplete: .*Copy or download it again"):
        check(copied_folder)


def test_missing_shard(copied_folder, no_weights):
    shard(copied_folder)
    check(copied_folder)
    (copied_folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"incomplete: model-00002-of-00002.safetensors missing"):
        check(copied_folder)


def test_shards_are_loaded(copied_folder, decoder_folder):
    shard(copied_folder)
    whole, sharded = (build(f, tuning="frozen") for f in (decoder_folder, copied_folder))
    assert torch.equal(vectors(whole), vectors(sharded))
    assert sorted(sharded.files) == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


def test_an_index_that_an_earlier_save_left(copied_folder, no_weights):
    index = {"weight_map": {"norm.weight": "model-00001-of-00002.safetensors"}}
    (copied_folder / "model.safetensors.index.json").write_text(json.dumps(index))
    check(copied_folder)
    assert [file.name for file in loading.weight_files(copied_folder)] == ["model.safetensors"]


def test_local_folder_with_bin_weights_only(copied_folder, no_weights):
    (copied_folder / "model.safetensors").rename(copied_folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"model\.safetensors missing.*convert older \.bin files"):
        check(copied_folder)


def test_cached_repository_with_bin_weights_only(hub_cache, copied_folder, no_weights):
    (copied_folder / "model.safetensors").rename(copied_folder / "pytorch_model.bin")
    fill(hub_cache, copied_folder)
    with pytest.raises(OSError, match=f"no safetensors weights of the decoder 'org/x' at.*{FIRST}"):
        check("org/x")


def fill(cache, folder):
    fill_cache(cache, "org/x", {FIRST: folder})


def test_repository_with_bin_weights_only(hub_cache, copied_folder, no_weights, monkeypatch):
    (copied_folder / "model.safetensors").unlink()
    fill(hub_cache, copied_folder)
    source = find_source("org/x")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    names = ["config.json", "pytorch_model.bin"]
    monkeypatch.setattr(loading.HfApi, "list_repo_files", lambda *args, **kwargs: names)
    with pytest.raises(ValueError, match="'org/x' has no safetensors weights, only other formats"):
        loading.check_weights(source, read_config(source))
    names.append("model.safetensors")
    loading.check_weights(source, read_config(source))


@pytest.mark.parametrize("is_sharded", [False, True])
def test_what_is_loaded_is_downloaded_and_no_more(copied_folder, tmp_path, monkeypatch, is_sharded):
    if is_sharded:
        shard(copied_folder)
    cache, asked = tmp_path / "cache", set()
    cache.mkdir()
    names = [*(file.name for file in copied_folder.iterdir()), "pytorch_model.bin"]

    def download(name, file, *, revision, cache_dir):
        assert (name, revision) == ("org/x", FIRST)
        asked.add(file)
        return shutil.copy(copied_folder / file, cache / file)

    monkeypatch.setattr(loading, "hf_hub_download", download)
    monkeypatch.setattr(loading.HfApi, "list_repo_files", lambda *args, **kwargs: names)
    files = loading.fetch_weights(Source("org/x", None, FIRST))
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    weights = shards if is_sharded else ["model.safetensors"]
    assert files == [cache / name for name in weights]
    index = {"model.safetensors.index.json"} if is_sharded else set()
    assert asked == {"config.json", *weights} | index


def test_cached_repository_with_damaged_or_missing_shards(
    hub_cache, copied_folder, no_weights, monkeypatch
):
    shard(copied_folder)
    fill(hub_cache, copied_folder)
    check("org/x")
    file = hub_cache / f"models--org--x/snapshots/{FIRST}/model-00001-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"model-00001-of-00002.safetensors' .* is damaged"):
        check("org/x")
    file.unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    source = find_source("org/x", FIRST)
    loading.check_weights(source, read_config(source))  # will be downloaded
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"'org/x', model-00001-of-00002.safetensors cannot be found"):
        check("org/x")


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
    edit_config(copied_folder, quantization_config=stored)
    method = getattr(stored["quant_method"], "value", stored["quant_method"])
    message = f"already quantized \\({method}.*quantization = '{quantization}'"
    with pytest.raises(ValueError, match=message):
        check(copied_folder, quantization=quantization)


def test_weights_quantized_as_asked(decoder_folder, tmp_path):
    expected = build(decoder_folder, quantization="nf4", tuning="frozen")
    expected.shared.module.save_pretrained(tmp_path)
    expected.tokenizer.save_pretrained(tmp_path)
    found = build(tmp_path, quantization="nf4", tuning="frozen")
    assert torch.equal(vectors(found), vectors(expected))


def test_damage_behind_the_header_is_named(copied_folder, monkeypatch):
    # Seen when a file changes between the check and the load.
    monkeypatch.setattr(loading, "read_headers", lambda files: {})
    monkeypatch.setattr(loading, "match_weights", lambda *args, **kwargs: "model.")
    file = copied_folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    source = find_source(str(copied_folder))
    with pytest.raises(ValueError, match=r"The weights of .* are damaged: .*delete-cache"):
        load_decoder(source, dtype="float32", quantization="none", device=CPU)


# Loading


def test_decoder_is_loaded_as_transformers_loads_it(decoder_folder):
    built = build(decoder_folder, unmasking="cccc", tuning="frozen")
    expected = AutoModel.from_pretrained(decoder_folder, attn_implementation="eager")
    start = 0
    for length in LENGTHS:
        ids = torch.from_numpy(IDS[start : start + length])[None]
        with torch.no_grad():
            Y = expected(input_ids=ids).last_hidden_state[0]
        torch.testing.assert_close(vectors(built)[start : start + length], Y)
        start += length


@pytest.mark.parametrize(
    ("dtype", "stored"), [("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_dtype_is_that_of_the_weights(decoder_folder, dtype, stored):
    built = build(decoder_folder, dtype=dtype, tuning="frozen")
    assert {p.dtype for p in built.decoder.parameters()} == {stored}
    assert vectors(built).dtype == torch.float32


def test_auto_dtype(monkeypatch):
    assert resolve_dtype("float16", CPU) == "float16"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for supported, dtype in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda s=supported: s)
        assert resolve_dtype("auto", CPU) == dtype
    for capability, dtype in (((8, 0), "bfloat16"), ((7, 5), "float32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda d, c=capability: c)
        assert resolve_dtype("auto", torch.device("cuda")) == dtype


# Sharing


def frozen_pointers(built):
    return {n: p.data_ptr() for n, p in built.decoder.named_parameters() if not p.requires_grad}


def int8_pointers(built):
    states = [getattr(module, "state", None) for module in built.decoder.modules()]
    return [(s.CB.data_ptr(), s.SCB.data_ptr()) for s in states if s is not None]


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_two_builds_share_tensors_but_no_modules(decoder_folder, quantization):
    first = build(decoder_folder, quantization=quantization)
    expected = vectors(first)
    second = build(decoder_folder, quantization=quantization, unmasking="bbbb")
    assert frozen_pointers(first) == frozen_pointers(second)
    assert first.shared is second.shared
    modules = [set(map(id, built.decoder.modules())) for built in (first, second)]
    assert not modules[0] & modules[1]
    trained = [{p.data_ptr() for _, p in built.decoder.trainable()} for built in (first, second)]
    assert not trained[0] & trained[1]
    gradients(second.decoder)
    assert torch.equal(vectors(first), expected)
    assert int8_pointers(first) == int8_pointers(second)
    assert len(int8_pointers(first)) == (4 * 7 if quantization == "int8" else 0)


def test_other_dtype_and_quantization_are_other_bases(decoder_folder):
    builds = [
        build(decoder_folder, tuning="frozen"),
        build(decoder_folder, tuning="frozen", dtype="bfloat16"),
        build(decoder_folder, tuning="frozen", quantization="nf4"),
    ]
    assert len({id(built.shared) for built in builds}) == 3


def test_shared_base_is_freed_with_its_last_pipeline(decoder_folder):
    first, second = build(decoder_folder), build(decoder_folder)
    alive = weakref.ref(first.shared)
    tensor = weakref.ref(next(first.shared.module.parameters()))
    del first
    gc.collect()
    assert alive() is second.shared
    del second
    gc.collect()
    assert alive() is None
    assert tensor() is None


def test_threads_load_one_base(decoder_folder, monkeypatch):
    calls = []
    load = loading.load_decoder

    def count(*args, **kwargs):
        calls.append(1)
        return load(*args, **kwargs)

    monkeypatch.setattr(loading, "load_decoder", count)
    source = find_source(str(decoder_folder))
    options = {"identity": "x", "dtype": "float32", "quantization": "none", "device": CPU}
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(load_shared_base, source, **options) for _ in range(4)]
        bases = {id(future.result()) for future in futures}
    assert len(bases) == len(calls) == 1


# Quantized layers of bitsandbytes


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_evaluation_between_updates_changes_no_gradient(decoder_folder, quantization, dtype):
    built = build(decoder_folder, quantization=quantization, dtype=dtype)
    expected = gradients(built.decoder)
    before = vectors(built)
    found = gradients(built.decoder)
    assert len(found) == 4 * 2 * 2
    for name, gradient in expected.items():
        assert gradient.norm() > 0, name
        assert torch.equal(found[name], gradient), name
    assert torch.equal(vectors(built), before)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_first_calls_of_threads_equal_those_of_one(decoder_folder, quantization, dtype):
    values = {"quantization": quantization, "dtype": dtype, "tuning": "frozen"}
    jobs = [(numpy.roll(IDS, i), LENGTHS) for i in range(8)]
    sequential = build(decoder_folder, **values)
    expected = [sequential.decoder.predict(*job, 1000) for job in jobs]
    del sequential
    gc.collect()
    for _ in range(2):
        fresh = build(decoder_folder, **values)
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(fresh.decoder.predict, *job, 1000) for job in jobs]
            found = [future.result() for future in futures]
        for Y, Y_expected in zip(found, expected, strict=True):
            assert torch.equal(Y, Y_expected)
        del fresh
        gc.collect()


def test_quantized_vectors_are_near_the_plain_ones(decoder_folder):
    plain = vectors(build(decoder_folder, tuning="frozen"))
    for quantization, bound in (("nf4", 0.4), ("int8", 0.1)):
        Y = vectors(build(decoder_folder, tuning="frozen", quantization=quantization))
        assert 0 < (Y - plain).norm() / plain.norm() < bound


def test_int8_does_not_warn_of_its_casts(decoder_folder, caplog):
    built = build(decoder_folder, quantization="int8", dtype="bfloat16")
    with caplog.at_level(logging.DEBUG):
        vectors(built)
        gradients(built.decoder)
    assert not [r for r in caplog.records if "cast" in r.getMessage()]
    logger = logging.getLogger("bitsandbytes.autograd._functions")
    with caplog.at_level(logging.DEBUG):
        logger.warning("something else")
    assert [r.getMessage() for r in caplog.records] == ["something else"]


# Fingerprints


def test_fingerprint_by_eye(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(2)}, file)
    short, full = fingerprint(file, full=False), fingerprint(file, full=True)
    assert short == {"bytes": file.stat().st_size, "header_sha256": full["header_sha256"]}
    assert set(full) == {"bytes", "header_sha256", "sha256"}
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    assert fingerprint(file, full=False) == short
    assert fingerprint(file, full=True)["sha256"] != full["sha256"]


def test_weights_are_checked_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"incomplete: model\.safetensors missing"):
        loading.weight_files(tmp_path)


def test_config_is_read_without_weights(decoder_folder, no_weights):
    assert read_config(find_source(str(decoder_folder))).num_hidden_layers == 4


def test_build_of_damaged_folder_leaves_no_base_behind(copied_folder):
    file = copied_folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-8])
    with pytest.raises(ValueError, match="is damaged"):
        build_decoder(make_settings(copied_folder), {}, device=CPU)
    file.write_bytes(whole)
    assert vectors(build(copied_folder)).shape == (17, 64)
