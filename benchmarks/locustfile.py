"""A running service (`python -m spacy lgu serve`) under load from Locust (pip install locust).

    PYTHONPATH=. locust -f benchmarks/locustfile.py --headless -u 64 -r 64 -t 60s \
        --host http://127.0.0.1:8000

Each user sends its next text when it has the answer to the one before, to the service's pipelines
in turn. What a full service refuses (503) is no failure, and is counted by itself.
"""

from itertools import cycle, islice

from locust import HttpUser, constant, task

from benchmarks.texts import load_texts

_TEXTS = load_texts(None, 200, seed=0)


class Client(HttpUser):
    """Somebody who annotates text after text."""

    wait_time = constant(0)
    _number = 0

    def on_start(self) -> None:
        """Ask what is served; every user begins at a text of its own."""
        names = [found["name"] for found in self.client.get("/v1/pipelines").json()["pipelines"]]
        begin = Client._number = Client._number + 1
        self._texts = islice(cycle(_TEXTS), begin, None)
        self._names = islice(cycle(names), begin, None)

    @task
    def annotate(self) -> None:
        """Send a text."""
        body = {"pipeline": next(self._names), "text": next(self._texts), "tokens": False}
        with self.client.post("/v1/annotate", json=body, catch_response=True) as response:
            if response.status_code == 503:
                response.request_meta["name"] = "refused"
                response.success()
