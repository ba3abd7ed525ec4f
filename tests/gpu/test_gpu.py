"""What only a GPU can show: `make test-gpu`. Everything runs on a CPU too, so that it stays alive.

Answers on the device, in half precision and float32, are compared with a CPU's in float32.
"""

import numpy
import pytest
import spacy
import torch
from numpy.testing import assert_allclose
from thinc.api import Adam, fix_random_seed, get_current_ops, set_current_ops, to_numpy

from spacy_lgu.decoder.packing import PackedBatch
from spacy_lgu.decoder.transfers import to_device
from spacy_lgu.pipeline.transformer import LGUTransformer
from spacy_lgu.unmasking import parse_pattern

from ..conftest import ENTITY_TEXTS, entity_examples, layer_config
from ..decoder.reference import (
    BY_NAME,
    FAMILIES,
    VOCAB,
    make_lgu,
    make_pair,
    random_ids,
    relative_error,
    run_reference,
)

pytestmark = pytest.mark.gpu

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LENGTHS = [7, 1, 30, 12, 12, 3]
TEXTS = [text for text, _ in ENTITY_TEXTS]


@pytest.fixture
def on_device():
    """spaCy and new decoders use the device."""
    ops = get_current_ops()
    if DEVICE.type == "cuda":
        spacy.require_gpu()
    yield
    set_current_ops(ops)


@pytest.fixture
def on_cpu(on_device):
    """Calls that switch to the CPU and back."""

    def switch(to_cpu: bool) -> None:
        spacy.require_cpu()
        if not to_cpu and DEVICE.type == "cuda":
            spacy.require_gpu()

    return switch


# Not all: rounded to half precision, texts reach other experts.
ROUNDED = [
    ("bfloat16", 0.04, BY_NAME[name])
    for name in ("llama", "mistral-sliding", "qwen2-sliding", "phi3", "gemma3", "gpt_neox")
]


@pytest.mark.parametrize("pattern", ["cccc", "bbbb", "ccbb", "cbbc"])
@pytest.mark.parametrize(
    ("dtype", "tolerance", "family"),
    [*(("float32", 1e-4, family) for family in FAMILIES), *ROUNDED],
)
def test_vectors_and_gradients_equal_the_reference(family, pattern, dtype, tolerance):
    packed, eager = make_pair(family)
    unmasked = parse_pattern(pattern)
    ids = random_ids(LENGTHS)
    expected = run_reference(eager, family.windows, ids, LENGTHS, unmasked)
    dY = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    expected.backward(dY)
    decoder = make_lgu(packed.to(DEVICE), unmasked, dtype=dtype)
    Y = decoder(PackedBatch.pack(ids, LENGTHS, device=DEVICE))
    assert relative_error(Y.detach().cpu(), expected.detach()) < tolerance
    Y.backward(dY.to(DEVICE))
    gradients = dict(packed.named_parameters())
    trained = [(n, p.grad) for n, p in eager.named_parameters() if p.grad is not None]
    found = torch.cat([gradients[name].grad.cpu().ravel() for name, _ in trained])
    assert relative_error(found, torch.cat([g.ravel() for _, g in trained])) < 3 * tolerance


@pytest.mark.parametrize("lengths", [[1], [1, 1, 1], [513, 2], [64] * 5])
def test_lengths_that_kernels_treat_apart(lengths):
    packed, eager = make_pair(FAMILIES[0])
    unmasked = parse_pattern("cbbc")
    ids = random_ids(lengths)
    expected = run_reference(eager, FAMILIES[0].windows, ids, lengths, unmasked)
    decoder = make_lgu(packed.to(DEVICE), unmasked, dtype="bfloat16")
    with torch.no_grad():
        Y = decoder(PackedBatch.pack(ids, lengths, device=DEVICE))
    assert relative_error(Y.cpu(), expected.detach()) < 0.04


def test_micro_batches_equal_a_single_pass():
    packed, _ = make_pair(FAMILIES[0])
    decoder = make_lgu(packed.to(DEVICE), parse_pattern("ccbb"))
    ids, lengths = random_ids(LENGTHS), numpy.array(LENGTHS)
    torch.testing.assert_close(
        decoder.predict(ids, lengths, 30), decoder.predict(ids, lengths, 1000)
    )
    assert ids.max() < VOCAB


def make_pipeline(folder, **model):
    nlp = spacy.blank("en")
    config = {"model": {**layer_config(folder), **model}}
    nlp.add_pipe("lgu_transformer", name="transformer", config=config)
    nlp.add_pipe("sequence_labeler")
    return nlp


def train(nlp, steps):
    examples = entity_examples(nlp)
    fix_random_seed(0)
    nlp.initialize(lambda: examples)
    optimizer = Adam(0.01, use_averages=False)
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)
        nlp.evaluate(examples)
    return nlp.evaluate(examples)["ents_f"]


def answers(nlp, **options):
    docs = list(nlp.pipe(TEXTS, **options))
    vectors = [to_numpy(doc._.trf_data.model_output.last_hidden_state)[0] for doc in docs]
    return numpy.concatenate(vectors), [[(e.text, e.label_) for e in doc.ents] for doc in docs]


