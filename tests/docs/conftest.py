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


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Of commands: a `python` that starts at once, the hub's cache, and an installed pipeline."""
    folder = tmp_path_factory.mktemp("commands")
    address = folder / "server"
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    write_client(folder / "bin", address)
    programs = [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join(programs),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(shared / "site")]),
        "HF_HOME": str(shared / "hub-home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    environment.pop("PYTEST_CURRENT_TEST", None)
    command = [sys.executable, "-m", "tests.docs.forking", str(address)]
    server = subprocess.Popen(command, env=environment, cwd=ROOT)
    while not address.exists():
        if server.poll() is not None:
            pytest.fail(f"{command} ended with {server.returncode}")
        time.sleep(0.05)
    with FileLock(shared / "prepared.lock"):
        if not (shared / "prepared").exists():
            places = [shared / "new", shared / "hub-home", shared / "site"]
            run(environment, ROOT, "-m", "tests.docs.folder", *map(str, places))
            (shared / "new").rename(shared / "prepared")
    environment["PREPARED"] = str(shared / "prepared")
    yield environment
    server.terminate()
    server.wait()


@pytest.fixture
def folder(environment, tmp_path):
    """A copy of the prepared folder for one page."""
    return Path(shutil.copytree(environment["PREPARED"], tmp_path / "folder", symlinks=True))


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
