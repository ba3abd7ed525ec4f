"""Pretrain a small Mistral-architecture decoder as a causal language model.

    python scripts/pretrain_decoder.py --text train.0.jsonl.xz --text train.1.jsonl.xz \
        --valid valid.jsonl.xz --checkpoints checkpoints/decoder --output assets/decoder \
        --minutes 60

Text is read in a stream from JSON lines with a "text" field, plain or .xz, and starts over when
it ends. Documents are cut into windows that each begin with the BOS subtoken and attend within
themselves only. The learning rate warms up, stays, and decays over the last part of the minutes
given. The checkpoint kept for the next call is the one from before the decay, so that any number
of calls continue one run and each of them ends with a finished decoder.

Runs on a CPU or one CUDA device, in bfloat16 where the device computes it fast.
"""

import json
import lzma
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy
import torch
import typer
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from tqdm import tqdm
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from spacy_lgu.decoder.attention import ATTENTION, register_attention
from spacy_lgu.decoder.loading import TORCH_DTYPES, resolve_dtype
from spacy_lgu.decoder.packing import PackedBatch

BOS, EOS = "<s>", "</s>"
# What a CPU core or a GPU computes at most in bfloat16, for the share shown in the progress bar.
PEAK_FLOPS = {"cpu": 2.2e11, "NVIDIA H100": 9.9e14, "NVIDIA H200": 9.9e14, "NVIDIA A100": 3.1e14}


def read_texts(paths: list[Path]) -> Iterator[str]:
    """The "text" of each line of .jsonl or .jsonl.xz files, in order."""
    for path in paths:
        with lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb") as lines:
            for line in lines:
                yield json.loads(line)["text"]


def train_tokenizer(paths: list[Path], *, vocab_size: int, characters: int, context: int):
    """A byte-level BPE tokenizer that begins every sequence with BOS, as Mistral's does."""

    def texts() -> Iterator[str]:
        left = characters
        for text in read_texts(paths):
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
            special_tokens=[BOS, EOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS} $B",
        special_tokens=[(BOS, bpe.token_to_id(BOS))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=BOS, eos_token=EOS, model_max_length=context
    )


