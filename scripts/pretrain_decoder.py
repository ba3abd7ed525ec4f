"""Pretrain a small Mistral-architecture decoder, or its bidirectional twin, from raw text.

    python scripts/pretrain_decoder.py --text train.0.jsonl.xz --text train.1.jsonl.xz \
        --valid valid.jsonl.xz --checkpoints checkpoints/decoder --output assets/decoder \
        --minutes 60

Text is read in a stream from JSON lines with a "text" field, plain, .xz or .gz, one document of
each file in turn. Documents are cut into windows, which each begin with the BOS subtoken and attend
only within themselves. The learning rate warms up, stays, and decays over the last part of the
given minutes; Ctrl-C begins the decay at once. The checkpoint kept for the next call is from before
the decay, so that any number of calls continue one run, and each ends with a finished decoder.

--objective masked trains the encoder twin: the same network with every layer bidirectional, for
use under the pattern "bbbb".

Runs on a CPU or one CUDA device, in bfloat16 where the device computes it fast.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice, zip_longest
from pathlib import Path
from typing import Annotated

import torch
import typer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from spacy_lgu.decoder.attention import ATTENTION, register_attention
from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.decoder.loading import resolve_dtype
from spacy_lgu.pretraining.evaluation import bits_per_byte, prediction_scores
from spacy_lgu.pretraining.learner import CHECKPOINT, Learner
from spacy_lgu.pretraining.objectives import Objective, mask_subtoken
from spacy_lgu.pretraining.text import TextStream, WindowStream, read_texts
from spacy_lgu.pretraining.training import Budget, train
from spacy_lgu.replacing import replace_folder

BOS, EOS, MASK = "<s>", "</s>", "<mask>"
BUFFER = 4096


def train_tokenizer(
    paths: list[Path], *, vocab_size: int, characters: int, context: int
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that begins every sequence with BOS, as Mistral's does."""

    def texts() -> Iterator[str]:
        left = characters
        for row in zip_longest(*map(read_texts, paths)):
            for text in row:
                if text is None:
                    continue
                yield text
                left -= len(text)
                if left <= 0:
                    return

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts(),
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[BOS, EOS, MASK],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS} $B",
        special_tokens=[(BOS, bpe.token_to_id(BOS))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        mask_token=MASK,
        model_max_length=context,
    )


def make_decoder(config: MistralConfig, *, unmasked: bool, device: torch.device) -> LGUDecoder:
    """A decoder with random weights in float32."""
    register_attention()
    base = AutoModel.from_config(config, attn_implementation=ATTENTION)
    for layer in base.layers:
        # Each layer begins as the identity, which trains faster (Zhang et al. 2019, Fixup).
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    return LGUDecoder(
        base.to(device),
        unmasked=(unmasked,) * config.num_hidden_layers,
        dtype=resolve_dtype("auto", device),
    )


