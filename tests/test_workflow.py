"""The continuous integration runs what .ci/run runs, on the Pythons that are supported."""

import re
import tomllib
from pathlib import Path

import srsly

ROOT = Path(__file__).parents[1]


def test_the_workflow_runs_the_commands_of_ci_run():
    workflow = srsly.yaml_loads((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = {step["run"] for step in steps if "run" in step}
    script = (ROOT / ".ci" / "run").read_text("utf8")
    assert set(re.findall(r"^make .+$", script, re.MULTILINE)) <= commands
    makefile = (ROOT / "Makefile").read_text("utf8")
    for command in commands:
        assert re.search(rf"^{command.removeprefix('make ')}:", makefile, re.MULTILINE), command


def test_the_oldest_python_is_the_one_that_is_required():
    workflow = srsly.yaml_loads((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf8"))
    versions = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    assert project["requires-python"] == f">={versions[0]}"


def test_both_environments_are_tested_and_cached():
    makefile = (ROOT / "Makefile").read_text("utf8")
    workflow = srsly.yaml_loads((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf8"))
    cached = workflow["jobs"]["test"]["steps"][1]["with"]["cache-dependency-path"].split()
    for name in ("constraints.txt", "constraints-transformers4.txt"):
        assert f"--constraint {name} " in makefile
        assert name in cached
    (test,) = re.findall(r"^test:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert [*re.findall(r"\$\(MAKE\) (.*)", test)] == ["lint types", "check", "check-transformers4"]


def test_the_second_suite_has_all_tests_that_name_spacy_transformers():
    makefile = (ROOT / "Makefile").read_text("utf8")
    rooms = re.search(r"^ROOMS4 = (.+)$", makefile, re.MULTILINE)[1].split()
    listed = [f"tests/{room}" for room in rooms]
    listed += re.findall(r"tests/\w\S*", makefile.split("TESTS4 =")[1].split("\n\n")[0])
    for name in listed:
        assert (ROOT / name).exists(), name
    for file in (ROOT / "tests").rglob("test_*.py"):
        if re.search(r"(?m)^@?needs_stock", file.read_text("utf8")):
            name = str(file.relative_to(ROOT))
            assert name in listed or any(name.startswith(f"{folder}/") for folder in listed), name


def test_constraints_are_those_of_their_environment():
    versions = {}
    for name in ("constraints.txt", "constraints-transformers4.txt"):
        lines = (ROOT / name).read_text("utf8").splitlines()
        versions[name] = dict(line.split("==") for line in lines if not line.startswith("#"))
    newest, with_stock = versions.values()
    assert newest["transformers"].startswith("5.")
    assert "spacy-transformers" not in newest
    assert with_stock["transformers"] == "4.53.2"
    assert with_stock["spacy-transformers"] == "1.4.0"
    shared = ("torch", "spacy", "thinc", "peft", "bitsandbytes", "ruff", "mypy")
    assert {n: newest[n] for n in shared} == {n: with_stock[n] for n in shared}


def test_hooks_before_a_commit_download_nothing():
    config = srsly.yaml_loads((ROOT / ".pre-commit-config.yaml").read_text("utf8"))
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    assert {hook["language"] for hook in config["repos"][0]["hooks"]} == {"system"}
