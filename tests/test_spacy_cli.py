"""spaCy's own commands on the project's configs, run in this process with a tiny decoder."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import spacy
import spacy.cli
from spacy.tokens import DocBin
from spacy.training import Corpus
from spacy.util import load_config
from typer.testing import CliRunner

from spacy_lgu.cli import package
from spacy_lgu.decoder.building import check_settings
from spacy_lgu.decoder.source import Source
from spacy_lgu.unmasking import list_patterns

ROOT = Path(__file__).parents[1]
NER_CONFIG = ROOT / "configs" / "lgu_mistral_ner.cfg"
SPANCAT_CONFIG = ROOT / "configs" / "lgu_mistral_spancat.cfg"
META = {"version": "1.0", "spacy_version": ">=3.8", "requirements": []}
SENTENCES = [
    ("Ann Lee works in Rome.", [(0, 7, "PERSON"), (17, 21, "GPE")]),
    ("Bo Ray moved to Oslo.", [(0, 6, "PERSON"), (16, 20, "GPE")]),
    ("Nothing happened here.", []),
    ("Rome and Oslo like Ann Lee.", [(0, 4, "GPE"), (9, 13, "GPE"), (19, 26, "PERSON")]),
]


def run(*args) -> str:
    """Run `python -m spacy ARGS` and return what it printed."""
    result = CliRunner().invoke(spacy.cli.app, [str(arg) for arg in args])
    if result.exception is not None and not (
        isinstance(result.exception, SystemExit) and result.exit_code == 0
    ):
        raise AssertionError(f"{args}: {result.output}") from result.exception
    return result.output


def entities(doc) -> list[tuple[str, str]]:
    return [(ent.text, ent.label_) for ent in doc.ents]


def add_own_component(pipeline: Path, folder: Path, factory: str) -> Path:
    """Copy a pipeline and append a component "own" to it. RETURNS: The code it needs."""
    code = folder.with_name("own_parts.py")
    code.write_text(
        f"import spacy\n@spacy.Language.component({factory!r})\ndef pass_on(doc):\n    return doc\n"
    )
    shutil.copytree(pipeline, folder)
    config = load_config(folder / "config.cfg")
    config["nlp"]["pipeline"].append("own")
    config["components"]["own"] = {"factory": factory}
    config.to_disk(folder / "config.cfg")
    return code


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """train.spacy, with entities and the same spans under the key sc."""
    nlp = spacy.blank("en")
    docs = []
    for text, spans in SENTENCES * 3:
        doc = nlp.make_doc(text)
        doc.ents = [doc.char_span(start, end, label=label) for start, end, label in spans]
        doc.spans["sc"] = list(doc.ents)
        docs.append(doc)
    path = tmp_path_factory.mktemp("corpus") / "train.spacy"
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path


@pytest.fixture(scope="module")
def overrides(decoder_folder, corpus) -> list:
    return [
        "--paths.decoder", decoder_folder,
        "--paths.train", corpus,
        "--paths.dev", corpus,
        "--components.transformer.model.lora.rank", 4,
        "--training.max_steps", 4,
        "--training.optimizer.learn_rate.total_steps", 4,
        "--training.eval_frequency", 2,
        "--training.optimizer.learn_rate.initial_rate", 0.02,
        "--training.optimizer.learn_rate.warmup_steps", 1,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory, overrides) -> Path:
    """A NER pipeline, trained by the shipped config: NF4 and LoRA."""
    output = tmp_path_factory.mktemp("ner")
    printed = run("train", NER_CONFIG, "--output", output, *overrides)
    assert "Saved pipeline" in printed
    return output / "model-last"


@pytest.fixture(scope="module")
def spancat_pipeline(tmp_path_factory, overrides) -> Path:
    """A span categorizer, trained in full."""
    output = tmp_path_factory.mktemp("spancat")
    run(
        "train", SPANCAT_CONFIG, "--output", output, *overrides,
        "--components.transformer.model.quantization", "none",
        "--components.transformer.model.tuning", "full",
    )  # fmt: skip
    return output / "model-last"


def test_train_saves_what_was_configured(pipeline):
    saved = json.loads((pipeline / "transformer" / "lgu.json").read_text())
    assert (saved["unmasking"], saved["quantization"], saved["tuning"]) == ("ccbb", "nf4", "lora")
    assert saved["base_weights"] == "bundle"
    assert spacy.load(pipeline).pipe_names == ["transformer", "ner", "doc_cleaner"]


def test_fill_config(tmp_path):
    partial, filled = tmp_path / "partial.cfg", tmp_path / "filled.cfg"
    partial.write_text(
        '[nlp]\nlang = "en"\npipeline = ["transformer"]\n\n[components]\n\n'
        '[components.transformer]\nfactory = "lgu_transformer"\n\n'
        '[components.transformer.model]\n@architectures = "spacy-lgu.LGUTransformer.v1"\n'
        'unmasking = "cccb"\n'
    )
    run("init", "fill-config", partial, filled)
    component = load_config(filled)["components"]["transformer"]
    assert component["base_weights"] == "auto"
    assert component["max_batch_items"] == 4096
    assert component["model"] == {
        "@architectures": "spacy-lgu.LGUTransformer.v1",
        "name": "mistralai/Mistral-7B-v0.3",
        "revision": None,
        "unmasking": "cccb",
        "quantization": "nf4",
        "dtype": "auto",
        "tuning": "lora",
        "gradient_checkpointing": False,
        "window": None,
        "stride": None,
        "tokenizer_config": {},
        "optimizer": None,
        "self_test": True,
        "lora": {
            "@misc": "spacy-lgu.lora.v1",
            "rank": 64,
            "alpha": 16,
            "dropout": 0.1,
            "modules": "attention",
            "path": None,
        },
        "get_spans": {"@span_getters": "spacy-transformers.doc_spans.v1"},
    }


@pytest.mark.parametrize("config", [NER_CONFIG, SPANCAT_CONFIG], ids=["ner", "spancat"])
def test_shipped_configs_are_complete(config, tmp_path):
    run("init", "fill-config", config, tmp_path / "filled.cfg")
    # `debug config` and `debug data` fill in nothing, so nothing may be left to fill in.
    assert load_config(config) == load_config(tmp_path / "filled.cfg")


def test_debug_config(overrides):
    assert "Config is valid" in run("debug", "config", NER_CONFIG, *overrides)


def test_debug_data(overrides, tmp_path):
    paths = []
    for part in ("train", "dev"):
        source = ROOT / "assets" / "corpus" / "ner" / f"{part}.txt"
        run("lgu", "convert", source, tmp_path / f"{part}.spacy", "--format", "inline")
        paths += [f"--paths.{part}", tmp_path / f"{part}.spacy"]
    printed = run("debug", "data", NER_CONFIG, *overrides, *paths, "--no-format")
    assert "16 label(s)" in printed


@pytest.mark.parametrize("name", ["transformer", "ner"])
def test_debug_model(overrides, name):
    printed = run("debug", "model", NER_CONFIG, name, *overrides, "-l", "0", "-P0", "-P3")
    assert re.search("prediction", printed, re.IGNORECASE)


def test_evaluate(pipeline, corpus, tmp_path):
    run("evaluate", pipeline, corpus, "--output", tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text())
    nlp = spacy.load(pipeline)
    expected = nlp.evaluate(list(Corpus(corpus)(nlp)))["ents_f"]
    assert scores["ents_f"] == pytest.approx(expected)
    assert scores["ents_f"] > 0
    assert scores["speed"] > 0


def test_apply_gives_the_same_as_the_pipeline(pipeline, tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for i, (text, _) in enumerate(SENTENCES):
        (texts / f"{i}.txt").write_text(text)
    run("apply", pipeline, texts, tmp_path / "out.spacy", "--force")
    nlp = spacy.load(pipeline)
    applied = list(DocBin().from_disk(tmp_path / "out.spacy").get_docs(nlp.vocab))
    assert {doc.text: entities(doc) for doc in applied} == {
        text: entities(nlp(text)) for text, _ in SENTENCES
    }


def test_assemble(pipeline, tmp_path):
    config = load_config(NER_CONFIG)
    config["components"] = {
        name: {"source": str(pipeline)} for name in ("transformer", "ner", "doc_cleaner")
    }
    config.to_disk(tmp_path / "config.cfg")
    run("assemble", tmp_path / "config.cfg", tmp_path / "assembled")
    before, after = spacy.load(pipeline), spacy.load(tmp_path / "assembled")
    for text, _ in SENTENCES:
        assert entities(before(text)) == entities(after(text))


def test_find_threshold(spancat_pipeline, corpus):
    printed = run(
        "find-threshold", spancat_pipeline, corpus, "spancat", "threshold", "spans_sc_f",
        "--n_trials", "3",
    )  # fmt: skip
    assert re.search(r"Best threshold", printed)


def test_benchmark_speed(pipeline, corpus):
    printed = run(
        "benchmark", "speed", pipeline, corpus, "--batches", "30", "--warmup", "1", "-b", "4"
    )
    assert "words/s" in printed.lower()


def test_benchmark_accuracy(pipeline, corpus):
    assert "NER F" in run("benchmark", "accuracy", pipeline, corpus)


@pytest.mark.parametrize("pattern", list_patterns(4))
def test_patterns_arrive_intact_through_overrides(pattern):
    overrides = spacy.cli._util.parse_config_overrides(
        ["--components.transformer.model.unmasking", pattern]
    )
    config = load_config(NER_CONFIG, overrides=overrides)
    assert config["components"]["transformer"]["model"]["unmasking"] == pattern


def test_digits_as_override_get_a_clear_error(tmp_path, overrides):
    with pytest.raises(AssertionError) as error:
        run(
            "train", NER_CONFIG, "--output", tmp_path, *overrides,
            "--components.transformer.model.unmasking", "0011",
        )  # fmt: skip
    assert "arrived as the integer 11" in str(error.value.__cause__)


@pytest.mark.parametrize("pattern", list_patterns(4))
def test_patterns_arrive_intact_through_the_project(pattern, monkeypatch):
    monkeypatch.chdir(ROOT)
    printed = run("project", "run", "train", ".", "--dry", "--force", "--vars.unmasking", pattern)
    assert printed.count(f"--components.transformer.model.unmasking {pattern} ") == 2


def test_project_trains_a_decoder_from_the_hub_by_vars_alone(monkeypatch):
    monkeypatch.chdir(ROOT)
    name, commit = "mistralai/Mistral-7B-v0.3", "caa1feb0e54d415e2df31207e5f4e273e33509b1"
    printed = run(
        "project", "run", "train", ".", "--dry", "--force",
        "--vars.decoder", name, "--vars.revision", commit, "--vars.gpu_id", "0",
    )  # fmt: skip
    assert printed.count(f"--paths.decoder {name} --paths.revision {commit} ") == 2
    assert printed.count("--gpu-id 0 ") == 2


# spaCy's package command does not close the files it writes.
leaves_files_open = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@leaves_files_open
def test_packaged_pipeline_loads_by_its_name(pipeline, tmp_path):
    run("lgu", "package", pipeline, tmp_path, "--name", "lgu_tiny", "--version", "1.2.3")
    (wheel,) = (tmp_path / "lgu_tiny-1.2.3" / "dist").glob("*.whl")
    assert wheel.name == "lgu_tiny-1.2.3-py3-none-any.whl"
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
         "--target", site, wheel],
        check=True,
    )  # fmt: skip
    # Another folder and a process of its own, the network off.
    script = (
        "import json, spacy; nlp = spacy.load('lgu_tiny'); doc = nlp('Bo Ray moved to Oslo.');"
        "print(json.dumps([nlp.meta['version'], [[e.text, e.label_] for e in doc.ents]]))"
    )
    env = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}
    printed = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=env, check=True, capture_output=True
    ).stdout
    expected = [list(pair) for pair in entities(spacy.load(pipeline)("Bo Ray moved to Oslo."))]
    assert json.loads(printed) == ["1.2.3", expected]


@leaves_files_open
def test_package_refuses_to_replace(pipeline, tmp_path):
    (tmp_path / "lgu_tiny-0.0.0").mkdir()
    with pytest.raises(AssertionError) as error:
        run("lgu", "package", pipeline, tmp_path, "--name", "lgu_tiny", "--no-build")
    assert "exists already. Use --force" in str(error.value.__cause__)
    run("lgu", "package", pipeline, tmp_path, "--name", "lgu_tiny", "--no-build", "--force")
    assert (tmp_path / "lgu_tiny-0.0.0" / "lgu_tiny" / "__init__.py").is_file()


@leaves_files_open
def test_package_with_code_and_a_version_of_several_parts(pipeline, tmp_path):
    code = add_own_component(pipeline, tmp_path / "nlp", "test_package_code")
    run(
        "lgu", "package", tmp_path / "nlp", tmp_path, "--name", "lgu_own", "--no-build",
        "--version", "1.0.0-rc1", "--code", code,
    )  # fmt: skip
    script = "import lgu_own; print(lgu_own.load().pipe_names[-1], lgu_own.__version__)"
    env = {**os.environ, "PYTHONPATH": f"{tmp_path / 'lgu_own-1.0.0-rc1'}:{ROOT}"}
    printed = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=env, check=True, capture_output=True
    ).stdout
    assert printed.split() == [b"own", b"1.0.0-rc1"]


def test_package_needs_build(pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_lgu.cli.package.find_spec", {}.get)
    with pytest.raises(AssertionError) as error:
        run("lgu", "package", pipeline, tmp_path, "--name", "lgu_tiny")
    assert "pip install 'spacy-lgu[package]'" in str(error.value.__cause__)


def test_fetch_checks_a_folder(decoder_folder):
    printed = run("lgu", "fetch", decoder_folder, "--unmasking", "cb", "--revision", "null")
    assert "layers 0-1 causal, layers 2-3" in " ".join(printed.split())


def test_fetch_refuses_too_many_groups(decoder_folder):
    with pytest.raises(AssertionError) as error:
        run("lgu", "fetch", decoder_folder, "--unmasking", "ccccb")
    assert "Cannot divide 4 decoder layers into 5 layer groups" in str(error.value.__cause__)


def test_fetch_downloads_the_weights_of_a_decoder_from_the_hub(decoder_folder, monkeypatch):
    # The checks run on a folder; only its source is said to be the hub.
    def check(settings, tokenizer_config):
        checked = check_settings(settings, tokenizer_config)
        return replace(checked, source=Source("org/name", decoder_folder, "abc"))

    def download(name, file, *, revision, cache_dir):
        return str(decoder_folder / file)

    monkeypatch.setattr("spacy_lgu.decoder.building.check_settings", check)
    monkeypatch.setattr("spacy_lgu.decoder.source.hf_hub_download", download)
    assert "1 weights file(s) at commit abc" in run("lgu", "fetch", decoder_folder)


def test_fetch_checks_the_quantization(decoder_folder, tmp_path):
    shutil.copytree(decoder_folder, tmp_path / "nf4")
    file = tmp_path / "nf4" / "config.json"
    config = json.loads(file.read_text())
    stored = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    # fp4 is what transformers makes unless told otherwise.
    for kind, options in (("nf4", []), ("fp4", ["--quantization", "nf4"])):
        stored["bnb_4bit_quant_type"] = kind
        file.write_text(json.dumps({**config, "quantization_config": stored}))
        with pytest.raises(AssertionError) as error:
            run("lgu", "fetch", tmp_path / "nf4", *options)
        assert "already quantized" in str(error.value.__cause__)
    stored["bnb_4bit_quant_type"] = "nf4"
    file.write_text(json.dumps({**config, "quantization_config": stored}))
    printed = run("lgu", "fetch", tmp_path / "nf4", "--quantization", "nf4")
    assert "is a mistral decoder" in " ".join(printed.split())


@leaves_files_open
def test_package_with_any_description_and_license(pipeline, tmp_path):
    shutil.copytree(pipeline, tmp_path / "pipeline")
    meta = tmp_path / "pipeline" / "meta.json"
    description = 'Finds "names", \\d and """more""".'
    changed = {"description": description, "license": "CC BY-SA 4.0 (own)"}
    meta.write_text(json.dumps({**json.loads(meta.read_text()), **changed}))
    run("lgu", "package", tmp_path / "pipeline", tmp_path, "--name", "lgu_any", "--no-build")
    made = tmp_path / "lgu_any-0.0.0"
    module = ast.parse((made / "lgu_any" / "__init__.py").read_text())
    assert ast.get_docstring(module, clean=False) == description
    project = tomllib.loads((made / "pyproject.toml").read_text())["project"]
    assert project["license"] == "LicenseRef-CC-BY-SA-4.0-own"


@pytest.mark.parametrize(
    ("name", "expression"),
    [("mit", "MIT"), ("", "LicenseRef-Unknown"), ("日本語", "LicenseRef-Unknown")],
)
def test_licenses_of_packages(name, expression):
    assert package._pyproject("x", {**META, "license": name}, "d").count(f'"{expression}"') == 1


def test_project_passes_the_vars_of_the_benchmark_on(monkeypatch):
    monkeypatch.chdir(ROOT)
    printed = run(
        "project", "run", "benchmark", ".", "--dry", "--force",
        "--vars.task", "own,wnut17", "--vars.data", "my/data", "--vars.systems", "qlora,twin",
        "--vars.decoders", "decoder=org/name,twin=my/twin", "--vars.seeds", "3",
        "--vars.gpu_id", "0",
    )  # fmt: skip
    commands = [" ".join(line.split()) for line in printed.splitlines() if "benchmarks/" in line]
    study, results = "--study benchmarks/study.yml", "--results metrics/benchmark.jsonl"
    for command, expected in zip(
        commands,
        [
            f"fetch_corpora.py my/data {study} --task own,wnut17",
            f"study.py convert {study} --task own,wnut17 --data my/data",
            f"study.py run {study} --task own,wnut17 --system qlora,twin --pattern all --seeds 3 "
            f"--limit 0 --decoders=decoder=org/name,twin=my/twin {results} --gpu-id 0",
            f"study.py report {study} --limit 0 {results} --output docs/results.md",
        ],
        strict=True,
    ):
        assert command.endswith(f"benchmarks/{expected}")