def make_optimizers(decoder: LGUDecoder, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices (Jordan et al. 2024), AdamW for embeddings and norms."""
    matrices = [p for p in decoder.base.layers.parameters() if p.ndim == 2]
    in_layers = {id(p) for p in matrices}
    others = [p for p in decoder.base.parameters() if id(p) not in in_layers]
    muon = torch.optim.Muon(
        [{"params": matrices, "peak": learning_rate}],
        lr=learning_rate,
        weight_decay=0.1,
        adjust_lr_fn="match_rms_adamw",
    )
    decayed = [p for p in others if p.ndim == 2]
    rest = [p for p in others if p.ndim < 2]
    adamw = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": 0.01, "peak": learning_rate},
            {"params": rest, "weight_decay": 0.0, "peak": learning_rate},
        ],
        lr=learning_rate,
        betas=(0.9, 0.95),
        fused=True,
    )
    return [muon, adamw]


def save_decoder(decoder: LGUDecoder, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the decoder with its LM head, which shares the embeddings, in bfloat16."""
    model = MistralForCausalLM(decoder.base.config)
    model.model.load_state_dict(decoder.base.state_dict())
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main(
    text: Annotated[list[Path], typer.Option(help="Training text, .jsonl, .jsonl.xz, .jsonl.gz")],
    valid: Annotated[Path, typer.Option(help="Text to validate on, never trained on")],
    checkpoints: Annotated[Path, typer.Option(help="Folder to resume from and save to")],
    output: Annotated[Path, typer.Option(help="Folder for the finished decoder")],
    minutes: Annotated[float, typer.Option(help="Training time of this call", min=0.01)] = 60,
    objective: Annotated[
        str, typer.Option(help="causal, or masked for the encoder twin")
    ] = "causal",
    mask_rate: Annotated[float, typer.Option(help="Share of subtokens masked")] = 0.3,
    tokenizer_from: Annotated[
        Path | None, typer.Option(help="Folder with a tokenizer to use instead of a new one")
    ] = None,
    start_from: Annotated[
        Path | None, typer.Option(help="Decoder whose weights a new run begins with")
    ] = None,
    layers: int = 8,
    width: int = 256,
    heads: int = 4,
    kv_heads: int = 2,
    mlp_width: int = 768,
    vocab_size: int = 8192,
    context: Annotated[int, typer.Option(help="Positions the decoder is made for")] = 1024,
    window: Annotated[int, typer.Option(help="Subtokens per training sequence")] = 512,
    batch_subtokens: int = 8192,
    learning_rate: float = 4e-3,
    warmup: Annotated[int, typer.Option(help="Steps of warm-up", min=1)] = 50,
    decay: Annotated[
        float, typer.Option(help="Last share of the minutes, for the decay", min=0.01, max=1)
    ] = 0.25,
    clip: float = 1.0,
    valid_every: Annotated[float, typer.Option(help="Minutes between validations")] = 5,
    seed: int = 0,
) -> None:
    """Begin a run, or continue the one in the checkpoints folder."""
    if objective not in ("causal", "masked"):
        raise typer.BadParameter(f"objective is {objective!r}: expected 'causal' or 'masked'.")
    if context < window:
        raise typer.BadParameter(f"context is {context}, shorter than the window of {window}.")
    if not hasattr(torch.optim, "Muon"):
        raise typer.BadParameter(f"torch {torch.__version__} has no Muon: install 2.9 or newer.")
    is_begun = (checkpoints / CHECKPOINT).exists()
    if is_begun and start_from is not None:
        raise typer.BadParameter(
            f"{checkpoints} holds a run that has begun, with weights of its own: leave start-from "
            "out, or name another folder."
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    tokenizer_path = checkpoints / "tokenizer"
    if not tokenizer_path.exists():
        if tokenizer_from is None:
            print(f"Training a tokenizer with {vocab_size} subtokens")
            tokenizer = train_tokenizer(
                text, vocab_size=vocab_size, characters=30_000_000, context=context
            )
        else:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_from)
        replace_folder(tokenizer_path, tokenizer.save_pretrained)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_path)
    if tokenizer.bos_token_id is None:
        raise typer.BadParameter(f"{tokenizer_path} has no BOS, with which every window begins.")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": mlp_width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": context,
    }
    config = MistralConfig(
        **sizes,
        sliding_window=None,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    decoder = make_decoder(config, unmasked=objective == "masked", device=device)
    task = Objective(
        objective,
        mask_id=mask_subtoken(tokenizer) if objective == "masked" else None,
        mask_rate=mask_rate,
        special_ids=tuple(tokenizer.all_special_ids),
        vocab_size=len(tokenizer),
    )
    head = decoder.base.get_input_embeddings().weight
    windows = WindowStream(
        TextStream(text), tokenizer, window=window, buffer_size=BUFFER, seed=seed
    )
    learner = Learner(
        decoder,
        head,
        task,
        windows,
        make_optimizers(decoder, learning_rate),
        identity={
            "objective": objective,
            "window": window,
            "batch_subtokens": batch_subtokens,
            "mask_rate": mask_rate,
            "seed": seed,
            **sizes,
        },
    )
    if is_begun:
        learner.load(checkpoints)
        n = learner.progress.n_subtokens
        print(f"Resuming at step {learner.progress.step}, {n:,} subtokens")
    elif start_from is not None:
        weights = AutoModelForCausalLM.from_pretrained(start_from, torch_dtype=torch.float32)
        decoder.base.load_state_dict(weights.model.state_dict())
    valid_texts = [t[:4000] for t in islice(read_texts(valid), 40)]
    valid_stream = WindowStream(
        TextStream([valid]), tokenizer, window=window, buffer_size=200, seed=0
    )
    valid_batches = list(islice(valid_stream.batches(8192, device), 8))

    def validate() -> float:
        if objective == "causal":
            n = min(448, context)
            return bits_per_byte(
                decoder, head, tokenizer, valid_texts, window=n, context=min(64, n // 2)
            )
        return prediction_scores(decoder, head, task, valid_batches)[0]

    metric = "bits per byte" if objective == "causal" else "nats per masked subtoken"
    print(f"{sum(p.numel() for p in decoder.parameters()):,} parameters on {device}")
    budget = Budget(minutes * 60, "seconds", warmup, decay, begun=learner.progress.seconds)
    train(
        learner,
        budget,
        batch_subtokens=batch_subtokens,
        clip=clip,
        checkpoint=checkpoints,
        validate=validate,
        metric=metric,
        validate_every=valid_every,
    )
    progress = learner.progress
    score = progress.history[-1][3]
    print(
        f"{progress.n_subtokens:,} subtokens in {progress.seconds / 60:.1f} min: "
        f"{score:.3f} {metric}"
    )
    record = {"objective": objective, "metric": metric, **asdict(progress)}

    def write(folder: Path) -> None:
        save_decoder(decoder, tokenizer, folder)
        (folder / "training.json").write_text(json.dumps(record) + "\n", encoding="utf8")

    replace_folder(output, write, keep_others=True)


if __name__ == "__main__":
    typer.run(main)
