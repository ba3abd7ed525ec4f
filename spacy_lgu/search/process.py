"""A trial as a process:

    python -m spacy_lgu.search.process job.json

The job names config, folder and kind of the trial. The process trains as `spacy train` does and
reports its progress; at its end it writes `outcome.json` into the folder. It ends when its standard
input does.
"""

import gc
import json
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar

from ..study.process import end_at_once, end_with_input, train

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

OUTCOME = "outcome.json"
ReaderT = Callable[["Language"], Iterable["Example"]]


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """Run a trial.

    job (dict[str, Any]): As jobs.py writes it.
    RETURNS (dict[str, Any]): What came of it, as JSON: "score" and "curve" (steps and scores) of an
        ordinary training, with "scores", "documents" and "predictions"; "found" or "gates" of the
        other kinds.
    """
    import torch
    from spacy.cli._util import import_code

    torch.set_num_threads(job["threads"])
    import_code(job["code"])
    start = time.monotonic()
    run = {"train": _train, "oneshot": _train_shared, "gates": _train_gates}[job["kind"]]
    outcome = run(job)
    return {**outcome, "seconds": round(time.monotonic() - start, 2)}


def _train(job: dict[str, Any]) -> dict[str, Any]:
    curve: list[tuple[int, float]] = []

    def watch(info: dict[str, Any] | None) -> None:
        if info is not None:
            curve.append((info["step"], info["score"]))

    _train_pipeline(job, watch=watch)
    nlp, dev_corpus = _open(job, "model-best")
    scorer = _make_recorder(nlp)
    scores = nlp.evaluate(dev_corpus(nlp), scorer=scorer)
    return {
        "score": max(score for _, score in curve),
        "curve": curve,
        "scores": {k: v for k, v in scores.items() if isinstance(v, int | float)},
        **_take_predictions(scorer.examples, job["spans_key"]),
    }


def _train_shared(job: dict[str, Any]) -> dict[str, Any]:
    from spacy.training.loop import create_evaluation_callback

    from ..layers.finding import find_decoder
    from .directing import set_directions
    from .drawing import draw_candidates, explore
    from .space import Candidate, Space

    space = Space(**{name: _freeze(value) for name, value in job["space"].items()})
    drawn = draw_candidates(space, job["seed"], job["options"]["draw"])

    def draw(nlp: "Language", args: dict[str, Any]) -> None:
        _, shim = find_decoder(nlp, job["component"])
        set_directions(shim.ready.decoder, next(drawn))

    _train_pipeline(job, before_update=draw)
    nlp, dev_corpus = _open(job, "model-last")
    weights = nlp.config.interpolate()["training"]["score_weights"]
    evaluate = create_evaluation_callback(nlp, dev_corpus, weights)
    decoder = find_decoder(nlp, job["component"])[1].ready.decoder

    def score(candidate: Candidate) -> float:
        set_directions(decoder, candidate)
        return evaluate()[0]

    found = explore(space, score, job["options"]["most"], job["seed"])
    return {
        "score": max(found.values()),
        "found": [
            {**asdict(candidate), "score": of_candidate}
            for candidate, of_candidate in found.items()
        ],
    }


def _train_gates(job: dict[str, Any]) -> dict[str, Any]:
    from ..layers.finding import find_decoder
    from .gating import LayerGates, average_groups

    gates: list[LayerGates] = []

    def learn(nlp: "Language", args: dict[str, Any]) -> None:
        if not gates:
            decoder = find_decoder(nlp, job["component"])[1].ready.decoder
            rate = job["options"]["learn_rate"]
            gates.append(LayerGates(decoder, n_steps=job["steps"], learn_rate=rate))
        gates[0].begin_step(args["step"])

    _train_pipeline(job, before_update=learn)
    by_layer = gates[0].read()
    gates_of_groups = average_groups(by_layer, job["space"]["n_groups"])
    return {"score": None, "layers": by_layer, "gates": gates_of_groups}


def _train_pipeline(job: dict[str, Any], **options: Any) -> None:
    """Train, and forget the pipeline: the best one of it is on the disk."""
    train(Path(job["config"]), Path(job["folder"]), gpu_id=job["gpu_id"], overrides={}, **options)
    gc.collect()


def _open(job: dict[str, Any], checkpoint: str) -> tuple["Language", ReaderT]:
    """A checkpoint, and the reader of its texts of dev."""
    from spacy.util import resolve_dot_names

    from ..pipeline.opening import open_pipeline

    nlp = open_pipeline(str(Path(job["folder"], checkpoint)))
    config = nlp.config.interpolate()
    (dev_corpus,) = resolve_dot_names(config, [config["training"]["dev_corpus"]])
    return nlp, dev_corpus


def _make_recorder(nlp: "Language") -> Any:
    """A scorer that keeps the examples: nlp.evaluate predicts on copies of those that it gets."""
    from spacy.scorer import Scorer
    from spacy.training import Example

    class Recorder(Scorer):
        examples: ClassVar[list[Example]] = []

        def score(
            self, examples: Iterable[Example], *, per_component: bool = False
        ) -> dict[str, Any]:
            self.examples[:] = examples
            return super().score(self.examples, per_component=per_component)

    return Recorder(nlp=nlp)


def _take_predictions(examples: list["Example"], spans_key: str | None) -> dict[str, Any]:
    """Gold and predicted spans of each text of dev, with their counts."""
    from ..metrics.strict import count_by_document

    if spans_key is None:
        return {}
    gold = [_list_spans(example.reference, spans_key) for example in examples]
    predicted = [_list_predicted(example, spans_key) for example in examples]
    return {
        "documents": count_by_document(gold, predicted).tolist(),
        "texts": [example.reference.text for example in examples],
        "gold": gold,
        "predicted": predicted,
    }


def _list_spans(doc: Any, spans_key: str) -> list[tuple[int, int, str]]:
    spans = doc.spans.get(spans_key, ()) if spans_key else doc.ents
    return [(span.start_char, span.end_char, span.label_) for span in spans]


def _list_predicted(example: "Example", spans_key: str) -> list[tuple[int, int, str]]:
    """What is predicted where it is known whether that is right."""
    found = _list_spans(example.predicted, spans_key)
    gold = example.reference
    if spans_key:
        return found if spans_key in gold.spans else []
    return [
        (start, end, label)
        for start, end, label in found
        if all(token.ent_iob for token in gold.char_span(start, end, alignment_mode="expand") or ())
    ]


def _freeze(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def main() -> None:
    """Run the job that the command line names."""
    from ..replacing import replace_file

    Thread(target=end_with_input, daemon=True).start()
    signal.signal(signal.SIGTERM, end_at_once)
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf8"))
    outcome = json.dumps(run_job(job))
    replace_file(Path(job["folder"], OUTCOME), outcome.encode("utf8"))


if __name__ == "__main__":
    main()
