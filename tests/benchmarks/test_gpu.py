"""The benchmark for GPUs runs on any CPU, with a tiny decoder."""

import json
import subprocess
import sys
import time

import pytest
import torch
import typer

from benchmarks.gpu import __main__ as benchmark
from benchmarks.gpu import attention, layer
from benchmarks.gpu.clock import DEVICE, share_outside
from benchmarks.gpu.float8 import Float8Linear, round_rows
from benchmarks.gpu.float8_stack import print_float8
from benchmarks.gpu.report import write_report
from benchmarks.gpu.rows import attempt, distance
from benchmarks.gpu.shapes import count_linear, draw_pack, draw_sentences, make_decoder

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
    # Every compilation takes seconds, though nothing is compiled but traced.
    monkeypatch.setattr(layer, "_BASES", ("nf4",))
    monkeypatch.setattr(layer, "_PASSES", {"forward + backward": True})
    for part in ("norms", "rotary embedding", "activation"):
        monkeypatch.delitem(layer._CHANGES, f"{part} compiled")
    monkeypatch.setattr(attention, "_DTYPES", {"bfloat16": torch.bfloat16})


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
        "attention": "| SDPA, memory-efficient | bfloat16 | causal | RuntimeError: No ",
        "layer": "| nf4 | all but attention compiled | ",
        "fp8": "not decided, because this device only imitates products in float8.",
    }
    assert expected[step] in text
    assert "Not measured" not in text
    check = {"attention": check_attention, "layer": check_layer, "fp8": check_float8}.get(step)
    if check is not None:
        check(found["rows"])


def check_attention(rows):
    for row in rows:
        if "failed" in row:
            assert row["kernel"] in ("varlen", "SDPA, cuDNN") or "efficient" in row["kernel"]
            continue
        apart = [found["of"] for found in row["distance"].values() if "of" in found]
        assert max(apart) < 0.1
        assert len(apart) == 2 or row["kernel"] == "FlexAttention"  # no gradients on a CPU


def check_layer(rows):
    for row in rows:
        if row["change"] == "Liger kernels":
            assert "Liger" in row["failed"] or "not installed" in row["failed"]
        else:
            assert row["forward + backward"]["distance"] < 0.02


def check_float8(rows):
    first, *others = rows
    assert (first["gradients"], first["outputs"]) == pytest.approx((1, 1))
    assert all(0.95 < row["gradients"] < 0.9999 for row in others)
    nf4, *float8 = others
    assert all(row["gradients"] > nf4["gradients"] for row in float8)
    assert [row["real"] for row in rows] == [True, True, *[False] * 4]


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


def test_packs_have_at_most_their_items():
    for kind, items in (("sentences", 300), ("articles", 100), ("articles", 4000)):
        first, second = (draw_pack(kind, items, seed, DEVICE) for seed in (0, 1))
        assert first.n_subtokens <= items
        assert first.n_subtokens != second.n_subtokens or items == 100


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NotImplementedError("no kernel\nand more"), "NotImplementedError: no kernel"),
        (torch.OutOfMemoryError("too much"), "OutOfMemoryError: too much"),
        (RuntimeError("it raised:\nthe reason"), "RuntimeError: it raised: the reason"),
        (ValueError("scale_a must be contiguous"), "ValueError: scale_a must be contiguous"),
        (RuntimeError(""), "RuntimeError: "),
        (RuntimeError("x" * 500), "RuntimeError: " + "x" * 223 + "..."),
    ],
)
def test_a_row_says_why_it_failed(error, said):
    def fail():
        raise error

    assert attempt(fail) == {"failed": said}


def test_a_kernel_that_refuses_gives_its_reasons():
    def fail():
        import warnings

        warnings.warn("Flash attention kernel not used because:", stacklevel=1)
        warnings.warn("It does not take masks. (Triggered internally at x.cpp:1)", stacklevel=1)
        raise RuntimeError("No available kernel. Aborting execution.")

    assert attempt(fail)["failed"] == (
        "RuntimeError: No available kernel. Aborting execution. It does not take masks."
    )


def test_unexpected_errors_are_not_hidden():
    def fail():
        raise TypeError("a mistake of ours")

    with pytest.raises(TypeError, match="a mistake of ours"):
        attempt(fail)


def test_nothing_is_begun_when_the_time_is_over():
    found = attempt(lambda: {"ms": 1}, time.perf_counter() - 1)
    assert found == {"failed": "not begun, because the step's time was over"}


def test_distance_is_that_of_the_worst_row():
    exact = torch.tensor([[3.0, 4.0], [0.0, 5.0]])
    assert distance(exact + torch.tensor([[0.0, 0.0], [0.5, 0.0]]), exact) == pytest.approx(0.1)


