"""The paper's other way to use a decoder: instruction tuning. It reads a text and writes the spans.

    python benchmarks/instruction_baseline.py assets/decoder train.spacy test.spacy scores.json \
        --steps 4400 --tuning lora --quantization nf4

The decoder is fine-tuned as a causal language model to go on after a prompt with a line per span,
"LABEL: text", and then end. What it writes for the test texts is read strictly: a line whose label
is not known, or whose text is not (or not as often) in the sentence, is a span that is wrong.
Scores are those of `python -m spacy lgu evaluate`.
"""

import json
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import spacy
import torch
import typer
from peft import LoraConfig, get_peft_model
from spacy.tokens import Doc
from tqdm import tqdm
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from spacy_lgu.decoder.adapter import find_lora_modules
from spacy_lgu.decoder.loading import (
    TORCH_DTYPES,
    prepare_quantized_layers,
    quantization_config,
    resolve_dtype,
)
from spacy_lgu.decoder.settings import LoraSettings
from spacy_lgu.decoder.source import find_source, load_tokenizer
from spacy_lgu.metrics.evaluation import is_annotated, read_gold, take_spans
from spacy_lgu.metrics.strict import SpanT, count_by_document, score_spans
from spacy_lgu.replacing import replace_file
from spacy_lgu.training.schedules import cosine_v1

INSTRUCTION = "List the {labels} spans of the text, one per line.\nText: {text}\nSpans:\n"
UNKNOWN = "(unknown label)"
IGNORED = -100  # of torch's cross-entropy


def make_prompt(doc: Doc, labels: list[str]) -> str:
    """What the decoder reads."""
    return INSTRUCTION.format(labels=", ".join(labels), text=_in_a_line(doc.text))


def make_answer(doc: Doc, spans_key: str | None) -> str:
    """What it is to write: spans from left to right, a longer one before those inside it."""
    spans = sorted(take_spans(doc, spans_key), key=_from_outside_in)
    return "".join(f"{label}: {_in_a_line(doc[i:j].text)}\n" for i, j, label in spans)


def parse_answer(answer: str, doc: Doc, labels: Iterable[str]) -> set[SpanT]:
    """The spans that an answer names, each at its first place that is not taken yet: if there is
    one, not before the span named last, since answers go from left to right.

    answer (str): What the decoder wrote.
    doc (Doc): The text.
    labels (Iterable[str]): Known labels.
    RETURNS (set[SpanT]): Lines that name no span of the text are at negative places, so that they
        count as predicted and wrong.
    """
    known = set(labels)
    found: set[SpanT] = set()
    last = 0
    for number, line in enumerate(filter(None, answer.split("\n")), 1):
        label, _, text = line.partition(": ")
        if label not in known:
            found.add((-number, -number, UNKNOWN))
            continue
        places = ((i, j, label) for i, j in _find_text(doc, text))
        free = [span for span in places if span not in found]
        onwards = (span for span in free if span[0] >= last)
        span = next(onwards, free[0] if free else (-number, -number, label))
        last = max(last, span[0])
        found.add(span)
    return found


def leave_out_unannotated(spans: set[SpanT], gold: Doc) -> set[SpanT]:
    """Entities without those on tokens of unknown annotation; what is not in the text stays."""
    return {span for span in spans if span[0] < 0 or is_annotated(gold, span)}


def load(
    decoder: str, *, quantization: str, tuning: str, rank: int, alpha: int, device: torch.device
) -> Any:
    """The decoder with its language modelling head, ready to be trained."""
    source = find_source(decoder)
    dtype = resolve_dtype("auto", device)
    options: dict[str, Any] = {"torch_dtype": "float32" if tuning == "full" else dtype}
    if quantization == "nf4":
        options["quantization_config"] = quantization_config(quantization, dtype)
        options["device_map"] = {"": device}
    model = AutoModelForCausalLM.from_pretrained(
        source.location, revision=source.commit, use_safetensors=True, **options
    )
    prepare_quantized_layers(model, TORCH_DTYPES[dtype])
    if tuning == "lora":
        modules = find_lora_modules(LoraSettings(rank=rank, alpha=alpha), model.config)
        config = LoraConfig(
            task_type="CAUSAL_LM", r=rank, lora_alpha=alpha, lora_dropout=0.1,
            target_modules=modules,
        )  # fmt: skip
        model = get_peft_model(model, config)
    return model if quantization == "nf4" else model.to(device)


