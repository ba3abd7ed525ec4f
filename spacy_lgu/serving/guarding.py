"""What is done around every request: who may ask, how much, and what is counted and logged."""

import hmac
import json
import logging
import time
import traceback
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .reading import RefusedError, too_large
from .service import Service

logger = logging.getLogger("spacy_lgu")

ANNOTATE = "/v1/annotate"
PIPELINES = "/v1/pipelines"
# What needs no token: a page without data, and whether the service is there.
OPEN = ("/", "/health/live", "/health/ready")
PATHS = (*OPEN, ANNOTATE, PIPELINES, "/metrics", "/openapi.json")
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
# An address of this machine, as browsers write it. Another name that leads here is that of a page
# whose owner makes it do so.
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")


class Guard:
    """The outermost part of the application.

    app (ASGIApp): What is inside.
    service (Service): Whose limits and metrics count.
    token (str | None): What clients must send; None: anyone may ask.
    local (bool): Whether requests must be for this machine by a name of its own.
    """

    def __init__(self, app: ASGIApp, service: Service, *, token: str | None, local: bool) -> None:
        self._app = app
        self._service = service
        self._token = None if token is None else token.encode("ascii")
        self._local = local and token is None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        begin = time.perf_counter()
        status = 500
        is_begun = False

        async def answer(message: Message) -> None:
            nonlocal status, is_begun
            if message["type"] == "http.response.start":
                status, is_begun = message["status"], True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            try:
                self._check(scope)
            except RefusedError as error:
                await refuse(error)(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)
        except Exception as error:  # noqa: BLE001  a mistake of ours: told without any text
            frame = traceback.extract_tb(error.__traceback__)[-1]
            logger.error(
                "%s at %s:%s while answering", type(error).__name__, frame.filename, frame.lineno
            )
            if not is_begun:
                await refuse(unexpected())(scope, receive, answer)
        finally:
            path = scope["path"] if scope["path"] in PATHS else "other"
            self._service.metrics.add_request(path, status, time.perf_counter() - begin)

    def _check(self, scope: Scope) -> None:
        """Raise RefusedError for who may not ask, and for a body that says it is too large."""
        headers = Headers(scope=scope)
        if self._local and _host_of(headers.get("host", "")) not in _LOCAL_HOSTS:
            raise RefusedError(
                421, "unknown_host",
                "This service answers to localhost and 127.0.0.1. To use another name, start it "
                "with a token.",
            )  # fmt: skip
        if self._token is not None and scope["path"] not in OPEN:
            kind, _, given = headers.get("authorization", "").partition(" ")
            # Headers are read as Latin-1, and compare_digest takes strings of ASCII alone.
            is_same = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
            if kind.lower() != "bearer" or not is_same:
                raise RefusedError(
                    401, "unauthorized", "Expected the header Authorization: Bearer TOKEN."
                )
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self._service.limits.max_body:
            raise too_large(self._service.limits)


def refuse(error: RefusedError) -> Response:
    """RETURNS (Response): An error as all of them look."""
    body: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.details:
        body["details"] = error.details
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(
        json.dumps({"error": body}), error.status, headers, media_type="application/json"
    )


def unexpected() -> RefusedError:
    """RETURNS (RefusedError): For a mistake of the code."""
    return RefusedError(500, "unexpected", "The service made a mistake. Its log says where.")


def _host_of(header: str) -> str:
    """RETURNS (str): A host without its port."""
    host, colon, port = header.lower().rpartition(":")
    return host if colon and port.isdecimal() else header.lower()
