import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from .blocks import ROOT
from .forking import write_client

_PLUGINS = ("PYTEST_", "COV_", "COVERAGE_")


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that pytest's workers have in common."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def server(tmp_path_factory, shared):
    """RETURNS: The environment in which `python` is a server that has imported everything."""
    folder = tmp_path_factory.mktemp("commands")
    address = folder / "server"
    write_client(folder / "bin", address)
    (shared / "site").mkdir(exist_ok=True)
    programs = [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    # Those of pytest and its plugins, coverage among them, are not for commands.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_PLUGINS)}
    environment = {
        **kept,
        "PATH": os.pathsep.join(programs),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(shared / "site")]),
        "HF_HOME": str(shared / "hub"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [sys.executable, "-m", "tests.docs.forking", str(address)]
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    try:
        while not address.exists():
            if process.poll() is not None:
                pytest.fail(f"{command} ended with {process.returncode}")
            time.sleep(0.05)
        yield environment
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def prepared(server, shared):
    """The folder of which each page gets a copy; the first worker makes it."""
    with FileLock(shared / "prepared.lock"):
        if not (shared / "prepared").exists():
            places = [shared / "new", shared / "hub", shared / "site"]
            for place in places:  # what a worker that failed has left
                shutil.rmtree(place, ignore_errors=True)
            run(server, ROOT, "-m", "tests.docs.folder", *map(str, places))
            (shared / "new").rename(shared / "prepared")
    return shared / "prepared"


@pytest.fixture
def folder(prepared, tmp_path):
    """A copy of the prepared folder for one page."""
    return Path(shutil.copytree(prepared, tmp_path / "folder", symlinks=True))


def run(environment, folder, *arguments):
    """Run Python through the server, as the pages' commands do."""
    result = subprocess.run(
        ["python", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf8",
        executable=shutil.which("python", path=environment["PATH"]),
    )
    if result.returncode:
        pytest.fail(result.stdout, pytrace=False)
    return result.stdout