def train(
    model: Any, pairs: list[tuple[list[int], list[int]]], *, steps: int, batch: int, rate: float,
    warmup: float, seed: int,
) -> None:  # fmt: skip
    """Train on prompts and answers; only what is written counts.

    pairs (list): Subtoken ids of prompt and answer.
    """
    torch.manual_seed(seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=rate, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1
    )
    rates = cosine_v1(rate, int(steps * warmup), steps)
    batches = _draw_batches(len(pairs), batch, random.Random(seed))
    model.train()
    for _ in tqdm(range(steps), desc="training", unit="step"):
        for group in optimizer.param_groups:
            group["lr"] = next(rates)
        rows = [pairs[i] for i in next(batches)]
        width = max(len(prompt) + len(answer) for prompt, answer in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        targets = torch.full_like(ids, IGNORED)
        mask = torch.zeros_like(ids)
        for i, (prompt, answer) in enumerate(rows):
            length = len(prompt) + len(answer)
            ids[i, :length] = torch.tensor(prompt + answer)
            targets[i, len(prompt) : length] = torch.tensor(answer)
            mask[i, :length] = 1
        device = model.device
        output = model(
            input_ids=ids.to(device), attention_mask=mask.to(device), labels=targets.to(device)
        )
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()


@torch.inference_mode()
def write_answers(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[list[int]],
    *,
    n_subtokens: int,
    batch: int,
) -> list[str]:
    """The most probable answers, subtoken by subtoken, of at most n_subtokens."""
    model.eval()
    answers: list[str] = []
    for start in tqdm(range(0, len(prompts), batch), desc="writing", unit="batch"):
        rows = prompts[start : start + batch]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), tokenizer.eos_token_id)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            # Padding goes to the left: what is written follows the prompt at once.
            ids[i, width - len(row) :] = torch.tensor(row)
            mask[i, width - len(row) :] = 1
        written = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=n_subtokens,
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        answers += tokenizer.batch_decode(written[:, width:], skip_special_tokens=True)
    return answers


