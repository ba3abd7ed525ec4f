"""Throughput of lgu_transformer and of spacy-transformers, on the same weights and texts.

In an environment with spacy-transformers: make install-transformers4.

    python -m benchmarks.throughput --output throughput.json
    python -m benchmarks.throughput --decoder assets/decoder --no-random --rounds 7

Each is a pipeline of the transformer component alone, which gets Docs through nlp.pipe:

- ours float32   lgu_transformer with every layer causal, unquantized, frozen
- ours auto      the same in the default dtype of the device
- ours int8      the same, saved and loaded with products = "int8" (on CPUs)
- peer float32   TransformerModel.v3 with its default strided_spans, padding with EOS

All run once per round, in turns, so that what else the machine does hits all alike; ratios are
taken within a round. With --cpu-time, seconds are those that the process computes, which other
work on the machine moves less; give OMP_NUM_THREADS=1 with it. What is outside the decoder tells
how far the pipeline is from the decoder alone on the same packs.

The token vectors (mean over the token's subtokens) of float32 are compared on the Docs that both
run as one sequence: both do the same work there.
"""

import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy
import spacy
import torch
import typer
from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import to_numpy
from thinc.types import Ragged
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from tqdm import tqdm
from transformers import AutoTokenizer, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from benchmarks.gpu.clock import share_outside
from benchmarks.texts import load_texts
from spacy_lgu.replacing import replace_file
from spacy_lgu.segments import find_starts

DECODER = Path(__file__).parent.parent / "assets" / "decoder"
WINDOW, STRIDE = 128, 96  # spacy-transformers' defaults, in spaCy's tokens
BATCH_SIZE = 128  # of nlp.pipe: what spaCy's quickstart gives pipelines with a transformer
EOS = "<|endoftext|>"
OURS = {"ours float32": "float32", "ours auto": "auto", "ours int8": "auto"}
INT8 = "ours int8"
PEER = "peer float32"
_CLOCK: list[Callable[[], float]] = [time.perf_counter]


def save_random_decoder(folder: Path, texts: list[str], seed: int) -> None:
    """A decoder of SmolLM-135M's shape with random weights, and a tokenizer trained on the texts.

    folder (Path): Where both go.
    texts (list[str]): A pair of subtokens is merged where it occurs twice, so that rare words
        stay in several pieces.
    seed (int): Of the weights.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.post_processor = processors.ByteLevel(trim_offsets=True)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=2,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bpe.train_from_iterator(sorted(set(texts)), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=EOS, model_max_length=config.max_position_embeddings
    )
    torch.manual_seed(seed)
    LlamaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_ours(
    decoder: Path, dtype: str, window: int | None = None, stride: int | None = None
) -> Language:
    """A pipeline with lgu_transformer alone.

    decoder (Path): The decoder's folder.
    dtype (str): "float32" or "auto".
    window, stride (int | None): In subtokens, as in the component's model; None: its defaults.
    """
    nlp = spacy.blank("en")
    model = {
        "name": str(decoder),
        "unmasking": "cccc",
        "quantization": "none",
        "dtype": dtype,
        "tuning": "frozen",
        "window": window,
        "stride": stride,
    }
    nlp.add_pipe("lgu_transformer", name="transformer", config={"model": model})
    nlp.initialize()
    return nlp


def serve_int8(nlp: Language) -> Language:
    """The same pipeline, saved and loaded to compute in int8.

    nlp (Language): From make_ours.
    """
    model = {"products": "int8"}
    with tempfile.TemporaryDirectory(prefix="throughput-") as name:
        nlp.to_disk(Path(name) / "saved")
        return spacy.load(
            Path(name) / "saved", config={"components": {"transformer": {"model": model}}}
        )


def make_peer(decoder: Path) -> Language:
    """A pipeline with spacy-transformers' component alone.

    decoder (Path): The decoder's folder.
    """
    nlp = spacy.blank("en")
    model = {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "name": str(decoder),
        "get_spans": {
            "@span_getters": "spacy-transformers.strided_spans.v1",
            "window": WINDOW,
            "stride": STRIDE,
        },
        # Without a pad token it refuses any batch of two.
        "tokenizer_config": {"pad_token": AutoTokenizer.from_pretrained(decoder).eos_token},
    }
    nlp.add_pipe("transformer", config={"model": model})
    nlp.initialize()
    return nlp


def now() -> float:
    """Seconds on a clock, once the GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return _CLOCK[0]()


