"""What Prometheus reads."""

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = tuple(2**n for n in range(15))


class Metrics:
    """Counters of one service. Its labels are names of pipelines, paths and statuses that there
    are, so that no client makes their number grow."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        prefix = "spacy_lgu"

        def make(kind: Any, name: str, text: str, labels: tuple[str, ...] = (), **more: Any) -> Any:
            return kind(f"{prefix}_{name}", text, labels, registry=registry, **more)

        self._requests = make(
            Counter, "requests", "Requests by their answer; 499: the client has gone",
            ("path", "status"),
        )  # fmt: skip
        self._seconds = make(
            Histogram, "request_seconds", "Seconds from a request's head to its answer",
            ("path",), buckets=_SECONDS,
        )  # fmt: skip
        self._texts = make(Counter, "texts", "Texts that were annotated", ("pipeline",))
        self._subtokens = make(Counter, "subtokens", "Subtokens of these texts", ("pipeline",))
        self._errors = make(
            Counter, "errors", "Texts that could not be annotated", ("pipeline", "kind")
        )
        self._batch_texts = make(Histogram, "batch_texts", "Texts of a batch", buckets=_SIZES)
        self._batch_subtokens = make(
            Histogram, "batch_subtokens", "Subtokens of a batch", buckets=_SIZES
        )
        self._batch_seconds = make(
            Histogram, "batch_seconds", "Seconds that a batch took", buckets=_SECONDS
        )
        self._gauge = make

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Show a number as it is at the moment.

        name (str): Its name.
        text (str): What it is.
        read (Callable): Gives it.
        """
        self._gauge(Gauge, name, text).set_function(read)

    def add_request(self, path: str, status: int, seconds: float) -> None:
        """Count an answer.

        path (str): Of the route.
        status (int): Of HTTP.
        seconds (float): What it took.
        """
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def add_text(self, pipeline: str, n_subtokens: int, result: Any) -> None:
        """Count a text.

        pipeline (str): Which pipeline's.
        n_subtokens (int): Its subtokens.
        result (str | Failure): What became of it; "": nobody waited any more.
        """
        if not isinstance(result, str):
            self._errors.labels(pipeline, result.kind).inc()
        elif result:
            self._texts.labels(pipeline).inc()
            self._subtokens.labels(pipeline).inc(n_subtokens)

    def add_batch(self, n_texts: int, n_subtokens: int, seconds: float) -> None:
        """Count a batch.

        n_texts (int): Its texts.
        n_subtokens (int): Their subtokens.
        seconds (float): What it took.
        """
        self._batch_texts.observe(n_texts)
        self._batch_subtokens.observe(n_subtokens)
        self._batch_seconds.observe(seconds)

    def dump(self) -> bytes:
        """RETURNS (bytes): All of it, in Prometheus' format."""
        return generate_latest(self._registry)
