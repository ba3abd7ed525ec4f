"""What benchmarks/serve_load.py counts."""

import asyncio
from collections import Counter

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

import httpx

from benchmarks.serve_load import Load


def test_what_becomes_of_requests_is_counted():
    answers = iter([200, 503, 504, 500, None, 200])

    def answer(request):
        status = next(answers)
        if status is None:
            raise httpx.ReadError("gone")
        return httpx.Response(status)

    load = Load("http://test", ["a", "b"], seed=0)
    load._client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://test")

    async def send() -> None:
        for _ in range(6):
            await load.send()

    asyncio.run(send())
    assert load.kinds == Counter(
        {"answered": 2, "refused (503)": 1, "refused (504)": 1, "failed (500)": 1,
         "lost (ReadError)": 1}
    )  # fmt: skip
    assert len(load.seconds) == 2
