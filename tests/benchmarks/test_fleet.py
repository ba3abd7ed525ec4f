"""What benchmarks/fleet.py counts."""

from benchmarks.fleet import DECODER, count_bytes, make_pipeline, run_arrivals, run_sorted
from spacy_lgu.fleet import Fleet


def test_weights_are_counted_once_and_every_text_is_read():
    fleet = Fleet()
    for i in range(2):
        fleet.add(str(i), make_pipeline(DECODER, i, "nf4", "float32"))
    pipelines = [fleet[name] for name in fleet.names]
    trained = [nlp.get_pipe("transformer").shim.ready.decoder.trainable() for nlp in pipelines]
    n_trained = [sum(p.numel() for _, p in parameters) for parameters in trained]
    total, adapters = count_bytes(pipelines, fleet)
    assert adapters == 4 * sum(n_trained)
    assert total == adapters + count_bytes(pipelines[:1], fleet)[0] - 4 * n_trained[0]
    texts = ["Ann has seen Oslo.", "It rains.", "No."]
    n_words = sum(len(doc) for doc in fleet.pipe(zip(texts, ("0", "1", "0"), strict=True)))
    assert n_words == run_arrivals(pipelines, texts) == run_sorted(pipelines, texts) == 10
