"""A service in a process of its own: sockets, signals, loading, and the end."""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from ..cores import bound_threads
from .app import make_app
from .naming import Source, find_pipelines
from .service import Service
from .settings import Limits, is_loopback
from .working import make_thread

logger = logging.getLogger("spacy_lgu")

SayT = Callable[[str, str], None]
# Connections at once; what is more gets 503 by the server itself.
_CONNECTIONS = 1000
# Seconds for the last answers to reach their clients.
_LAST_ANSWERS = 5


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a service listens, and to whom.

    host (str): Address or name.
    port (int): Port; 0: a free one.
    token (str | None): What clients must send.
    """

    host: str
    port: int
    token: str | None


def serve(
    named: dict[str, Source], folder: Path | None, place: Place, limits: Limits, say: SayT
) -> None:
    """Serve pipelines until a signal ends it: SIGTERM or SIGINT, after all that was taken is
    answered; a second one, at once. At SIGHUP the folder, and what was named, is read again.

    named (dict[str, Source]): Pipelines by name.
    folder (Path | None): Each pipeline in it is served as well.
    place (Place): Where.
    limits (Limits): What bounds it.
    say (Callable): Gets lines for the user, and of which kind each is.
    RETURNS (None): Raises OSError for an address that cannot be had, and ValueError for pipelines
        that cannot be served.
    """
    wanted = find_pipelines(folder, named)
    if not wanted and folder is None:
        raise ValueError(
            "Expected pipelines to serve, as NAME=PATH or PATH, or a --folder with pipelines in it."
        )
    bound_threads()
    is_local = is_loopback(place.host)
    with _bind(place) as listener:
        if not is_local and place.token is None:
            say(
                f"Anyone who reaches {place.host} may use this service: there is no token. See "
                "--token-file.", "warn",
            )  # fmt: skip
        logger.addFilter(_hide_texts)
        try:
            asyncio.run(_Run(named, folder, place, limits, say, listener).run(wanted))
        finally:
            logger.removeFilter(_hide_texts)


class _Run:
    """A service from its first to its last moment."""

    def __init__(
        self, named: dict[str, Source], folder: Path | None, place: Place, limits: Limits,
        say: SayT, listener: socket.socket,
    ) -> None:  # fmt: skip
        self._named, self._folder, self._say, self._limits = named, folder, say, limits
        self._listener = listener
        self._service = Service(limits)
        app = make_app(self._service, token=place.token, local=is_loopback(place.host))
        host, port = listener.getsockname()[:2]
        self._address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        config = uvicorn.Config(
            app,
            access_log=False,
            h11_max_incomplete_event_size=32 * 1024,  # for the head of a request
            http="h11",
            lifespan="off",
            limit_concurrency=_CONNECTIONS,
            log_config=None,
            loop="asyncio",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_LAST_ANSWERS,
            ws="none",
        )
        self._server = _Server(config, self._begin_end)
        self._failures: dict[str, str] = {}
        self._reload = threading.Event()

    async def run(self, wanted: dict[str, Source]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._service.start()
        if hasattr(signal, "SIGHUP"):
            self._loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        make_thread(partial(self._load, wanted), "loading").start()
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
        self._service.drain()
        if self._service.n_open:
            self._say(
                f"{self._service.n_open} requests are being answered; a second signal ends it now.",
                "info",
            )
        await asyncio.to_thread(self._service.wait_until_idle, self._limits.timeout + 1)
        self._server.should_exit = True
        await serving
        ending.cancel()
        await asyncio.to_thread(self._service.stop)
        if self._failures:
            lines = [f"{name}: {reason}" for name, reason in self._failures.items()]
            raise ValueError("\n".join(["These pipelines cannot be served:", *lines]))
        self._say("All that was taken is answered.", "good")

    def _load(self, wanted: dict[str, Source]) -> None:
        """Load the pipelines, and once more at each SIGHUP; in a thread, since it takes long."""
        self._say(f"Loading {len(wanted)} pipelines, listening at {self._address}", "info")
        self._failures = self._service.update(wanted)
        if self._failures:
            self._begin_end()
            return
        served = self._service.pipelines.served
        self._say(f"Serving {', '.join(served) or 'no pipeline yet'} at {self._address}", "good")
        while True:
            self._reload.wait()
            self._reload.clear()
            try:
                named = {name: Source.read(old.path) for name, old in self._named.items()}
                failures = self._service.update(find_pipelines(self._folder, named))
            except (ValueError, OSError) as error:
                self._say(f"All pipelines stay as they are: {error}", "fail")
                continue
            for name, reason in failures.items():
                self._say(f"{name} cannot be loaded: {reason}", "fail")
            self._say(f"Serving {', '.join(self._service.pipelines.served)}", "good")

    def _begin_end(self) -> None:
        """From any thread, or a handler of signals."""
        self._service.drain()
        self._loop.call_soon_threadsafe(self._ending.set)


class _Server(uvicorn.Server):
    """Leaves it to others when to end."""

    def __init__(self, config: uvicorn.Config, on_signal: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_signal = on_signal
        self._n_signals = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._n_signals += 1
        if self._n_signals > 1:
            os._exit(128 + sig)
        self._on_signal()


def _bind(place: Place) -> socket.socket:
    """RETURNS (socket): Listens. Raises OSError that names the address."""
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        return socket.create_server((place.host, place.port), family=found[0][0], backlog=1024)
    except OSError as error:
        raise OSError(
            f"Cannot listen at {place.host}, port {place.port}: {error.strerror or error}. Take "
            "another --port, or end what has it."
        ) from error


def _hide_texts(record: logging.LogRecord) -> bool:
    """Messages of errors may quote texts: the log gets their types."""
    arguments: Any = record.args
    if isinstance(arguments, tuple):
        record.args = tuple(
            type(value).__name__ if isinstance(value, BaseException) else value
            for value in arguments
        )
    return True
