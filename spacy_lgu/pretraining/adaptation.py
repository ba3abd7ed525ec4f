"""Unmasked adaptation: a decoder learns to use its right context from raw text.

Continued pretraining of a decoder under an unmasking pattern, before any annotated example: the
paper's task-adaptive pretraining when the pattern is causal, masked-next-token prediction as in
LLM2Vec when groups are unmasked. What comes out is what training starts from: an adapter, or a
whole decoder when all weights are trained.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch

from ..decoder.adapter import save_adapter
from ..decoder.adapter_origin import TRAINING_RECORD
from ..decoder.building import BuiltDecoder, CheckedDecoder, build_decoder, check_settings
from ..decoder.reading import damaged, read_json, take
from ..decoder.settings import AdamWSettings, DecoderSettings
from ..decoder.stepping import rate_groups
from ..inputs import named_path, shorten
from ..replacing import finish_folder, replace_folder
from ..unmasking import parse_pattern
from .evaluation import prediction_scores
from .head import check_head, load_head
from .learner import CHECKPOINT, Learner, Progress, check_identity, open_checkpoint
from .objectives import Objective, check_directions, mask_subtoken
from .text import TextStream, WindowStream
from .training import Budget, train

# Windows to draw from.
_BUFFER = 1024
_VALIDATION_SUBTOKENS = 65_536
# A checkpoint, and what is left of one when its writer is killed: in version 0.1.0, in this one,
# and in safetensors.
_CHECKPOINTS = re.compile(
    rf"{re.escape(CHECKPOINT)}(\.partial)?|\.{re.escape(CHECKPOINT)}\.partial-.+|\.tmp\w{{6}}"
)
# Settings that a run keeps when it is resumed; its length and rate may change.
_IDENTITY = ("objective", "mask_rate", "batch_size", "window", "seed")


@dataclass(frozen=True, kw_only=True)
class AdaptationSettings:
    """How to adapt.

    objective (str): "causal" (patterns of c only) or "masked-next" (patterns with a b).
    minutes (float | None): Time in all, validations included, or
    steps (int | None): updates in all; exactly one of the two.
    mask_rate (float): Share of the subtokens that are predicted, for "masked-next".
    learn_rate (float): Highest rate.
    warmup_steps (int): Updates of linear warm-up.
    decay (float): Last share of the run, over which the rate falls linearly to zero.
    weight_decay (float): For matrices; biases and norms are not decayed.
    grad_clip (float): Largest norm of all gradients together.
    batch_size (int): Subtokens per update.
    window (int): Subtokens per window.
    validate_every (float): Minutes between validations, each of which saves a checkpoint until the
        rate decays; 0: after every update.
    seed (int): Seed of everything random.
    """

    objective: str
    minutes: float | None = None
    steps: int | None = None
    mask_rate: float = 0.2
    learn_rate: float = 2e-4
    warmup_steps: int = 50
    decay: float = 0.25
    weight_decay: float = 0.1
    grad_clip: float = 1.0
    batch_size: int = 8192
    window: int = 512
    validate_every: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.objective not in ("causal", "masked-next"):
            raise ValueError(
                f"The objective is {self.objective!r}: expected 'causal' or 'masked-next'."
            )
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("Give exactly one of minutes and steps of adaptation.")
        for name in ("minutes", "steps", "learn_rate", "warmup_steps", "batch_size", "grad_clip"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive, but is {value}.")
        for name in ("weight_decay", "validate_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, but is {getattr(self, name)}.")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must lie in (0, 1], but is {self.decay}.")


def adapt_decoder(
    decoder_settings: DecoderSettings,
    tokenizer_config: dict[str, Any],
    settings: AdaptationSettings,
    *,
    texts: Sequence[Path],
    valid: Path,
    output: Path,
    device: torch.device,
    force: bool = False,
) -> Progress:
    """Adapt a decoder to raw text and save the result.

    An interrupted run leaves its state in the folder `checkpoint` of the output; the same call
    continues from there.

    decoder_settings (DecoderSettings): The decoder, its pattern, and how it is tuned. Of its
        optimizer, lora_plus_ratio counts here, too.
    tokenizer_config (dict): Passed to AutoTokenizer.
    settings (AdaptationSettings): What to learn and how long.
    texts (Sequence[Path]): Files as read_texts reads them; documents come from each in turn.
    valid (Path): Text to validate on: 65,536 subtokens, drawn from its first documents and the
        same at every call.
    output (Path): Folder. Gets an adapter in PEFT's format (tuning = "lora") or a decoder
        (tuning = "full"), and training.json.
    device (torch.device): Where to train.
    force (bool): Whether to replace the finished result of an earlier run in the output.
    RETURNS (Progress): With the validation scores. Raises ValueError for settings that do not go
        together, before a weight is read, and for weights without an LM head.
    """
    output = output.resolve()
    finish_folder(output)
    checkpoint = output / "checkpoint"
    is_begun = (checkpoint / CHECKPOINT).exists()
    _check_output(output, decoder_settings.name, may_replace=is_begun or force)
    if decoder_settings.tuning == "frozen":
        raise ValueError(
            "tuning = 'frozen' trains nothing: adapt with tuning = 'lora' or 'full', and freeze "
            "the decoder in the training that follows."
        )
    check_directions(settings.objective, parse_pattern(decoder_settings.unmasking))
    text_stream, valid_stream = TextStream(texts), TextStream([valid])
    torch.manual_seed(settings.seed)
    ratio = (decoder_settings.optimizer or AdamWSettings()).lora_plus_ratio
    identity = {
        "unmasking": decoder_settings.unmasking,
        "n_layers": decoder_settings.n_layers,
        "quantization": decoder_settings.quantization,
        "tuning": decoder_settings.tuning,
        "lora": asdict(decoder_settings.lora) if decoder_settings.tuning == "lora" else None,
        "lora_plus_ratio": ratio,
        "tokenizer_config": tokenizer_config,
        "valid": valid_stream.state()["files"],
        **{name: getattr(settings, name) for name in _IDENTITY},
    }
    if is_begun:
        with open_checkpoint(checkpoint) as (_, metadata):
            check_identity(checkpoint, metadata, identity)
    checked = check_settings(decoder_settings, tokenizer_config)
    tokenizer: Any = checked.tokenizer  # transformers' base class is partly typed
    objective = _make_objective(checked, settings)
    windows = WindowStream(
        text_stream, tokenizer, window=settings.window, buffer_size=_BUFFER, seed=settings.seed
    )
    built = build_decoder(checked, device=device)
    decoder = built.decoder
    head = load_head(decoder.base, checked.source)
    identity |= {
        "name": checked.source.name,
        "commit": checked.source.commit,
        "dtype": decoder.dtype,
        "base": built.base.files,
    }
    learner = Learner(
        decoder, head, objective, windows, _make_optimizers(built, settings, ratio), identity
    )
    if is_begun:
        learner.load(checkpoint)
    valid_windows = WindowStream(
        valid_stream, tokenizer, window=settings.window, buffer_size=256, seed=0
    )
    n_batches = max(1, _VALIDATION_SUBTOKENS // settings.batch_size)
    valid_batches = list(islice(valid_windows.batches(settings.batch_size, device), n_batches))

    def validate() -> float:
        return prediction_scores(decoder, head, objective, valid_batches)[0]

    if not learner.progress.history:
        decoder.eval()
        learner.progress.history.append([0, 0.0, None, validate()])
    unit = "step" if settings.minutes is None else "seconds"
    total = settings.steps if settings.minutes is None else settings.minutes * 60
    train(
        learner,
        Budget(float(total or 0), unit, settings.warmup_steps, settings.decay),
        batch_subtokens=settings.batch_size,
        clip=settings.grad_clip,
        checkpoint=checkpoint,
        validate=validate,
        metric="nats per predicted subtoken",
        validate_every=settings.validate_every,
    )

    def write(folder: Path) -> None:
        _save(built, folder)
        names = sorted(path.name for path in folder.iterdir())
        record = {
            **identity,
            "learn_rate": settings.learn_rate,
            **asdict(learner.progress),
            "files": [*names, TRAINING_RECORD],
        }
        (folder / TRAINING_RECORD).write_text(json.dumps(record) + "\n", encoding="utf8")

    replace_folder(output, write)
    return learner.progress


def _check_output(output: Path, decoder: str, *, may_replace: bool) -> None:
    """Refuse a folder that holds anything else: it is replaced as a whole in the end."""
    if output == named_path(decoder).resolve():
        raise ValueError(
            f"The output {str(output)!r} is the folder of the decoder itself. Name another one."
        )
    if (output.exists() and not output.is_dir()) or os.path.ismount(output):
        raise ValueError(
            f"The output {str(output)!r} is a file or a mount point, which cannot be replaced by a "
            "folder. Name a folder in it or beside it."
        )
    names = {path.name for path in output.iterdir()} if output.exists() else set()
    checkpoint = output / "checkpoint"
    state = {checkpoint.name} if checkpoint.is_dir() else set()
    others = names - state - _recorded_files(output / TRAINING_RECORD)
    others |= {p.name for p in checkpoint.glob("*") if not _CHECKPOINTS.fullmatch(p.name)}
    if others:
        raise FileExistsError(
            f"{str(output)!r} holds other files ({', '.join(sorted(others)[:3])}), which would be "
            "lost. Name a folder that is empty or does not exist yet."
        )
    if names - state and not may_replace:
        raise FileExistsError(
            f"{str(output)!r} already holds a finished result. Name another folder, or use --force "
            "to replace it."
        )


def _recorded_files(record: Path) -> set[str]:
    """The files of a finished result; none if there is no record."""
    if not record.exists():
        return set()
    files = take(read_json(record), "files", (list, None), record) or []
    if not all(isinstance(name, str) for name in files):
        raise damaged(record, f"expected names in 'files', but found {shorten(files)}")
    return set(files)


def _make_objective(checked: CheckedDecoder, settings: AdaptationSettings) -> Objective:
    """RETURNS (Objective): Raises ValueError when the decoder cannot learn it."""
    config, tokenizer = checked.config, cast(Any, checked.tokenizer)
    check_head(config)
    if settings.window > config.max_position_embeddings:
        raise ValueError(
            f"The window is {settings.window} subtokens, but the decoder was made for at most "
            f"{config.max_position_embeddings}."
        )
    mask_id = None if settings.objective == "causal" else mask_subtoken(tokenizer)
    if mask_id is not None and mask_id >= config.vocab_size:
        raise ValueError(
            f"The mask token {tokenizer.convert_ids_to_tokens(mask_id)!r} is not in the "
            f"decoder's vocabulary of {config.vocab_size} subtokens. Name one that is, with "
            'tokenizer_config = {"mask_token": ...}, or leave it out.'
        )
    return Objective(
        settings.objective,
        mask_id=mask_id,
        mask_rate=settings.mask_rate,
        special_ids=tuple(tokenizer.all_special_ids),
        # Some tokenizers have more subtokens than their decoder has embeddings.
        vocab_size=min(len(tokenizer), config.vocab_size),
    )


def _make_optimizers(
    built: BuiltDecoder, settings: AdaptationSettings, lora_plus_ratio: float
) -> list[torch.optim.Optimizer]:
    values = AdamWSettings(weight_decay=settings.weight_decay, lora_plus_ratio=lora_plus_ratio)
    groups = rate_groups(list(built.decoder.trainable()), values)
    groups = [{**group, "peak": settings.learn_rate * group["factor"]} for group in groups]
    return [torch.optim.AdamW(groups, lr=settings.learn_rate, betas=(0.9, 0.95), fused=True)]


def _save(built: BuiltDecoder, output: Path) -> None:
    if built.decoder.adapter is not None:
        save_adapter(built.decoder.adapter, output)
        return
    # In float32, as it was trained and scored: bfloat16 would round most of what was learned away.
    decoder: Any = built.decoder.base
    decoder.save_pretrained(str(output), safe_serialization=True)
    tokenizer: Any = built.tokenizer  # transformers' base class is partly typed
    tokenizer.save_pretrained(str(output))
