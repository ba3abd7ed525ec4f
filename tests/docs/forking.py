"""Commands in milliseconds: a server that has imported spaCy and torch forks a process for each.

`python -m spacy ...` spends five seconds on imports, and the pages hold a hundred such commands.
The folder from `write_client` goes first in PATH: its `python` hands arguments, environment, folder
and the three streams to the server, which runs them in a fork as Python itself would.
"""

import gc
import importlib
import json
import os
import runpy
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path

from .blocks import ROOT
from .commands import CONSTANTS

_PYTHON = sys.executable
_CLIENT = '''"""python, run by the server at {address}."""
import json, os, socket, sys

request = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    # A request may be longer than what goes with the streams: its length comes first.
    data = json.dumps(request).encode()
    socket.send_fds(server, [len(data).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(data)
    answer = server.recv(1)
sys.exit(answer[0] if answer else "The process was killed.")
'''


def write_client(folder: Path, address: Path) -> None:
    """Write `python`, which asks the server.

    folder (Path): Goes first in PATH.
    address (Path): The server's socket.
    """
    folder.mkdir(parents=True)
    client = folder / "client.py"
    client.write_text(_CLIENT.format(address=str(address)))
    python = folder / "python"
    # Isolated and without site-packages, which takes a fifth of the time.
    python.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S {shlex.quote(str(client))} "$@"\n'
    )
    python.chmod(0o755)
    (folder / "python3").symlink_to("python")


def serve(address: str) -> None:
    """Import what commands need, and fork for each request until the process is ended.

    address (str): Socket to make; it is there once all is imported.
    """
    import torch
    from transformers import AutoTokenizer

    # In this order: the first silences what libraries say as they are imported.
    for name in ("spacy_lgu.pipeline.transformer", "spacy_lgu.pipeline.sequence_labeler", "peft"):
        importlib.import_module(name)
    for module, name, value, _ in CONSTANTS:
        vars(importlib.import_module(module))[name] = value
    # transformers imports the configs of all families for the first one.
    AutoTokenizer.from_pretrained(ROOT / "assets/decoder")
    # Threads do not survive a fork.
    torch.set_num_threads(1)
    gc.freeze()  # else each fork copies all that its collector looks at
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address + ".new")
        server.listen(16)
        os.rename(address + ".new", address)
        while True:
            connection, _ = server.accept()
            with connection:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    server.close()
                    _answer(connection)


def _answer(connection: socket.socket) -> None:
    """In the fork: run one request, send its exit status and end."""
    status = 1
    try:
        length, streams, _, _ = socket.recv_fds(connection, 8, 3)
        data = b""
        while len(data) < int.from_bytes(length, "big"):
            data += connection.recv(1 << 16)
        request = json.loads(data)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        # What a command starts in Python comes to the server, too.
        sys.executable = shutil.which("python") or _PYTHON
        importlib.invalidate_caches()  # packages may have come since
        run_python(request["arguments"])
        status = 0
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
        if isinstance(exit_.code, str):
            sys.stderr.write(exit_.code + "\n")
    finally:
        try:
            if sys.exc_info()[1] is not None:
                traceback.print_exc()
            for stream in (sys.stdout, sys.stderr):
                if not stream.closed:
                    stream.flush()
            connection.sendall(bytes([status & 255]))
        finally:
            os._exit(status & 255)  # whatever happens, a fork does not go on as the server


def run_python(arguments: list[str]) -> None:
    """Do what `python ARGUMENTS` does: a module, a command, a file, or what is on stdin.

    arguments (list[str]): What follows `python`.
    """
    first, *rest = arguments or [""]
    if first == "-m":
        sys.argv = rest
        sys.path.insert(0, os.getcwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first in ("", "-"):
        sys.argv = [first, *rest]
        sys.path.insert(0, "")
        exec(compile(sys.stdin.read(), "<stdin>", "exec"), {"__name__": "__main__"})
    elif first.startswith("-"):
        sys.exit(subprocess.run([_PYTHON, *arguments]).returncode)
    else:
        sys.argv = [first, *rest]
        sys.path.insert(0, str(Path(first).parent))
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