@dataclass
class WindowStream:
    """Documents cut into shuffled windows, batched by subtokens, forever.

    The state is the position in the text and the windows that wait in the shuffle buffer, so
    that a run goes on exactly where it stopped.
    """

    paths: list[Path]
    tokenizer: PreTrainedTokenizerFast
    window: int
    buffer_size: int
    seed: int
    n_read: int = 0
    buffer: list[numpy.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = numpy.random.default_rng(self.seed)
        self.documents: Iterator[str] | None = None

    def batches(self, n_subtokens: int, device: torch.device) -> Iterator[PackedBatch]:
        while True:
            windows: list[numpy.ndarray] = []
            while sum(map(len, windows)) < n_subtokens:
                self._fill()
                i = int(self.rng.integers(len(self.buffer)))
                self.buffer[i], self.buffer[-1] = self.buffer[-1], self.buffer[i]
                windows.append(self.buffer.pop())
            yield PackedBatch.pack(
                numpy.concatenate(windows), [len(w) for w in windows], device=device
            )

    def _fill(self) -> None:
        bos = self.tokenizer.bos_token_id
        while len(self.buffer) < self.buffer_size:
            texts = [self._next_text() for _ in range(32)]
            for encoding in self.tokenizer.backend_tokenizer.encode_batch(
                texts, add_special_tokens=False
            ):
                ids = numpy.array(encoding.ids, dtype="uint16")
                for start in range(0, len(ids), self.window - 1):
                    piece = ids[start : start + self.window - 1]
                    self.buffer.append(numpy.concatenate([[bos], piece]).astype("uint16"))

    def _next_text(self) -> str:
        if self.documents is None:
            self.documents = read_texts(self.paths)
            for _ in range(self.n_read):
                next(self.documents)
        text = next(self.documents, None)
        if text is None:
            self.documents, self.n_read = None, 0
            return self._next_text()
        self.n_read += 1
        return text

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        tensors = {
            "buffer": torch.from_numpy(numpy.concatenate(self.buffer).astype("int32")),
            "buffer_lengths": torch.tensor([len(w) for w in self.buffer]),
        }
        return tensors, {"n_read": self.n_read, "rng": self.rng.bit_generator.state}

    def restore(self, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
        ends = tensors["buffer_lengths"].cumsum(0)[:-1]
        ids = tensors["buffer"].numpy().astype("uint16")
        self.buffer = numpy.split(ids, ends.numpy())
        self.n_read = state["n_read"]
        self.rng.bit_generator.state = state["rng"]
        self.documents = None


class LinearCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of `hidden @ weight.T`, a few rows at a time.

    Computes both gradients in the forward pass, so that the logits, the largest array of a
    small language model by far, never exist as a whole.
    """

    ROWS = 512

    @staticmethod
    def forward(ctx, hidden, weight, targets):  # type: ignore[override]
        weight_half = weight.to(hidden.dtype)
        d_hidden = torch.empty_like(hidden)
        d_weight = torch.zeros_like(weight)
        total = hidden.new_zeros((), dtype=torch.float32)
        for start in range(0, len(hidden), LinearCrossEntropy.ROWS):
            rows = slice(start, start + LinearCrossEntropy.ROWS)
            wanted = targets[rows, None]
            log_probs = torch.log_softmax((hidden[rows] @ weight_half.T).float(), dim=-1)
            total -= log_probs.gather(1, wanted).sum()
            d_logits = log_probs.exp_()
            d_logits.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=d_logits.dtype))
            d_half = d_logits.to(hidden.dtype)
            d_hidden[rows] = d_half @ weight_half
            d_weight += d_half.T @ hidden[rows]
        ctx.save_for_backward(d_hidden / len(hidden), d_weight / len(hidden))
        return total / len(hidden)

    @staticmethod
    def backward(ctx, d_loss):  # type: ignore[override]
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden * d_loss, d_weight * d_loss, None


def next_subtoken_rows(packed: PackedBatch) -> torch.Tensor:
    """Rows that have a next subtoken in their own sequence."""
    rows = torch.ones(packed.n_subtokens, dtype=torch.bool, device=packed.ids.device)
    rows[packed.cu_seqlens[1:].long() - 1] = False
    return rows.nonzero()[:, 0]


def hidden_states(model: MistralForCausalLM, packed: PackedBatch) -> torch.Tensor:
    """Shape: (total_subtokens, width)."""
    output = model.model(
        input_ids=packed.ids,
        position_ids=packed.positions,
        use_cache=False,
        packed=packed,
        unmasked=(False,) * model.config.num_hidden_layers,
    )
    return output.last_hidden_state[0]


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes it fast, else float32."""
    return TORCH_DTYPES[resolve_dtype("auto", device)]


def fast_autocast(device: torch.device) -> torch.autocast:
    dtype = fast_dtype(device)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


@torch.no_grad()
def bits_per_byte(
    model: MistralForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    texts: list[str],
    *,
    window: int = 448,
    context: int = 64,
) -> float:
    """Bits the model spends per UTF-8 byte, on windows whose first subtokens only give context.

    The first window of a text scores everything behind BOS; later ones overlap it by `context`
    subtokens and score the rest, so that every subtoken is scored exactly once.
    """
    bits, n_bytes = 0.0, 0
    for text in texts:
        ids = numpy.array(tokenizer.backend_tokenizer.encode(text).ids)
        n_bytes += len(text.encode("utf8"))
        for start in range(0, len(ids), window - context):
            piece = ids[start : start + window]
            scored = len(piece) - (context if start else 1)
            if scored <= 0:
                break
            packed = PackedBatch.pack(piece, [len(piece)], device=model.device)
            with fast_autocast(model.device):
                logits = model.lm_head(hidden_states(model, packed)[-scored - 1 : -1])
            loss = torch.nn.functional.cross_entropy(
                logits.float(), packed.ids[0, -scored:], reduction="sum"
            )
            bits += loss.item() / math.log(2)
    return bits / n_bytes


def make_optimizers(model: MistralForCausalLM, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings and norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    in_layers = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in in_layers]
    decayed = [p for p in others if p.ndim == 2]
    return [
        torch.optim.Muon(
            matrices, lr=learning_rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": 0.01},
                {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=learning_rate,
            betas=(0.9, 0.95),
            fused=True,
        ),
    ]


@dataclass
class Progress:
    """What a run has done so far."""

    step: int = 0
    n_subtokens: int = 0
    seconds: float = 0.0
    # [n_subtokens, seconds, loss, bits per byte] each, with None for what was not measured
    history: list[list[float | None]] = field(default_factory=list)


def save_checkpoint(path: Path, model, optimizers, stream: WindowStream, progress: Progress):
    """Weights, optimizer state, waiting windows and counters, swapped in as a whole."""
    tensors = {f"model.{name}": p.detach().clone() for name, p in model.named_parameters()}
    for i, optimizer in enumerate(optimizers):
        for j, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer.{i}.{j}.{key}"] = torch.as_tensor(value).clone()
    stream_tensors, stream_state = stream.state()
    tensors.update({f"stream.{name}": tensor for name, tensor in stream_tensors.items()})
    metadata = {"stream": json.dumps(stream_state), "progress": json.dumps(asdict(progress))}
    path.mkdir(parents=True, exist_ok=True)
    partial = path / "checkpoint.safetensors.partial"
    save_file(tensors, partial, metadata=metadata)
    partial.replace(path / "checkpoint.safetensors")


def load_checkpoint(path: Path, model, optimizers, stream: WindowStream) -> Progress:
    from safetensors import safe_open

    file = path / "checkpoint.safetensors"
    tensors = load_file(file)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(f"optimizer.{i}."):
                _, _, j, key = name.split(".")
                state.setdefault(int(j), {})[key] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    stream.restore(
        {name: tensors[f"stream.{name}"] for name in ("buffer", "buffer_lengths")},
        json.loads(metadata["stream"]),
    )
    return Progress(**json.loads(metadata["progress"]))


def learning_rate_factor(step: int, warmup: int, share_done: float, decay: float) -> float:
    """Warm-up, stable, then a linear decay to zero over the last `decay` of the run."""
    return min(1.0, (step + 1) / warmup, max(0.0, 1.0 - share_done) / decay)


def peak_flops(device: torch.device) -> float:
    if device.type == "cpu":
        return PEAK_FLOPS["cpu"] * torch.get_num_threads()
    name = torch.cuda.get_device_name(device)
    return next((peak for key, peak in PEAK_FLOPS.items() if name.startswith(key)), math.nan)


def main(
    text: Annotated[list[Path], typer.Option(help="Training text, .jsonl or .jsonl.xz")],
    valid: Annotated[Path, typer.Option(help="Text to validate on, never trained on")],
    checkpoints: Annotated[Path, typer.Option(help="Folder to resume from and save to")],
    output: Annotated[Path, typer.Option(help="Folder for the finished decoder")],
    minutes: Annotated[float, typer.Option(help="Training time of this call")] = 60,
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
    warmup: Annotated[int, typer.Option(help="Steps of warm-up")] = 50,
    decay: Annotated[float, typer.Option(help="Last share of the minutes that decays")] = 0.25,
    clip: float = 1.0,
    valid_every: Annotated[float, typer.Option(help="Minutes between validations")] = 5,
    compile_layers: Annotated[bool, typer.Option(help="torch.compile norms and MLPs")] = False,
    seed: int = 0,
) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    register_attention()
    tokenizer_path = checkpoints / "tokenizer"
    if not tokenizer_path.exists():
        print(f"Training a tokenizer with {vocab_size} subtokens")
        trained = train_tokenizer(
            text, vocab_size=vocab_size, characters=30_000_000, context=context
        )
        trained.save_pretrained(tokenizer_path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_path)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=mlp_width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=context,
        sliding_window=None,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config._attn_implementation = ATTENTION
    model = MistralForCausalLM(config).to(device)
    optimizers = make_optimizers(model, learning_rate)
    stream = WindowStream(text, tokenizer, window, buffer_size=4096, seed=seed)
    progress = Progress()
    if (checkpoints / "checkpoint.safetensors").exists():
        progress = load_checkpoint(checkpoints, model, optimizers, stream)
        print(f"Resuming at step {progress.step}, {progress.n_subtokens:,} subtokens")
    if compile_layers:
        for layer in model.model.layers:
            for part in (layer.mlp, layer.input_layernorm, layer.post_attention_layernorm):
                part.compile(dynamic=True)
    n_parameters = sum(p.numel() for p in model.parameters())
    valid_texts = [t[:4000] for t, _ in zip(read_texts([valid]), range(40), strict=False)]
    print(f"{n_parameters:,} parameters on {device}")

    seconds_before = progress.seconds
    start = last_valid = time.perf_counter()
    is_saved = False
    bar = tqdm(total=round(minutes * 60), unit="s", smoothing=0)
    for packed in stream.batches(batch_subtokens, device):
        share_done = (time.perf_counter() - start) / (minutes * 60)
        if share_done > 1 - decay and not is_saved:
            save_checkpoint(checkpoints, model, optimizers, stream, progress)
            is_saved = True
        if share_done >= 1:
            break
        factor = learning_rate_factor(progress.step, warmup, share_done, decay)
        step_start = time.perf_counter()
        with fast_autocast(device):
            hidden = hidden_states(model, packed)
        rows = next_subtoken_rows(packed)
        loss = LinearCrossEntropy.apply(
            hidden[rows].to(fast_dtype(device)), model.lm_head.weight, packed.ids[0, rows + 1]
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * factor
            optimizer.step()
            optimizer.zero_grad()
        progress.step += 1
        progress.n_subtokens += packed.n_subtokens
        now = time.perf_counter()
        progress.seconds = seconds_before + now - start
        speed = packed.n_subtokens / (now - step_start)
        bpb = None
        if now - last_valid > valid_every * 60:
            bpb = bits_per_byte(model, tokenizer, valid_texts)
            tqdm.write(
                f"{progress.n_subtokens:,} subtokens, {progress.seconds / 60:.1f} min: "
                f"loss {loss.item():.3f}, {bpb:.3f} bits per byte"
            )
            if share_done < 1 - decay:
                save_checkpoint(checkpoints, model, optimizers, stream, progress)
            last_valid = time.perf_counter()
        if progress.step % 10 == 0 or bpb is not None:
            progress.history.append([progress.n_subtokens, progress.seconds, loss.item(), bpb])
        share = 6 * n_parameters * speed / peak_flops(device)
        bar.n = round(now - start)
        bar.set_postfix_str(f"loss {loss.item():.3f}, {speed:,.0f} subtokens/s, peak {share:.0%}")
    bar.close()

    bpb = bits_per_byte(model, tokenizer, valid_texts)
    progress.history.append([progress.n_subtokens, progress.seconds, None, bpb])
    print(f"{progress.n_subtokens:,} subtokens in {progress.seconds / 60:.1f} min: {bpb:.3f} bpb")
    model.to(torch.bfloat16).save_pretrained(output)
    tokenizer.save_pretrained(output)
    (output / "training.json").write_text(json.dumps(asdict(progress)) + "\n")


if __name__ == "__main__":
    typer.run(main)