@pytest.mark.parametrize(
    "model",
    [
        {"dtype": "float32"},
        {"dtype": "bfloat16", "gradient_checkpointing": True},
        {"quantization": "nf4", "dtype": "bfloat16"},
        {"tuning": "full"},
        {"optimizer": {"@misc": "spacy-lgu.adamw.v1"}},
    ],
    ids=["float32", "bfloat16", "nf4", "full", "adamw"],
)
def test_trained_here_loads_there_with_equal_answers(decoder_folder, tmp_path, on_cpu, model):
    nlp = make_pipeline(decoder_folder, **model)
    assert train(nlp, 40) > 0.9
    vectors, entities = answers(nlp)
    nlp.to_disk(tmp_path / "saved")
    for to_cpu in (True, False):
        on_cpu(to_cpu)
        loaded = spacy.load(tmp_path / "saved")
        found, found_entities = answers(loaded)
        assert found_entities == entities
        error = numpy.linalg.norm(found - vectors) / numpy.linalg.norm(vectors)
        assert error < (0.03 if "bfloat16" in model.values() else 1e-4)
    continued = entity_examples(loaded)
    loaded.resume_training()
    assert loaded.update(continued, sgd=Adam(0.001))["sequence_labeler"] >= 0


def test_batched_equals_one_by_one(decoder_folder, on_device):
    nlp = spacy.blank("en")
    config = {"model": layer_config(decoder_folder)}
    transformer = nlp.add_pipe("lgu_transformer", name="transformer", config=config)
    nlp.initialize()
    docs = [nlp.make_doc(text) for text in TEXTS]
    together, *alone = (
        transformer.model.predict(batch).model_output.last_hidden_state[0]
        for batch in (docs, *([doc] for doc in docs))
    )
    assert together.device.type == DEVICE.type
    assert_allclose(together.cpu(), torch.cat(alone).cpu(), atol=1e-4)


def test_arrays_arrive_as_they_were_sent():
    arrays = [numpy.arange(n, dtype=kind) for n, kind in ((5, "int64"), (3, "int32"), (0, "bool"))]
    sent = to_device([*arrays, numpy.arange(6).reshape(2, 3)], DEVICE)
    assert {tensor.device.type for tensor in sent} == {DEVICE.type}
    assert [t.tolist() for t in sent] == [[0, 1, 2, 3, 4], [0, 1, 2], [], [[0, 1, 2], [3, 4, 5]]]


def test_nothing_waits_within_a_pass(decoder_folder, on_device):
    nlp = make_pipeline(decoder_folder, quantization="nf4", dtype="bfloat16")
    train(nlp, 1)
    decoder = nlp.get_pipe("transformer").shim.ready.decoder
    ids, lengths = random_ids(LENGTHS), numpy.array(LENGTHS)
    decoder.predict(ids, lengths, 30)  # kernels are chosen, memory is reserved
    if DEVICE.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        decoder.predict(ids, lengths, 30)
    finally:
        if DEVICE.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def test_a_batch_read_ahead_changes_nothing(decoder_folder, on_device, monkeypatch):
    nlp = make_pipeline(decoder_folder)
    train(nlp, 5)
    monkeypatch.setattr(LGUTransformer, "_is_apart", True)
    found, entities = answers(nlp, batch_size=2)
    monkeypatch.setattr(LGUTransformer, "_is_apart", False)
    expected, expected_entities = answers(nlp, batch_size=2)
    assert entities == expected_entities
    assert_allclose(found, expected, atol=1e-6)


@pytest.mark.skipif(DEVICE.type == "cpu", reason="packs of a CPU have one size")
def test_auto_packs_are_large(decoder_folder, on_device):
    nlp = make_pipeline(decoder_folder)
    train(nlp, 1)
    assert nlp.get_pipe("transformer").shim.find_items() == 16_384


@pytest.mark.skipif(DEVICE.type == "cpu", reason="paged moments need CUDA")
def test_paged_moments_in_8_bits_learn(decoder_folder, on_device):
    optimizer = {"@misc": "spacy-lgu.adamw.v1", "paged_8bit": True}
    assert train(make_pipeline(decoder_folder, optimizer=optimizer), 40) > 0.9


@pytest.mark.skipif(DEVICE.type == "cpu", reason="a CPU's memory is not bounded here")
def test_too_little_memory_halves_the_pack():
    packed, _ = make_pair(FAMILIES[0])
    decoder = make_lgu(packed.to(DEVICE), parse_pattern("ccbb"))
    lengths = numpy.full(2000, 200)
    ids = random_ids(lengths.tolist())
    expected = decoder.predict(ids, lengths, 4096)
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    allowed = torch.cuda.memory_allocated() + ids.size * decoder.width * 4 + 2**28
    torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / total))
    try:
        found = decoder.predict(ids, lengths, len(ids))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert decoder._halving.most is not None
    assert decoder._halving.most < len(ids)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(DEVICE.type == "cpu", reason="processes can share a CPU")
def test_several_processes_are_refused(decoder_folder, on_device):
    nlp = make_pipeline(decoder_folder)
    train(nlp, 1)
    with pytest.raises(Exception, match="n_process > 1 cannot use"):
        list(nlp.pipe(TEXTS * 4, n_process=2, batch_size=2))