def run(nlp: Language, texts: list[str]) -> tuple[float, list[Doc]]:
    """Seconds for the pipeline to annotate the texts, spaCy's tokenizer left out.

    nlp (Language): The pipeline.
    texts (list[str]): The texts.
    RETURNS (tuple): Seconds, and the Docs.
    """
    docs = [nlp.make_doc(text) for text in texts]
    start = now()
    docs = list(nlp.pipe(docs, batch_size=BATCH_SIZE))
    return now() - start, docs


def compare_vectors(ours: list[Doc], peer: list[Doc]) -> dict[str, Any]:
    """How far token vectors differ, in Docs that the peer runs as one span and with our subtokens:
    only we split those over several tokens.

    Both are pooled by our alignment, so that decoders are compared: where a subtoken's offsets
    hold the space before the word, the peer aligns it with the previous token as well.

    ours, peer (list[Doc]): The same Docs.
    RETURNS (dict[str, Any]): The largest distance of two vectors relative to the length of the
        peer's, over how many tokens, and how many tokens the peer aligns with another number of
        subtokens.
    """
    largest, n_tokens, n_aligned_otherwise = 0.0, 0, 0
    for our_doc, peer_doc in zip(ours, peer, strict=True):
        ours_data, peer_data = our_doc._.trf_data, peer_doc._.trf_data
        real = to_numpy(peer_data.wordpieces.attention_mask) > 0  # (spans, longest)
        ids = (to_numpy(data.wordpieces.input_ids) for data in (ours_data, peer_data))
        own, other = next(ids).ravel(), next(ids)[real]
        if len(real) > 1 or not numpy.array_equal(own, other):
            continue
        align = ours_data.align
        X = _pool(to_numpy(ours_data.model_output.last_hidden_state)[0], align)
        Y = _pool(to_numpy(peer_data.model_output.last_hidden_state)[real], align)
        distances = numpy.linalg.norm(X - Y, axis=1) / numpy.linalg.norm(Y, axis=1)
        largest = float(numpy.max([largest, *distances]))  # NaN stays
        n_tokens += len(our_doc)
        lengths = to_numpy(align.lengths), to_numpy(peer_data.align.lengths)
        n_aligned_otherwise += int((lengths[0] != lengths[1]).sum())
    return {
        "max_relative_difference": largest,
        "tokens": n_tokens,
        "tokens_aligned_otherwise": n_aligned_otherwise,
    }


def _pool(hidden: numpy.ndarray, align: Ragged) -> numpy.ndarray:
    """Means over the subtokens of each token. Shape: (tokens, width)."""
    lengths = to_numpy(align.lengths)
    rows = to_numpy(align.dataXd).ravel()
    return numpy.add.reduceat(hidden[rows], find_starts(lengths)) / lengths[:, None]


def benchmark(
    name: str,
    decoder: Path,
    texts: list[str],
    rounds: int,
    windows: tuple[int | None, int | None] = (None, None),
) -> dict[str, Any]:
    """Measure one decoder.

    name (str): What the results call it.
    decoder (Path): Its folder.
    texts (list[str]): The texts.
    rounds (int): How often each pipeline annotates all texts, after one round to warm up.
    windows (tuple[int | None, int | None]): Window and stride of make_ours.
    RETURNS (dict): Medians, ratios and the comparison of vectors.
    """
    pipelines = {kind: make_ours(decoder, dtype, *windows) for kind, dtype in OURS.items()}
    own = pipelines.pop(INT8)
    if own.get_pipe("transformer").shim.ready.decoder.device.type == "cpu":
        pipelines[INT8] = serve_int8(own)
    dtype = pipelines["ours auto"].get_pipe("transformer").shim.ready.decoder.dtype
    pipelines[PEER] = make_peer(decoder)
    seconds: dict[str, list[float]] = {kind: [] for kind in pipelines}
    docs: dict[str, list[Doc]] = {}
    with tqdm(total=(rounds + 1) * len(pipelines), desc=name, mininterval=1) as progress:
        for i in range(rounds + 1):
            for kind, nlp in pipelines.items():
                elapsed, docs[kind] = run(nlp, texts)
                progress.update()
                if i:  # buffers are allocated, kernels are chosen
                    seconds[kind].append(elapsed)
    n_words = sum(len(doc) for doc in docs["ours auto"])
    n_subtokens = sum(len(doc._.trf_data.wordpieces.strings[0]) for doc in docs["ours auto"])
    results: dict[str, Any] = {
        "decoder": name,
        "auto_dtype": dtype,
        "words": n_words,
        "subtokens": n_subtokens,
        "vectors": compare_vectors(docs["ours float32"], docs[PEER]),
        "pipelines": {},
    }
    for kind, measured in seconds.items():
        median = statistics.median(measured)
        result = {
            "seconds": measured,
            "words_per_second": n_words / median,
            "subtokens_per_second": n_subtokens / median,
            "ratio": statistics.median(
                theirs / own for theirs, own in zip(seconds[PEER], measured, strict=True)
            ),
        }
        if kind != PEER:
            result["outside_decoder"] = share_outside(
                pipelines[kind].get_pipe("transformer").shim.ready.decoder.base,
                partial(run, pipelines[kind], texts),
                now,
            )
        results["pipelines"][kind] = result
    return results


