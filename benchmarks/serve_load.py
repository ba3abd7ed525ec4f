"""Clients of a service, in a process of their own: benchmarks/serve.py starts it.

    python -m benchmarks.serve_load http://127.0.0.1:8000 names,labels --clients 8 --seconds 10
    python -m benchmarks.serve_load http://127.0.0.1:8000 names,labels --rate 50 --seconds 60

With --clients, each sends its next request when it has the answer to the one before. With --rate,
requests are sent at equal distances, whatever becomes of those before. Prints JSON.
"""

import asyncio
import json
import time
from collections import Counter
from itertools import count, cycle
from statistics import quantiles
from typing import Annotated

import httpx
import typer

from .texts import load_texts

_TEXTS = 200


class Load:
    """What is sent, and what became of it: seconds of the requests that were answered, and how many
    there were of each kind."""

    def __init__(self, address: str, pipelines: list[str], seed: int) -> None:
        self._client = httpx.AsyncClient(
            base_url=address, timeout=300, limits=httpx.Limits(max_connections=None)
        )
        self._texts = cycle(load_texts(None, _TEXTS, seed))
        self._pipelines = cycle(pipelines)
        self.seconds: list[float] = []
        self.kinds: Counter[str] = Counter()

    async def send(self) -> None:
        """Send a request and note what becomes of it."""
        text = next(self._texts)
        body = {"pipeline": next(self._pipelines), "text": text, "tokens": False}
        begin = time.perf_counter()
        try:
            response = await self._client.post("/v1/annotate", json=body)
        except httpx.HTTPError as error:  # no answer at all
            self.kinds[f"lost ({type(error).__name__})"] += 1
            return
        if response.status_code == 200:
            self.seconds.append(time.perf_counter() - begin)
            self.kinds["answered"] += 1
        elif response.status_code in (503, 504):
            self.kinds[f"refused ({response.status_code})"] += 1
        else:
            self.kinds[f"failed ({response.status_code})"] += 1

    async def keep_clients(self, n: int, seconds: float) -> None:
        """Clients that wait for each answer."""
        until = time.perf_counter() + seconds

        async def ask() -> None:
            while time.perf_counter() < until:
                await self.send()

        await asyncio.gather(*(ask() for _ in range(n)))

    async def keep_rate(self, rate: float, seconds: float) -> None:
        """Requests at equal distances."""
        begin = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for i in count():
                wait = begin + i / rate - time.perf_counter()
                if i / rate > seconds:
                    break
                await asyncio.sleep(max(0.0, wait))
                group.create_task(self.send())


def main(
    address: str,
    pipelines: Annotated[str, typer.Argument(help="Names, with commas")],
    clients: int = 0,
    rate: float = 0.0,
    seconds: float = 10.0,
    seed: int = 0,
) -> None:
    """Send requests and print what became of them."""
    if bool(clients) == bool(rate):
        raise typer.BadParameter("Give either --clients or --rate.")
    load = Load(address, pipelines.split(","), seed)
    begin = time.perf_counter()
    asyncio.run(load.keep_clients(clients, seconds) if clients else load.keep_rate(rate, seconds))
    took = time.perf_counter() - begin
    cuts = quantiles(load.seconds, n=100) if len(load.seconds) > 1 else [0.0] * 99
    found = {
        "kinds": dict(load.kinds),
        "per_second": len(load.seconds) / took,
        "p50": cuts[49],
        "p99": cuts[98],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    typer.run(main)
