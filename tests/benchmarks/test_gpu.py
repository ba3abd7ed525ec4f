"""The benchmark for GPUs runs on any CPU, with a tiny decoder."""

import json

import pytest

from benchmarks.gpu import __main__ as benchmark
from benchmarks.gpu.clock import DEVICE
from benchmarks.gpu.report import write_report
from benchmarks.gpu.shapes import count_linear, draw_sentences, make_decoder

pytestmark = pytest.mark.skipif(DEVICE.type == "cuda", reason="literal values of a CPU")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu") / "tiny"
    make_decoder(folder, "tiny", DEVICE)
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    values = {"counts": {"sentences": 6, "articles": 1}, "steps": 1, "sizes": [2], "rows": [8]}
    monkeypatch.setitem(benchmark._SIZES, "tiny", {**benchmark._SIZES["tiny"], **values})


@pytest.mark.filterwarnings("ignore:MatMul8bitLt:UserWarning")
@pytest.mark.parametrize("step", benchmark.STEPS)
def test_every_step_runs_and_is_reported(decoder, step, tmp_path):
    found = benchmark._run_step(step, "tiny", decoder)
    assert json.loads(json.dumps(found)) == found
    results = {"machine": benchmark.describe_machine(), "shape": "tiny", "steps": {step: found}}
    write_report(results, tmp_path / "gpu.md")
    text = (tmp_path / "gpu.md").read_text()
    expected = {
        "products": "| 8 | ",
        "decoder": "",
        "stored": "s where it was quantized once and stored, which took ",
        "options": "| LoRA in half precision | ",
        "heads": "| ner | reading | ",
        "ours-nf4": "| lgu_transformer: sentences, packs of 512 | ",
        "ours-bfloat16": "## Inference, bfloat16",
        "ours-training": "| lgu_transformer | 2 | on | ",
        "peer-nf4": "| padded loop: sentences, batches of 128 sorted by length | ",
        "peer-bfloat16": "| padded loop: articles, batches of 4 in order | ",
        "peer-training": "| padded PEFT | 2 | off | ",
    }
    assert expected[step] in text
    assert "Not measured" not in text


def test_a_step_that_fails_is_named(tmp_path):
    results = {
        "machine": benchmark.describe_machine(),
        "shape": "7b",
        "steps": {"ours-nf4": {"failed": "took over 150 s"}},
    }
    write_report(results, tmp_path / "gpu.md")
    text = (tmp_path / "gpu.md").read_text()
    assert "Not measured: ours-nf4, which took over 150 s." in text


def test_share_of_the_peak(tmp_path):
    steps = {
        "products": {"bfloat16": {"256": 700.0}, "peak": 800.0},
        "decoder": {"linear_weights": 7_000_000_000},
        "ours-nf4": {
            "passes": {"sentences, packs of 4,096": 28571.4},
            "initialize": 8.0,
            "outside": {"sentences": 0.031},
        },
    }
    results = {"machine": benchmark.describe_machine(), "shape": "7b", "steps": steps}
    write_report(results, tmp_path / "gpu.md")
    text = (tmp_path / "gpu.md").read_text()
    # 800e12 / (2 * 7e9) = 57,143 subtokens/s
    assert "| lgu_transformer: sentences, packs of 4,096 | 28,571 | 50% |" in text
    assert "`nlp.initialize` took 8.0 s. Outside the decoder's forward: sentences 3.1%." in text


def test_weights_of_the_layers(decoder):
    from transformers import AutoConfig, AutoModel

    layers = AutoModel.from_pretrained(decoder).layers
    counted = sum(p.numel() for p in layers.parameters() if p.ndim == 2)
    assert count_linear(AutoConfig.from_pretrained(decoder)) == counted


def test_lengths_are_new_in_each_round():
    first, second = ([len(text.split()) for text in draw_sentences(50, i)] for i in (0, 1))
    assert first != second
    assert first == [len(text.split()) for text in draw_sentences(50, 0)]
