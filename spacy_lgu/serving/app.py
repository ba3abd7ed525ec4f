"""The HTTP side of a service."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from . import page
from .guarding import ANNOTATE, PIPELINES, Guard, refuse, unexpected
from .metrics import CONTENT_TYPE
from .queueing import Job, QueueClosedError, QueueFullError
from .reading import Order, RefusedError, read_order
from .schemas import AnnotateResponse, Health, PipelinesResponse, Problem, request_schema
from .service import Service
from .working import ENDED, Failure

_DESCRIPTION = """Annotates texts with trained spaCy pipelines.

Positions (`start`, `end`) count Unicode code points of the text, as Python does, or with
`"offsets": "utf16"` the units that JavaScript and Java count; `end` is exclusive. Errors are
objects `{"error": {"code", "message", "details"}}`; 503 comes with `Retry-After`."""
# Nginx' word for a client that has gone. Nobody reads it but the metrics.
_GONE = 499
_REASONS = {
    400: "The body is not JSON",
    401: "A token is needed",
    404: "There is no such pipeline",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The body is not application/json, or is compressed",
    421: "The request is for another host",
    422: "The body is JSON, but not as described, or asks for too much",
    500: "The pipeline failed on each text",
    503: "Too many requests wait, memory is short, or the service is not ready",
    504: "No answer was found in time",
}


def make_app(service: Service, *, token: str | None = None, local: bool = True) -> ASGIApp:
    """An application for a server such as uvicorn.

    service (Service): What answers; it is started and stopped by others.
    token (str | None): What clients must send as Authorization: Bearer; None: anyone may ask.
    local (bool): Whether, without a token, requests must be for localhost by name.
    RETURNS (ASGIApp): The application.
    """
    app = FastAPI(
        title="spacy-lgu",
        version=version("spacy-lgu"),
        description=_DESCRIPTION,
        docs_url=None,  # these pages load scripts from another host
        redoc_url=None,
    )
    _add_annotate(app, service, needs_token=token is not None)
    _add_looks(app, service, needs_token=token is not None)

    async def answer_error(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            code = str(error.detail).lower().replace(" ", "_")
            response = refuse(RefusedError(error.status_code, code, f"{error.detail}."))
            response.headers.update(error.headers or {})
            return response
        return refuse(error if isinstance(error, RefusedError) else unexpected())

    for kind in (RefusedError, HTTPException, Exception):
        app.add_exception_handler(kind, answer_error)
    app.openapi()  # takes a moment, which no request should
    return Guard(app, service, token=token, local=local)


def _problems(*statuses: int, needs_token: bool) -> dict[int | str, dict[str, Any]]:
    known = [421, *statuses, *([401] if needs_token else [])]
    return {status: {"model": Problem, "description": _REASONS[status]} for status in known}


def _add_annotate(app: FastAPI, service: Service, *, needs_token: bool) -> None:
    body = {"required": True, "content": {"application/json": {
        "schema": request_schema(service.limits)}}}  # fmt: skip

    @app.post(
        ANNOTATE,
        response_class=Response,
        responses={
            200: {"model": AnnotateResponse, "description": "The annotations"},
            **_problems(400, 404, 408, 413, 415, 422, 500, 503, 504, needs_token=needs_token),
        },
        openapi_extra={"requestBody": body},
    )
    async def annotate(request: Request) -> Response:
        """Annotate one text or several."""
        if obstacle := service.obstacle:
            raise _unavailable("not_ready", obstacle, service)
        try:
            order = await read_order(request, service)
            results = await _run(order, request, service)
        except ClientDisconnect:
            return Response(status_code=_GONE)
        return _answer(order, results)


def _add_looks(app: FastAPI, service: Service, *, needs_token: bool) -> None:
    known = _problems(needs_token=needs_token)
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    health = _problems(needs_token=False)  # as they are open
    health |= {200: {"model": Health}, 503: {"model": Health, "description": "It is not"}}

    @app.get("/", include_in_schema=False)
    async def show_page() -> Response:
        return Response(
            page.HTML, media_type="text/html", headers={"content-security-policy": page.POLICY}
        )

    @app.get(PIPELINES, response_class=Response,
             responses={200: {"model": PipelinesResponse}, **known})  # fmt: skip
    async def list_pipelines() -> Response:
        """The pipelines that requests may name."""
        found = [served.describe() for served in service.pipelines.served.values()]
        return _json({"pipelines": found})

    @app.get("/health/live", response_class=Response, responses={**health})
    async def check_live() -> Response:
        """Whether the service works. If not, only a new start helps."""
        if service.is_alive:
            return _json({"status": "live"})
        return _json({"status": "not live", "reason": ENDED}, 503)

    @app.get("/health/ready", response_class=Response, responses={**health})
    async def check_ready() -> Response:
        """Whether requests are taken."""
        obstacle = service.obstacle
        found = {"status": "not ready", "reason": obstacle} if obstacle else {"status": "ready"}
        return _json(found, 503 if obstacle else 200)

    @app.get("/metrics", response_class=Response, responses={200: text, **known})
    async def show_metrics() -> Response:
        """Numbers for Prometheus."""
        return Response(service.metrics.dump(), headers={"content-type": CONTENT_TYPE})


async def _run(order: Order, request: Request, service: Service) -> list[str | Failure]:
    """The results of a request. What nobody waits for any more is dropped."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not done.done():
            done.set_result(None)

    def on_done(job: Job) -> None:  # in the thread that annotates
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell)

    try:
        job = service.submit(order.served, order.texts, order.wanted, on_done)
    except QueueFullError as error:
        raise _unavailable("queue_full", str(error), service) from None
    except QueueClosedError as error:
        raise _unavailable("not_ready", str(error), service) from None
    gone = asyncio.ensure_future(_wait_for_end(request.receive))
    try:
        await asyncio.wait(
            {done, gone}, timeout=service.limits.timeout, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        gone.cancel()
        if not done.done():
            service.drop(job)
    if done.done():
        return job.results
    if gone.done():
        raise ClientDisconnect
    raise RefusedError(
        504, "timeout", f"No answer was found within {service.limits.timeout:g} seconds."
    )


async def _wait_for_end(receive: Callable[[], Awaitable[Any]]) -> None:
    """Wait until the client has gone; its body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _answer(order: Order, results: list[str | Failure]) -> Response:
    failures = [result for result in results if isinstance(result, Failure)]
    if len(failures) == len(results):
        kind = failures[0].kind
        status, wait = (500, None) if kind == "failed" else (503, 1)
        return refuse(RefusedError(status, kind, failures[0].message, retry_after=wait))
    # The thread that annotates has written the large parts.
    docs = [
        json.dumps({"error": {"code": result.kind, "message": result.message}})
        if isinstance(result, Failure)
        else result
        for result in results
    ]
    name = json.dumps(order.served.name)
    content = f'{{"pipeline": {name}, "docs": [{", ".join(docs)}]}}'
    return Response(content.encode("utf8"), media_type="application/json")


def _unavailable(code: str, reason: str, service: Service) -> RefusedError:
    return RefusedError(503, code, f"Try again later: {reason}.", retry_after=service.retry_after())


def _json(found: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(found), status, media_type="application/json")