def test_rows_that_were_found_outlive_the_process(monkeypatch, tmp_path):
    rows = {"rows": [{"kind": "bfloat16", "real": True, "failed": "RuntimeError: no"}]}
    script = (
        "import sys, time\n"
        f"print({json.dumps(json.dumps(rows))}, flush=True)\n"
        "print('{\"rows\": [', flush=True)\n"
    )
    run = subprocess.run
    for end, failed in (
        ("sys.exit(3)", "ended with status 3; see its messages"),
        ("time.sleep(60)", "took over 1 s"),
    ):
        command = [sys.executable, "-c", script + end]
        monkeypatch.setattr(subprocess, "run", lambda _, to=command, **options: run(to, **options))
        found = benchmark._in_process("fp8", "tiny", tmp_path, tmp_path / "gpu.md", 1)
        assert found == {**rows, "failed": failed}
    results = {"machine": benchmark.describe_machine(), "shape": "tiny", "steps": {"fp8": found}}
    write_report(results, tmp_path / "gpu.md")
    text = (tmp_path / "gpu.md").read_text()
    assert "| bfloat16 | RuntimeError: no |" in text
    assert "Not finished: fp8, which took over 1 s." in text


def test_no_step_is_begun_when_the_minutes_are_over(tmp_path, capsys):
    benchmark.measure(tmp_path / "gpu.md", steps="products,fp8", minutes=0)
    text = (tmp_path / "gpu.md").read_text()
    assert "Not measured: products, which was not begun within 0 minutes." in text
    assert "Not measured: fp8, which was not begun within 0 minutes." in capsys.readouterr().out


def test_spacy_needs_cupy_where_a_gpu_is(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(benchmark, "has_cupy_gpu", False)
    with pytest.raises(typer.BadParameter, match="pip install cupy-cuda13x"):
        benchmark.measure(tmp_path / "gpu.md", steps="products,heads")


def test_rows_are_rounded_to_the_range_of_float8():
    rounded, scales = round_rows(torch.tensor([[0.5, -1.0, 0.26], [0.0, 0.0, 0.0]]))
    assert rounded.float().tolist() == [[224.0, -448.0, 120.0], [0.0, 0.0, 0.0]]
    assert scales[0].item() == pytest.approx(1 / 448)


@pytest.mark.parametrize("is_half_back", [False, True])
def test_products_in_float8_and_their_gradient(is_half_back):
    torch.manual_seed(0)
    weight = torch.randn(32, 48) * torch.rand(32, 1)
    X = torch.randn(2, 5, 48, dtype=torch.bfloat16, requires_grad=True)
    dY = torch.randn(2, 5, 32, dtype=torch.bfloat16)
    linear = Float8Linear(weight, round_rows=round_rows, is_half_back=is_half_back)
    Y = linear(X)
    (dX,) = torch.autograd.grad(Y, X, dY)
    exact, exact_dX = X.double() @ weight.double().T, dY.double() @ weight.double()
    assert distance(Y.flatten(0, 1), exact.flatten(0, 1)) < 0.08
    assert distance(dX.flatten(0, 1), exact_dX.flatten(0, 1)) < 0.08


@pytest.mark.parametrize(
    ("step", "cosine", "end"),
    [
        (8.0, 0.9991, "yes (float8: 1.25 times, its cosine 0.99910, nf4's 0.98000)."),
        (8.1, 0.9991, "no (float8: 1.23 times, its cosine 0.99910, nf4's 0.98000)."),
        (4.0, 0.9989, "no (float8: 2.50 times, its cosine 0.99890, nf4's 0.98000)."),
    ],
)
def test_what_follows_for_float8(step, cosine, end):
    same = {"real": True, "outputs": 1.0, "inference": 1.0, "peak_gib": 2.0}
    rows = [
        {"kind": "bfloat16", "step": 10.0, "gradients": 1.0, **same},
        {"kind": "nf4", "step": 20.0, "gradients": 0.98, **same},
        {"kind": "float8", "step": step, "gradients": cosine, **same},
        {"kind": "float8, compiled", "real": True, "failed": "RuntimeError: no"},
    ]
    assert print_float8({"rows": rows})[-1].endswith(end)


def test_the_share_of_a_call_outside_a_module():
    seconds = iter([0.0, 1.0, 3.0, 10.0])
    module = torch.nn.Identity()
    share = share_outside(module, lambda: module(torch.zeros(1)), lambda: next(seconds))
    assert share == pytest.approx(0.8)
    module(torch.zeros(1))  # no hook is left that would ask the clock
