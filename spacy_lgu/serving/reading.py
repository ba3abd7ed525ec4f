"""A request's body as texts for a pipeline, or why it is none."""

import asyncio
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request

from ..annotation.records import check_text
from ..inputs import parse_json, shorten
from .pipelines import Served
from .rendering import MAX_DRAWN, Wanted
from .schemas import AnnotateRequest
from .service import NoPipelineError, Service
from .settings import Limits

# Bytes that are parsed while others wait: a megabyte of numbers takes a good part of a second.
_QUICK = 2**16


class RefusedError(Exception):
    """A request that gets an error for its answer.

    status (int): Of HTTP.
    code (str): A word for programs.
    message (str): A sentence for people.
    details (list[dict] | None): Where the mistakes are.
    retry_after (int | None): Seconds after which it may be tried again.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: list[dict[str, Any]] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details or []
        self.retry_after = retry_after


@dataclass(frozen=True)
class Order:
    """What a client asks for.

    served (Served): The pipeline.
    texts (list[str]): Its texts, at least one.
    wanted (Wanted): What it wants of each.
    """

    served: Served
    texts: list[str]
    wanted: Wanted


async def read_order(request: Request, service: Service) -> Order:
    """Read and check a request.

    request (Request): The request.
    service (Service): Whose limits and pipelines count.
    RETURNS (Order): What is asked for. Raises RefusedError, and ClientDisconnect.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        # Pages of other sites may send other types unasked.
        raise RefusedError(415, "content_type", "Expected Content-Type: application/json.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(415, "content_encoding", "Expected a body that is not compressed.")
    limits = service.limits
    try:
        async with asyncio.timeout(limits.timeout):
            body = await _read_body(request, limits)
    except TimeoutError:
        raise RefusedError(
            408, "body_timeout", f"The body did not arrive within {limits.timeout:g} seconds."
        ) from None
    if len(body) < _QUICK:
        return parse_order(body, service)
    return await asyncio.to_thread(parse_order, body, service)


async def _read_body(request: Request, limits: Limits) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limits.max_body:
            raise too_large(limits)
    return bytes(body)


def too_large(limits: Limits) -> RefusedError:
    """RETURNS (RefusedError): For a body over the limit."""
    return RefusedError(
        413, "body_too_large", f"Expected a body of at most {limits.max_body:,} bytes."
    )


def parse_order(body: bytes, service: Service) -> Order:
    """Check a body.

    body (bytes): JSON, as AnnotateRequest describes it.
    service (Service): Whose limits and pipelines count.
    RETURNS (Order): What is asked for. Raises RefusedError.
    """
    try:
        parsed = parse_json(body.decode("utf8"), "body")
    except UnicodeDecodeError as error:
        raise RefusedError(
            400, "invalid_json", f"body: expected UTF-8, but byte {error.start} is none."
        ) from None
    except ValueError as error:
        raise RefusedError(400, "invalid_json", str(error)) from None
    unknown = parsed.keys() - AnnotateRequest.model_fields if isinstance(parsed, dict) else ()
    if unknown:  # pydantic would tell of each, and they may be a million
        known = ", ".join(AnnotateRequest.model_fields)
        raise RefusedError(
            422, "unknown_field", f"There is no field {shorten(min(unknown))}. Known are {known}."
        )
    try:
        asked = AnnotateRequest.model_validate(parsed)
    except ValidationError as error:
        # Without the inputs: they are the client's texts, and may be long.
        found = error.errors(include_url=False, include_input=False, include_context=False)
        details = [{"where": list(one["loc"]), "message": one["msg"]} for one in found]
        raise RefusedError(
            422, "invalid_request", "The body is not as the API describes it.", details=details
        ) from None
    texts = _read_texts(asked, service.limits)
    try:
        served = service.find(asked.pipeline)
    except NoPipelineError as error:
        code = "no_pipeline" if asked.pipeline is None else "unknown_pipeline"
        raise RefusedError(404, code, str(error)) from None
    longest = max(map(len, texts))
    if longest > served.nlp.max_length:
        raise RefusedError(
            422,
            "too_many_characters",
            f"The pipeline {served.name!r} takes texts of at most {served.nlp.max_length:,} "
            f"characters, but one has {longest:,}.",
        )
    return Order(served, texts, Wanted(tokens=asked.tokens, html=asked.html, offsets=asked.offsets))


def _read_texts(asked: AnnotateRequest, limits: Limits) -> list[str]:
    given = asked.model_fields_set & {"text", "texts"}
    if len(given) != 1:
        raise RefusedError(
            422, "invalid_request", "Expected either 'text' or 'texts', but got "
            f"{'both' if given else 'neither'}.",
        )  # fmt: skip
    texts = [asked.text] if "text" in given else asked.texts
    if len(texts) > limits.max_texts:
        raise RefusedError(
            422, "too_many_texts", f"Expected at most {limits.max_texts:,} texts, but got "
            f"{len(texts):,}.",
        )  # fmt: skip
    most = min(limits.max_characters, MAX_DRAWN) if asked.html else limits.max_characters
    n_characters = sum(map(len, texts))
    if n_characters > most:
        raise RefusedError(
            422, "too_many_characters",
            f"Expected at most {most:,} characters in all texts of a request"
            f"{' with html' if asked.html else ''}, but got {n_characters:,}.",
        )  # fmt: skip
    for i, text in enumerate(texts):
        try:
            check_text(text, "text" if "text" in given else f"texts[{i}]")
        except ValueError as error:
            raise RefusedError(422, "invalid_text", f"body: {error}.") from None
    return texts
