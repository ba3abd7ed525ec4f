"""Training steps: lgu_transformer with the sequence labeler, and PEFT on padded batches."""

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from transformers import AutoModelForTokenClassification, AutoTokenizer

from spacy_lgu.decoder.versions import enable_checkpointing

from .clock import DEVICE, median_seconds, peak_gib, reset_peak
from .inference import load_model, make_pipeline
from .shapes import draw_sentences

LORA = {"rank": 16, "alpha": 32, "dropout": 0.1, "modules": "all-linear"}
_MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_LABELS = ("PER", "ORG", "LOC", "MISC")


def measure_ours(decoder: Path, sizes: list[int], steps: int) -> list[dict[str, Any]]:
    """Steps of QLoRA (NF4) through nlp.update, each on sentences of new lengths.

    decoder (Path): The decoder's folder.
    sizes (list[int]): Sentences per step.
    steps (int): Steps that are counted.
    RETURNS (list[dict]): Per size and checkpointing: seconds per step, subtokens per second and
        the peak of memory.
    """
    if DEVICE.type == "cuda":
        spacy.require_gpu()
    results = []
    for checkpointing in (False, True):
        nlp = _make_trainable(decoder, checkpointing)
        optimizer = nlp.initialize(partial(make_examples, nlp, 32, 0))
        tokenizer = nlp.get_pipe("transformer").shim.ready.tokenizer
        for size in sizes:
            step = partial(nlp.update, sgd=optimizer)
            seconds, peak = _time(step, steps, partial(make_examples, nlp, size))
            results.append(
                _describe(seconds, peak, size, steps, tokenizer, checkpointing=checkpointing)
            )
        del nlp, optimizer, step
    return results


def measure_peer(decoder: Path, sizes: list[int], steps: int) -> list[dict[str, Any]]:
    """The same with PEFT and a token classification head of transformers, on padded batches.

    decoder, sizes, steps: As in measure_ours.
    RETURNS (list[dict]): As measure_ours.
    """
    import peft

    tokenizer = AutoTokenizer.from_pretrained(decoder)
    tokenizer.pad_token = tokenizer.eos_token
    results = []
    for checkpointing in (False, True):
        n_labels = 2 * len(_LABELS) + 1
        model = load_model(AutoModelForTokenClassification, decoder, "nf4", num_labels=n_labels)
        model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        if checkpointing:
            enable_checkpointing(model)
        config = peft.LoraConfig(
            task_type=peft.TaskType.TOKEN_CLS,
            r=LORA["rank"],
            lora_alpha=LORA["alpha"],
            lora_dropout=LORA["dropout"],
            target_modules=_MODULES,
        )
        model = peft.get_peft_model(model, config).train()
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
        for size in sizes:
            step = partial(_step_padded, model, tokenizer, optimizer)
            seconds, peak = _time(step, steps, partial(draw_sentences, size))
            results.append(
                _describe(seconds, peak, size, steps, tokenizer, checkpointing=checkpointing)
            )
        del model, optimizer, trained, step
    return results


def _time(
    step: Callable[[Any], Any], steps: int, prepare: Callable[[int], Any]
) -> tuple[float, float | None]:
    reset_peak()
    return median_seconds(step, steps, prepare), peak_gib()


def _describe(
    seconds: float,
    peak: float | None,
    size: int,
    steps: int,
    tokenizer: Any,
    *,
    checkpointing: bool,
) -> dict[str, Any]:
    counts = [
        sum(map(len, tokenizer(draw_sentences(size, i))["input_ids"])) for i in range(1, steps + 1)
    ]
    return {
        "sentences": size,
        "checkpointing": checkpointing,
        "seconds": seconds,
        "subtokens_per_second": statistics.median(counts) / seconds,
        "peak_gib": peak,
    }


def _step_padded(model: Any, tokenizer: Any, optimizer: Any, texts: list[str]) -> None:
    batch = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    batch = batch.to(DEVICE)
    labels = torch.zeros_like(batch["input_ids"])
    labels[batch["attention_mask"] == 0] = -100
    with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
        loss = model(**batch, labels=labels).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _make_trainable(decoder: Path, checkpointing: bool) -> Language:
    nlp = make_pipeline(
        decoder,
        {
            "quantization": "nf4",
            "gradient_checkpointing": checkpointing,
            "lora": LORA,
            "optimizer": {"@misc": "spacy-lgu.adamw.v1", "learn_rate_factor": 0.1},
        },
    )
    nlp.add_pipe("sequence_labeler")
    return nlp


def make_examples(nlp: Language, n: int, seed: int) -> list[Example]:
    """Sentences in which every fifth word is a name."""
    examples = []
    for text in draw_sentences(n, seed):
        reference = nlp.make_doc(text)
        reference.ents = [
            Span(reference, i, i + 1, label=_LABELS[i // 5 % len(_LABELS)])
            for i in range(0, len(reference), 5)
        ]
        words = [token.text for token in reference]
        spaces = [bool(token.whitespace_) for token in reference]
        examples.append(Example(Doc(nlp.vocab, words, spaces), reference))
    return examples