def main(
    decoder: Annotated[str, typer.Argument(help="Folder, or name on the hub")],
    train_file: Annotated[Path, typer.Argument(help=".spacy")],
    test_file: Annotated[Path, typer.Argument(help=".spacy")],
    output: Annotated[Path, typer.Argument(help="JSON file to write")],
    steps: Annotated[int, typer.Option(help="Training steps")],
    batch: Annotated[int, typer.Option(help="Texts per step")] = 16,
    learn_rate: float = 0.0002,
    warmup: Annotated[float, typer.Option(help="Share of the steps")] = 0.1,
    quantization: Annotated[str, typer.Option(help="none or nf4")] = "none",
    tuning: Annotated[str, typer.Option(help="full or lora")] = "full",
    rank: int = 64,
    alpha: int = 16,
    spans_key: Annotated[str | None, typer.Option(help="doc.spans[KEY], not ents")] = None,
    seed: int = 0,
    limit: Annotated[int, typer.Option(help="Docs of each file; 0: all")] = 0,
    gpu_id: int = -1,
) -> None:
    """Fine-tune, let it write, and score."""
    if quantization not in ("none", "nf4") or tuning not in ("full", "lora"):
        raise ValueError(
            f"Expected the quantization none or nf4 and the tuning full or lora, but got "
            f"{quantization!r} and {tuning!r}."
        )
    if quantization == "nf4" and tuning == "full":
        raise ValueError("Quantized weights cannot be trained: give --tuning lora.")
    device = torch.device("cpu" if gpu_id < 0 else f"cuda:{gpu_id}")
    nlp = spacy.blank("en")
    train_docs = read_gold(nlp, train_file, limit, spans_key)
    test_docs = read_gold(nlp, test_file, limit, spans_key)
    labels = sorted({span[2] for doc in train_docs for span in take_spans(doc, spans_key)})
    tokenizer = load_tokenizer(find_source(decoder), {})
    if tokenizer.eos_token_id is None:
        raise ValueError(f"The tokenizer of {decoder!r} has no EOS token to end an answer with.")
    pairs = [
        (
            tokenizer(make_prompt(doc, labels)).input_ids,
            [
                *tokenizer(make_answer(doc, spans_key), add_special_tokens=False).input_ids,
                tokenizer.eos_token_id,
            ],
        )
        for doc in train_docs
    ]
    torch.manual_seed(seed)
    start = time.perf_counter()
    model = load(
        decoder, quantization=quantization, tuning=tuning, rank=rank, alpha=alpha, device=device
    )
    train(model, pairs, steps=steps, batch=batch, rate=learn_rate, warmup=warmup, seed=seed)
    minutes = (time.perf_counter() - start) / 60
    prompts = [tokenizer(make_prompt(doc, labels)).input_ids for doc in test_docs]
    start = time.perf_counter()
    # Nobody trained it to write more than that.
    longest = max(len(answer) for _, answer in pairs)
    answers = write_answers(model, tokenizer, prompts, n_subtokens=longest, batch=batch)
    seconds = time.perf_counter() - start
    gold = [take_spans(doc, spans_key) for doc in test_docs]
    found = [
        parse_answer(answer, doc, labels) for answer, doc in zip(answers, test_docs, strict=True)
    ]
    if spans_key is None:
        found = [
            leave_out_unannotated(spans, doc) for spans, doc in zip(found, test_docs, strict=True)
        ]
    scores = score_spans(gold, found)
    record = {
        "threshold": None,
        "f1": 100 * scores.micro.f1,
        "precision": 100 * scores.micro.precision,
        "recall": 100 * scores.micro.recall,
        "labels": {
            label: [counts.n_correct, counts.n_predicted, counts.n_gold]
            for label, counts in scores.per_label.items()
        },
        "documents": count_by_document(gold, found).tolist(),
        "not_in_text": sum(span[0] < 0 for spans in found for span in spans),
        "tokens_per_second": sum(map(len, test_docs)) / seconds,
        "train_minutes": minutes,
        "checkpoint_bytes": _count_bytes(model),
    }
    replace_file(output, json.dumps(record).encode("utf8") + b"\n")
    print(f"F1 {record['f1']:.2f}, {record['not_in_text']} spans not in the text")


def _count_bytes(model: Any) -> int:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def _draw_batches(n: int, size: int, rng: random.Random) -> Iterator[list[int]]:
    """Numbers of texts, epoch by epoch in another order, the last batch of each as it comes."""
    while True:
        order = list(range(n))
        rng.shuffle(order)
        yield from (order[i : i + size] for i in range(0, n, size))


def _find_text(doc: Doc, text: str) -> Iterator[tuple[int, int]]:
    """Spans of tokens with a text, from left to right; white space does not count."""
    target = "".join(text.split())
    for start in range(len(doc)):
        if doc[start].text.isspace():
            continue
        read = ""
        for end in range(start, len(doc)):
            read += "".join(doc[end].text.split())
            if read == target and target:
                yield start, end + 1
            if len(read) >= len(target):
                break


def _in_a_line(text: str) -> str:
    return " ".join(text.split())


def _from_outside_in(span: SpanT) -> tuple[int, int, str]:
    return span[0], -span[1], span[2]


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