def print_table(results: dict[str, Any]) -> None:
    """One line per pipeline, then the comparison of vectors."""
    print(
        f"\n{results['decoder']}: {results['words']:,} words, {results['subtokens']:,} subtokens; "
        f"auto is {results['auto_dtype']}"
    )
    print(f"{'':14}{'words/s':>10}{'subtokens/s':>13}{'x peer':>8}{'outside decoder':>17}")
    for kind, result in results["pipelines"].items():
        share = f"{result['outside_decoder']:.1%}" if "outside_decoder" in result else ""
        print(
            f"{kind:14}{result['words_per_second']:10,.0f}{result['subtokens_per_second']:13,.0f}"
            f"{result['ratio']:8.2f}{share:>17}"
        )
    vectors = results["vectors"]
    print(
        f"float32 vectors differ by at most {vectors['max_relative_difference']:.1e} (relative) on "
        f"{vectors['tokens']:,} tokens; the peer aligns {vectors['tokens_aligned_otherwise']:,} "
        "otherwise"
    )


def describe_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    packages = ("spacy", "spacy-transformers", "torch", "transformers")
    return {
        "cpu": platform.processor() or platform.machine(),
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def describe_lengths(texts: list[str]) -> dict[str, float]:
    """Words per text: how mixed the lengths are."""
    nlp = spacy.blank("en")
    lengths = [len(doc) for doc in nlp.pipe(texts)]
    quantiles = numpy.quantile(lengths, [0, 0.25, 0.5, 0.75, 1])
    names = ("shortest", "quarter", "median", "three_quarters", "longest")
    return {"texts": len(texts), **dict(zip(names, quantiles.tolist(), strict=True))}


@contextmanager
def random_decoder(texts: list[str], seed: int) -> Iterator[Path]:
    """A folder with the decoder of save_random_decoder, for a while."""
    with tempfile.TemporaryDirectory(prefix="throughput-") as name:
        folder = Path(name) / "decoder"
        save_random_decoder(folder, texts, seed)
        yield folder


def main(
    decoder: Annotated[Path, typer.Option(help="Folder of the second decoder")] = DECODER,
    random: Annotated[bool, typer.Option(help="Measure SmolLM-135M's shape")] = True,
    given: Annotated[bool, typer.Option(help="Measure --decoder")] = True,
    texts: Annotated[Path | None, typer.Option(help="A text per line, or .jsonl")] = None,
    n_texts: Annotated[int, typer.Option(help="How many texts")] = 128,
    rounds: Annotated[int, typer.Option(help="Measured rounds, after one to warm up")] = 5,
    window: Annotated[int | None, typer.Option(help="Ours, in subtokens")] = None,
    stride: Annotated[int | None, typer.Option(help="Ours, in subtokens")] = None,
    gpu: Annotated[bool, typer.Option(help="Run on the GPU")] = False,
    cpu_time: Annotated[bool, typer.Option(help="Count CPU time instead of time")] = False,
    seed: Annotated[int, typer.Option(help="Of the texts and the random weights")] = 0,
    output: Annotated[Path | None, typer.Option(help="Write the results as JSON")] = None,
) -> None:
    """Measure and print tables."""
    if cpu_time:
        _CLOCK[0] = time.process_time
    if gpu:
        spacy.require_gpu()
    loaded = load_texts(texts, n_texts, seed)
    lengths = describe_lengths(loaded)
    windows = window, stride
    print("Words per text:", ", ".join(f"{name} {n:,.0f}" for name, n in lengths.items()))
    results = []
    if random:
        with random_decoder(loaded, seed) as folder:
            results.append(benchmark("SmolLM-135M's shape", folder, loaded, rounds, windows))
        print_table(results[-1])
    if given:
        results.append(benchmark(str(decoder), decoder, loaded, rounds, windows))
        print_table(results[-1])
    if output is not None:
        report = {"machine": describe_machine(), "lengths": lengths, "decoders": results}
        replace_file(output, json.dumps(report, indent=2).encode("utf8") + b"\n")


if __name__ == "__main__":
    typer.run(main)
