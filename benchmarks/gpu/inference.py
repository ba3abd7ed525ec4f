"""Inference: lgu_transformer through nlp.pipe, and the usual loop over padded batches."""

import gc
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.language import Language
from transformers import AutoModel, AutoTokenizer

from spacy_lgu.decoder.building import check_settings
from spacy_lgu.decoder.loading import quantization_config
from spacy_lgu.decoder.quantizing import store_quantized
from spacy_lgu.decoder.settings import DecoderSettings
from spacy_lgu.decoder.versions import dtype_option

from .clock import DEVICE, now, share_outside
from .shapes import draw_articles, draw_sentences

_DRAW = {"sentences": draw_sentences, "articles": draw_articles}


def measure_ours(
    decoder: Path,
    quantization: str,
    counts: dict[str, int],
    packs: list[int | str],
    rounds: int,
) -> dict[str, Any]:
    """Subtokens per second of the transformer component alone, with new texts in each round.

    decoder (Path): The decoder's folder.
    quantization (str): "none" (bfloat16) or "nf4".
    counts (dict[str, int]): Texts by kind, "sentences" and "articles".
    packs (list[int | str]): Values of max_batch_items.
    rounds (int): Passes, after one to warm up.
    RETURNS (dict): "initialize" in seconds, "passes" by kind and pack in subtokens per second, and
        "outside", the share of the time that is not the decoder's forward.
    """
    if DEVICE.type == "cuda":
        spacy.require_gpu()
    results: dict[str, Any] = {"passes": {}, "outside": {}}
    start = time.perf_counter()
    nlp = make_pipeline(decoder, {"quantization": quantization, "tuning": "frozen"})
    nlp.initialize()
    results["initialize"] = now() - start
    pipe: Any = nlp.get_pipe("transformer")
    for kind, n_texts in counts.items():
        for pack in packs:
            pipe.shim.set_options(max_batch_items=pack, base_weights="auto")
            speeds = [time_pass(nlp, kind, n_texts, seed) for seed in range(rounds + 1)][1:]
            items = f"{'auto: ' * (pack == 'auto')}{pipe.shim.find_items():,}"
            results["passes"][f"{kind}, packs of {items}"] = statistics.median(speeds)
        results["outside"][kind] = share_outside(
            pipe.shim.ready.decoder.base, partial(time_pass, nlp, kind, n_texts, rounds + 1)
        )
    return results


def measure_stored(decoder: Path) -> dict[str, float]:
    """Seconds of nlp.initialize with a decoder that is quantized while it is loaded, and with one
    that `lgu fetch --quantize nf4` stored.

    decoder (Path): The decoder's folder; what is stored lies beside it.
    RETURNS (dict): "quantizing", "store" and "stored".
    """
    if DEVICE.type == "cuda":
        spacy.require_gpu()
    stored = decoder.with_name(f"{decoder.name}-nf4")
    settings = DecoderSettings(
        name=str(decoder), unmasking="ccbb", quantization="nf4", dtype="bfloat16", tuning="frozen"
    )
    seconds = {}
    start = now()
    store_quantized(check_settings(settings, {}), stored, dtype="bfloat16", device=DEVICE)
    seconds["store"] = now() - start
    # The first time, files are hashed and read into the system's cache.
    for name, folder in (("", decoder), ("", stored), ("quantizing", decoder), ("stored", stored)):
        nlp = make_pipeline(folder, {"quantization": "nf4", "tuning": "frozen"})
        start = now()
        nlp.initialize()
        seconds[name] = now() - start
        del nlp
        gc.collect()  # else it would share the weights of the one before
    del seconds[""]
    return seconds


def make_pipeline(decoder: Path, model: dict[str, Any]) -> Language:
    """A pipeline with lgu_transformer alone, not initialized.

    decoder (Path): The decoder's folder.
    model (dict): Values of the model that differ from the defaults.
    """
    nlp = spacy.blank("en")
    values = {"name": str(decoder), "unmasking": "ccbb", "dtype": "bfloat16", "self_test": False}
    nlp.add_pipe("lgu_transformer", name="transformer", config={"model": {**values, **model}})
    return nlp


def time_pass(nlp: Language, kind: str, n_texts: int, seed: int) -> float:
    """Subtokens per second of a pass over new texts.

    nlp (Language): The pipeline.
    kind (str): "sentences" or "articles".
    n_texts, seed (int): As in draw_sentences.
    """
    docs = [nlp.make_doc(text) for text in _DRAW[kind](n_texts, seed)]
    start = now()
    n = 0
    for doc in nlp.pipe(docs, batch_size=1024):
        n += doc._.trf_data.model_output.last_hidden_state.shape[1]
    return n / (now() - start)


def measure_peer(
    decoder: Path, quantization: str, counts: dict[str, int], rounds: int
) -> dict[str, Any]:
    """Real subtokens per second of transformers alone on padded batches.

    decoder, quantization, counts, rounds: As in measure_ours.
    RETURNS (dict): "passes" by kind, order and size of the batches, in subtokens per second, and
        "load" in seconds.
    """
    start = time.perf_counter()
    model = load_model(AutoModel, decoder, quantization)
    results: dict[str, Any] = {"passes": {}, "load": now() - start}
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    tokenizer.pad_token = tokenizer.eos_token
    for kind, n_texts in counts.items():
        for size, by_length in ((32, False), (128, True)):
            if kind == "articles":
                size //= 8
            speeds = []
            for seed in range(rounds + 1):
                texts = _DRAW[kind](n_texts, seed)
                start = now()
                n = sum(_run_padded(model, tokenizer, texts, size, by_length))
                speeds.append(n / (now() - start))
            order = "sorted by length" if by_length else "in order"
            median = statistics.median(speeds[1:])
            results["passes"][f"{kind}, batches of {size} {order}"] = median
    return results


def load_model(kind: Any, decoder: Path, quantization: str, **options: Any) -> Any:
    """A decoder as transformers' users load it.

    kind (Any): One of its Auto classes.
    decoder (Path): The decoder's folder.
    quantization (str): "none" (bfloat16) or "nf4".
    options (Any): More for from_pretrained.
    RETURNS (PreTrainedModel): On the device, in evaluation mode.
    """
    if quantization != "none":
        quantizing = quantization_config(quantization, "bfloat16")
        quantizing.llm_int8_skip_modules = ["score"]  # the new head of a classifier
        options["quantization_config"] = quantizing
    return kind.from_pretrained(
        decoder, device_map={"": DEVICE}, **dtype_option(torch.bfloat16), **options
    ).eval()


def _run_padded(
    model: Any, tokenizer: Any, texts: list[str], size: int, by_length: bool
) -> Iterator[int]:
    """YIELDS (int): Real subtokens of each batch, whose vectors are on the host then."""
    encoded = tokenizer(texts)["input_ids"]
    if by_length:
        encoded = sorted(encoded, key=len)
    for first in range(0, len(encoded), size):
        batch = tokenizer.pad({"input_ids": encoded[first : first + size]}, return_tensors="pt").to(
            DEVICE
        )
        with torch.inference_mode():
            model(**batch, use_cache=False).last_hidden_state.float().cpu()
        yield sum(map(len, encoded[first : first + size]))
