"""All that changes in a run on raw text, its updates, and checkpoints that resume exactly."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..decoder.decoder import LGUDecoder
from ..decoder.loading import TORCH_DTYPES
from ..decoder.packing import PackedBatch
from ..replacing import replace_file
from .objectives import LinearCrossEntropy, Objective
from .text import WindowStream

CHECKPOINT = "checkpoint.safetensors"
DIVERGED = (
    "training has diverged. Repeat the call with a lower learning rate; it continues from the last "
    "checkpoint, which is from before, if there is one yet."
)


@dataclass
class Progress:
    """What a run has done so far.

    step (int): Updates.
    n_subtokens (int): Subtokens in these.
    seconds (float): Training time.
    history (list): Entries of [n_subtokens, seconds, loss, validation], with None for what was not
        measured.
    """

    step: int = 0
    n_subtokens: int = 0
    seconds: float = 0.0
    history: list[list[float | None]] = field(default_factory=list)


@dataclass
class Learner:
    """Everything that changes in a run.

    decoder (LGUDecoder): The decoder, with a pattern that suits the objective.
    head (Tensor): The LM head, trained if it requires a gradient. Shape: (vocab, width).
    objective (Objective): What to learn.
    windows (WindowStream): What to learn it from.
    optimizers (list): Each group's learning rate at this moment is its "peak", times the
        budget's factor.
    identity (dict): What must be the same when a run is resumed, for JSON.
    progress (Progress): What the run has done so far.
    total (float | None): Total budget of the call that is running or wrote the checkpoint.
    """

    decoder: LGUDecoder
    head: torch.Tensor
    objective: Objective
    windows: WindowStream
    optimizers: list[torch.optim.Optimizer]
    identity: dict[str, Any]
    progress: Progress = field(default_factory=Progress)
    total: float | None = None

    def step(self, packed: PackedBatch, *, factor: float, clip: float) -> float:
        """One update.

        packed (PackedBatch): Whole sequences.
        factor (float): Factor on the learning rates.
        clip (float): Largest norm of all gradients together.
        RETURNS (float): The loss, nats per predicted subtoken. Raises ValueError when training has
            diverged; the weights are then still those of the step before.
        """
        task = self.objective.task(packed, self.windows.rng)
        hidden = self.decoder(task.packed)[task.rows].to(TORCH_DTYPES[self.decoder.dtype])
        loss = LinearCrossEntropy.apply(hidden, self.head, task.targets)
        loss.backward()
        parameters = [p for _, p in self.decoder.trainable()]
        norm = torch.nn.utils.clip_grad_norm_(parameters, clip)
        if not torch.isfinite(norm):
            raise ValueError(
                f"The gradient's norm is {norm.item()} in step {self.progress.step}: {DIVERGED}"
            )
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            optimizer.step()
            optimizer.zero_grad()
        return loss.detach().item()

    def save(self, folder: Path) -> None:
        """Save weights, optimizer states, waiting windows and counters.

        folder (Path): Gets the checkpoint, which replaces an earlier one as a whole.
        """
        tensors = {f"model.{name}": p.detach() for name, p in self.decoder.trainable()}
        for i, optimizer in enumerate(self.optimizers):
            for j, state in optimizer.state_dict()["state"].items():
                for key, value in state.items():
                    tensors[f"optimizer.{i}.{j}.{key}"] = torch.as_tensor(value)
        tensors |= {f"random.{name}": state for name, state in self._random_states().items()}
        window_tensors, window_state = self.windows.state()
        tensors.update({f"windows.{name}": tensor for name, tensor in window_tensors.items()})
        metadata = {
            "identity": json.dumps(self.identity),
            "windows": json.dumps(window_state),
            "progress": json.dumps(asdict(self.progress)),
            "total": json.dumps(self.total),
        }

        def write(file: Path) -> None:
            save_file({k: v.contiguous() for k, v in tensors.items()}, file, metadata=metadata)

        replace_file(folder / CHECKPOINT, write)

    def load(self, folder: Path) -> None:
        """Continue from a checkpoint.

        folder (Path): Where it is. Raises ValueError when it is damaged or of another run.
        """
        with open_checkpoint(folder, self.decoder.device) as (file, metadata):
            check_identity(folder, metadata, self.identity)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        with torch.no_grad():
            for name, parameter in self.decoder.trainable():
                parameter.copy_(tensors[f"model.{name}"])
        for i, optimizer in enumerate(self.optimizers):
            states: dict[int, dict[str, torch.Tensor]] = {}
            for name, tensor in tensors.items():
                if name.startswith(f"optimizer.{i}."):
                    _, _, j, key = name.split(".")
                    states.setdefault(int(j), {})[key] = tensor
            optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
        for name in self._random_states():
            if f"random.{name}" not in tensors:
                continue  # saved on a CPU, continued on a GPU
            state = tensors[f"random.{name}"].cpu()
            torch.set_rng_state(state) if name == "cpu" else torch.cuda.set_rng_state(state)
        waiting = {n: tensors[f"windows.{n}"].cpu() for n in ("buffer", "buffer_lengths")}
        self.windows.restore(waiting, metadata["windows"])
        self.progress = Progress(**metadata["progress"])
        self.total = metadata["total"]

    def _random_states(self) -> dict[str, torch.Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self.decoder.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state()
        return states


@contextmanager
def open_checkpoint(
    folder: Path, device: torch.device | str = "cpu"
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Open a checkpoint that Learner.save wrote.

    folder (Path): Where it is.
    device (torch.device / str): Where its tensors go.
    YIELDS (tuple): The open safetensors file, and its metadata: identity, windows, progress, total.
        Raises ValueError naming the file when it is damaged.
    """
    path = folder / CHECKPOINT
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            found = file.metadata() or {}
            metadata = {
                name: json.loads(found.get(name, "null"))
                for name in ("identity", "windows", "progress")
            }
            if not all(isinstance(value, dict) for value in metadata.values()):
                raise SafetensorError("its metadata are not those of a checkpoint")
            metadata["total"] = json.loads(found.get("total", "null"))  # not in version 0.1.0
            yield file, metadata
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(
            f"The checkpoint {str(path)!r} is damaged: {error}. Remove it to begin anew."
        ) from error


def check_identity(folder: Path, metadata: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse a checkpoint of another run.

    folder (Path): Where it is, for the message.
    metadata (dict[str, Any]): The checkpoint's.
    wanted (dict): The run's identity, or as much of it as is known. Raises ValueError for what
        differs.
    """
    # Not in version 0.1.0.
    missing: dict[str, Any] = {"lora_plus_ratio": 1.0, "tokenizer_config": {}}
    missing["valid"] = wanted.get("valid")
    identity = {**missing, **metadata["identity"]}
    wanted = json.loads(json.dumps(wanted))
    differing = sorted(key for key in wanted if identity.get(key) != wanted[key])
    if differing:
        said = ", ".join(f"{key} = {identity.get(key)!r}" for key in differing)
        now = ", ".join(f"{key} = {wanted[key]!r}" for key in differing)
        raise ValueError(
            f"The checkpoint in {str(folder)!r} is of a run with {said}, but this one has {now}. "
            "Continue with the same settings, or begin a new run in another folder."
        )
