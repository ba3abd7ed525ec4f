"""The folder in which the pages' commands run: corpora, pipelines, and a cache of tiny decoders.

python -m tests.docs.folder FOLDER, with HF_HOME where the cache is to be. A page runs in a copy.
"""

import json
import lzma
import os
import shutil
import sys
from pathlib import Path

import torch
from spacy.cli.train import train
from spacy.tokens import DocBin
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoTokenizer

from spacy_lgu.cli.package import package_pipeline
from spacy_lgu.corpora.formats import read_docs

from ..decoder.helpers import fill_cache
from .blocks import ROOT
from .commands import SHORT_TRAINING

# Names that users write: family and number of layers are the real ones, and all else is tiny.
DECODERS = {
    "mistralai/Mistral-7B-v0.3": ("mistral", 32),
    "mistralai/Mistral-7B-v0.1": ("mistral", 32),
    "meta-llama/Llama-2-7b-hf": ("llama", 32),
    "meta-llama/Llama-3.1-8B": ("llama", 32),
    "meta-llama/Llama-3.2-1B": ("llama", 16),
    "Qwen/Qwen2.5-7B": ("qwen2", 28),
    "Qwen/Qwen3-0.6B": ("qwen3", 28),
    "Qwen/Qwen3-1.7B": ("qwen3", 28),
    "Qwen/Qwen3-4B": ("qwen3", 36),
    "Qwen/Qwen3-8B": ("qwen3", 36),
    "google/gemma-3-1b-pt": ("gemma3_text", 26),
    "HuggingFaceTB/SmolLM2-135M": ("llama", 30),
    "HuggingFaceTB/SmolLM3-3B": ("smollm3", 36),
    "allenai/OLMo-2-1124-7B": ("olmo2", 32),
    "microsoft/Phi-3-mini-4k-instruct": ("phi3", 32),
    "EleutherAI/pythia-160m": ("gpt_neox", 12),
    # Is refused under transformers 4.53.
    "openai-community/gpt2": ("gpt2", 12),
}
COMMIT = "c0ffee" + "0" * 34
# Configs and the pipelines that are trained from them; the last folders are copies.
PIPELINES = {
    "lgu_mistral_ner": ["training/my_ner", "training/lgu_mistral_ner", "training"],
    "lgu_sequence_labeler": ["training/my_labeler", "training/lgu_sequence_labeler"],
    "lgu_mistral_spancat": ["training/my_spancat", "training/lgu_mistral_spancat"],
}
INSTALLED = "lgu_mistral_ner"
# Sentences of each part.
SIZES = {"train": 60, "dev": 12, "test": 12}


def prepare_folder(folder: Path, cache: Path, site: Path) -> None:
    """Make everything that pages may name.

    folder (Path): A new folder.
    cache (Path): HF_HOME, in which decoders are put under the names users write.
    site (Path): Gets an installed pipeline, as site-packages would.
    """
    fill_hub(cache / "hub")
    folder.mkdir()
    for name in ("assets", "benchmarks", "configs", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "project.yml", folder)
    os.chdir(folder)
    write_corpora()
    for config, places in PIPELINES.items():
        overrides = {
            **SHORT_TRAINING,
            "training.logger": {"@loggers": "spacy.ConsoleLogger.v1"},
        }
        if "spancat" in config:
            overrides["paths.train"] = "corpus/reviews/train.spacy"
            overrides["paths.dev"] = "corpus/reviews/dev.spacy"
        first, *others = map(Path, places)
        train(Path(f"configs/{config}.cfg"), first, overrides=overrides)
        for other in others:
            shutil.copytree(first, other, dirs_exist_ok=True)
    install(Path("training/lgu_mistral_ner/model-best"), site)


def fill_hub(hub: Path) -> None:
    """Put tiny random decoders into a cache as huggingface_hub fills it."""
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "assets/decoder")
    made: dict[tuple[str, int], Path] = {}
    for name, (family, n_layers) in DECODERS.items():
        if (family, n_layers) not in made:
            torch.manual_seed(0)
            values = {
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": n_layers,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 8,
                "vocab_size": len(tokenizer),
                "max_position_embeddings": 512,
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": None,
            }
            if family == "mistral":
                values["sliding_window"] = None
            if family == "gpt2":
                values = {
                    "n_embd": 32,
                    "n_layer": n_layers,
                    "n_head": 4,
                    "vocab_size": len(tokenizer),
                }
            config = CONFIG_MAPPING[family](**values)
            place = hub.parent / "made" / f"{family}-{n_layers}"
            AutoModelForCausalLM.from_config(config).save_pretrained(place)
            tokenizer.save_pretrained(place)
            made[family, n_layers] = place
        fill_cache(hub, name, {COMMIT: made[family, n_layers]})


def write_corpora() -> None:
    """Write the parts of both corpora, converted and raw, under the names that pages use."""
    for part, n_docs in SIZES.items():
        for corpus, key in (("ner", None), ("reviews", "sc")):
            source = Path("assets/corpus", corpus, f"{part}.txt")
            docs = list(read_docs([source], "inline", report=_ignore, spans_key=key))[:n_docs]
            data = DocBin(docs=docs, store_user_data=True).to_bytes()
            _write(Path("corpus", corpus, f"{part}.spacy"), data)
            if corpus == "reviews":
                continue
            _write(Path(f"{part}.spacy"), data)
            _write(Path("my", f"{part}.spacy"), data)
            _write(Path(f"{part}.conll"), "\n".join(map(_columns, docs)).encode())
            _write(Path(f"{part}.jsonl"), "".join(map(_record, docs)).encode())
            if part == "train":
                texts = [doc.text for doc in docs]
    lines = [json.dumps({"text": text}) + "\n" for text in texts]
    _write(Path("news.jsonl.xz"), lzma.compress("".join(lines[:-2]).encode()))
    # The decoder runs once for each subtoken of it.
    _write(Path("held_out.jsonl"), "".join(lines[-2:]).encode())
    _write(Path("texts.txt"), "".join(f"{text}\n" for text in texts).encode())


def _ignore(note: object) -> None:
    """Notes of the converters: the corpora of the project have none that matter here."""


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _columns(doc) -> str:
    rows = []
    for token in doc:
        tag = token.ent_iob_ + (f"-{token.ent_type_}" if token.ent_type_ else "")
        rows.append(f"{token.text}\t{tag or 'O'}\n")
    return "".join(rows)


def _record(doc) -> str:
    spans = [
        {"start": ent.start_char, "end": ent.end_char, "label": ent.label_} for ent in doc.ents
    ]
    return json.dumps({"text": doc.text, "spans": spans}, ensure_ascii=False) + "\n"


def install(pipeline: Path, site: Path) -> None:
    """Put a pipeline where Python imports from, with the metadata that spaCy looks for."""
    package = package_pipeline(pipeline, site.parent / "packages", name=INSTALLED, build=False)
    shutil.copytree(package / INSTALLED, site / INSTALLED)
    metadata = site / f"{INSTALLED}-0.0.0.dist-info" / "METADATA"
    _write(metadata, f"Metadata-Version: 2.1\nName: {INSTALLED}\nVersion: 0.0.0\n".encode())


if __name__ == "__main__":
    prepare_folder(*map(Path, sys.argv[1:]))
