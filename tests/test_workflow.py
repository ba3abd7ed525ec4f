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


def test_hooks_before_a_commit_download_nothing():
    config = srsly.yaml_loads((ROOT / ".pre-commit-config.yaml").read_text("utf8"))
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    assert {hook["language"] for hook in config["repos"][0]["hooks"]} == {"system"}
