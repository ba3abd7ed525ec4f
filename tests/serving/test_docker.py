"""The image and the composition, held against the command: neither is built here."""

import json
import re
import shlex

import pytest
import typer
import yaml

from spacy_lgu.cli import app
from spacy_lgu.serving.guarding import OPEN, PATHS
from spacy_lgu.serving.settings import Limits

from ..docs.blocks import ROOT

COMMAND = typer.main.get_command(app).commands["serve"]


def read_steps():
    """RETURNS: The instructions of the Dockerfile with what follows them."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text("utf8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line]


@pytest.fixture(scope="module")
def composition():
    return yaml.safe_load((ROOT / "compose.yml").read_text("utf8"))


def parse(arguments):
    """RETURNS: Options as the command's own parser reads them."""
    return COMMAND.make_context("serve", list(arguments)).params


def test_the_image_runs_the_command():
    steps = dict(read_steps())
    assert json.loads(steps["ENTRYPOINT"]) == ["python", "-m", "spacy", "lgu", "serve"]
    options = parse(json.loads(steps["CMD"]))
    assert (options["host"], str(options["port"])) == ("0.0.0.0", steps["EXPOSE"])
    assert str(options["folder"]) in json.loads(steps["VOLUME"])
    assert steps["USER"] == "10001"
    check = re.search(r"http://127.0.0.1:(\d+)(/[\w/]+)", steps["HEALTHCHECK"])
    assert check[1] == steps["EXPOSE"]
    assert check[2] in OPEN


def test_the_image_copies_files_that_there_are_and_are_not_ignored():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf8").splitlines()
            if line.startswith("!")}  # fmt: skip
    copied = [word for name, words in read_steps() if name == "COPY"
              for word in shlex.split(words)[:-1]]  # fmt: skip
    assert set(copied) == kept
    for name in copied:
        assert (ROOT / name).exists()
    steps = read_steps()
    assert ("ARG", "EXTRAS=serve") in [tuple(step) for step in steps]
    assert any(name == "RUN" and '".[${EXTRAS}]"' in words for name, words in steps)


def test_the_composition_fits_the_command_and_the_image(composition):
    service = composition["services"]["serve"]
    options = parse(service["command"])
    (published,) = service["ports"]
    assert published == f"127.0.0.1:8000:{options['port']}"
    targets = [volume.split(":")[1] for volume in service["volumes"]]
    assert targets == json.loads(dict(read_steps())["VOLUME"])
    assert str(options["folder"]) in targets
    assert str(options["token_file"]) == f"/run/secrets/{service['secrets'][0]}"
    assert list(composition["secrets"]) == service["secrets"]
    grace = int(service["stop_grace_period"].removesuffix("s"))
    assert grace > Limits().timeout + 5


def test_prometheus_reads_the_service(composition):
    scrape = yaml.safe_load((ROOT / "docker" / "prometheus.yml").read_text("utf8"))
    (job,) = scrape["scrape_configs"]
    assert job["metrics_path"] in PATHS
    options = parse(composition["services"]["serve"]["command"])
    assert job["static_configs"] == [{"targets": [f"serve:{options['port']}"]}]
    assert job["authorization"]["credentials_file"] == str(options["token_file"])
    (volume,) = composition["services"]["prometheus"]["volumes"]
    assert (ROOT / volume.split(":")[0]).is_file()
