"""`spacy lgu package` on a trained pipeline, and what comes out of it installed."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib

import pytest
import spacy

from spacy_lgu.pipeline import packaging

from .conftest import ROOT, add_own_component, entities, failure, run

META = {"version": "1.0", "spacy_version": ">=3.8", "requirements": []}
# spaCy's package command does not close the files it writes.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


def test_packaged_pipeline_loads_by_its_name(ner_pipeline, tmp_path):
    run("lgu", "package", ner_pipeline, tmp_path, "--name", "lgu_tiny", "--version", "1.2.3")
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
    expected = [list(pair) for pair in entities(spacy.load(ner_pipeline)("Bo Ray moved to Oslo."))]
    assert json.loads(printed) == ["1.2.3", expected]


def test_package_refuses_to_replace(ner_pipeline, tmp_path):
    (tmp_path / "lgu_tiny-0.0.0").mkdir()
    message = failure("lgu", "package", ner_pipeline, tmp_path, "--name", "lgu_tiny", "--no-build")
    assert "exists already. Use --force" in message
    run("lgu", "package", ner_pipeline, tmp_path, "--name", "lgu_tiny", "--no-build", "--force")
    assert (tmp_path / "lgu_tiny-0.0.0" / "lgu_tiny" / "__init__.py").is_file()


def test_package_with_code_and_a_version_of_several_parts(ner_pipeline, tmp_path):
    code = add_own_component(ner_pipeline, tmp_path / "nlp", "test_package_code")
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


def test_package_needs_build(ner_pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_lgu.pipeline.packaging.find_spec", {}.get)
    message = failure("lgu", "package", ner_pipeline, tmp_path, "--name", "lgu_tiny")
    assert "pip install 'spacy-lgu[package]'" in message


def test_package_with_any_description_and_license(ner_pipeline, tmp_path):
    shutil.copytree(ner_pipeline, tmp_path / "pipeline")
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
    assert packaging._pyproject("x", {**META, "license": name}, "d").count(f'"{expression}"') == 1
