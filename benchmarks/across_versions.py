"""Do saved pipelines give the same vectors under another version of transformers?

    python benchmarks/across_versions.py save /tmp/saved            # in one environment
    python benchmarks/across_versions.py load /tmp/saved            # in the other

Small random decoders of many families, rotary embeddings, quantizations, tunings and tokenizers are
saved with what they answer. Loading prints which answers are equal, which pipelines are refused,
with the reason, and which are silently different: none may be.
"""

import json
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy
import spacy
import torch
import transformers
import typer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from tqdm import tqdm
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast

TEXT = "Ann Lee  ate 12 naan\n\nin Zürich (東京), didn't she? 😀 " * 4
# The same arithmetic in another order; a wrong frequency or subtoken is off by far more.
TOLERANCE = 1e-4
_COMMON: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 400,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
    "pad_token_id": None,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@dataclass(frozen=True)
class Case:
    """A pipeline.

    family (str): transformers' model_type.
    config (dict): Values of the decoder's config.
    model (dict): Values of the component's model.
    tokenizer (str | None): The class that tokenizer_config.json names.
    """

    family: str
    config: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    tokenizer: str | None = None


CASES = {
    "llama": Case("llama"),
    "mistral": Case("mistral", {"sliding_window": None}),
    "mistral, sliding": Case("mistral", {"sliding_window": 16}),
    "qwen2, base 1e6": Case("qwen2", {"rope_theta": 1e6}),
    "qwen3": Case("qwen3", {"head_dim": 16, "rope_theta": 1e6}),
    "phi3": Case("phi3"),
    "gemma": Case("gemma", {"head_dim": 16}),
    "gemma3_text": Case("gemma3_text", {"head_dim": 16, "sliding_window": 16}),
    "gpt_neox": Case("gpt_neox"),
    "olmo2": Case("olmo2"),
    "smollm3": Case("smollm3", {"no_rope_layers": [1, 1, 1, 0]}),
    "granite": Case("granite"),
    "starcoder2": Case("starcoder2", {"sliding_window": None}),
    "glm, half of each head rotated": Case("glm", {"head_dim": 16}),
    "qwen3_moe": Case("qwen3_moe", {"head_dim": 16, **_EXPERTS}),
    "qwen3_moe, nf4": Case("qwen3_moe", {"head_dim": 16, **_EXPERTS}, {"quantization": "nf4"}),
    "qwen3_moe, int8": Case("qwen3_moe", {"head_dim": 16, **_EXPERTS}, {"quantization": "int8"}),
    "mixtral, nf4": Case("mixtral", {"num_local_experts": 4}, {"quantization": "nf4"}),
    "nf4": Case("llama", model={"quantization": "nf4"}),
    "int8": Case("llama", model={"quantization": "int8"}),
    "full": Case("qwen2", {"rope_theta": 1e6}, {"tuning": "full"}),
    "frozen": Case("mistral", {"sliding_window": None}, {"tuning": "frozen"}),
    "bfloat16": Case("llama", model={"dtype": "bfloat16"}),
    "reference": Case("qwen2", {"rope_theta": 1e6}, {"base_weights": "reference"}),
    "rotary linear": Case("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    "rotary llama3": Case("llama", {"rope_scaling": _LLAMA3}),
    "rotary YaRN": Case("qwen2", {"rope_scaling": _YARN}),
    "rotary YaRN that contradicts itself": Case(
        "qwen2", {"rope_scaling": _YARN, "max_position_embeddings": 256}
    ),
    "LlamaTokenizer": Case("llama", tokenizer="LlamaTokenizerFast"),
    "Qwen2Tokenizer": Case("qwen2", tokenizer="Qwen2TokenizerFast"),
    "GPT2Tokenizer": Case("gpt_neox", tokenizer="GPT2TokenizerFast"),
}

app = typer.Typer(add_completion=False, no_args_is_help=True)
FolderT = Annotated[Path, typer.Argument(help="Where the pipelines are")]


@app.command()
def save(folder: FolderT) -> None:
    """Save a pipeline for each case, with the answer it gives here."""
    torch.set_num_threads(1)
    for name, case in tqdm(CASES.items(), desc="Saved"):
        place = folder / _file_name(name)
        _save_decoder(place / "decoder", case)
        nlp = _make_pipeline(place / "decoder", case)
        nlp.to_disk(place / "pipeline")
        numpy.save(place / "expected.npy", _answer(spacy.load(place / "pipeline")))
        if case.model.get("base_weights") != "reference":
            shutil.rmtree(place / "decoder")
    (folder / "saved-with.json").write_text(json.dumps(transformers.__version__))


@app.command()
def load(folder: FolderT) -> None:
    """Load all of them and compare. Exits with 1 if one is silently different."""
    torch.set_num_threads(1)
    saved_with = json.loads((folder / "saved-with.json").read_text())
    print(f"saved with transformers {saved_with}, loaded with {transformers.__version__}")
    counts: Counter[str] = Counter()
    for name in CASES:
        place = folder / _file_name(name)
        expected = numpy.load(place / "expected.npy")
        try:
            found = _answer(spacy.load(place / "pipeline"))
        except (ValueError, OSError) as error:
            outcome, why = "refused", str(error)
        else:
            differs = found.shape != expected.shape
            error = numpy.inf if differs else _relative(found, expected)
            outcome = "equal" if error < TOLERANCE else "SILENT"
            why = f"{found.shape} {error:.1e}"
        counts[outcome] += 1
        print(f"{outcome:8}{name}: {why[:300]}")
    print(", ".join(f"{outcome} {count}" for outcome, count in sorted(counts.items())))
    sys.exit(1 if counts["SILENT"] else 0)


def _file_name(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


def _save_decoder(folder: Path, case: Case) -> None:
    torch.manual_seed(0)
    config = CONFIG_MAPPING[case.family](**{**_COMMON, **json.loads(json.dumps(case.config))})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    _make_tokenizer().save_pretrained(folder)
    if case.tokenizer is not None:
        file = folder / "tokenizer_config.json"
        values = json.loads(file.read_text())
        file.write_text(json.dumps({**values, "tokenizer_class": case.tokenizer}))


def _make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with splitting rules that no class in transformers has."""
    bpe = Tokenizer(models.BPE(unk_token=None))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        [TEXT],
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<s>", "</s>", "<unk>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _make_pipeline(decoder: Path, case: Case) -> spacy.Language:
    values = dict(case.model)
    base_weights = values.pop("base_weights", "auto")
    model = {"name": str(decoder.resolve()), "quantization": "none", "dtype": "float32", **values}
    nlp = spacy.blank("en")
    options = {"model": model, "base_weights": base_weights}
    pipe: Any = nlp.add_pipe("lgu_transformer", name="transformer", config=options)
    nlp.initialize()
    torch.manual_seed(0)
    for _, parameter in pipe.shim.ready.decoder.trainable():  # as if trained
        parameter.data += 0.02 * torch.randn_like(parameter)
    return nlp


def _answer(nlp: spacy.Language) -> numpy.ndarray:
    """Vectors of the text. Shape: (subtokens, width)."""
    return numpy.array(nlp(TEXT)._.trf_data.model_output.last_hidden_state[0])


def _relative(found: numpy.ndarray, expected: numpy.ndarray) -> float:
    return float(numpy.linalg.norm(found - expected) / numpy.linalg.norm(expected))


if __name__ == "__main__":
    app()
