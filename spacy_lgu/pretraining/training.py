"""The training loop on raw text: a learner, its budget, and checkpoints that resume exactly."""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from ..decoder.building import n_weights
from ..decoder.decoder import LGUDecoder
from ..decoder.loading import TORCH_DTYPES
from ..decoder.packing import PackedBatch
from ..replacing import replace_file
from .objectives import LinearCrossEntropy, Objective
from .text import WindowStream

CHECKPOINT = "checkpoint.safetensors"
# Floating point operations per second in bfloat16, dense; of a CPU, per core with AVX512-bf16.
_PEAK_FLOPS = {"cpu": 2.2e11, "NVIDIA H100": 9.9e14, "NVIDIA H200": 9.9e14, "NVIDIA A100": 3.1e14}
_STEPS_PER_ENTRY = 10
_DIVERGED = (
    "training has diverged. Give the same call a lower learning rate; it goes on from the last "
    "checkpoint, which is from before, if there is one yet."
)


@dataclass
class Progress:
    """What a run has done so far.

    history (list): [n_subtokens, seconds, loss, validation] each, with None for what was not
        measured.
    """

    step: int = 0
    n_subtokens: int = 0
    seconds: float = 0.0
    history: list[list[float | None]] = field(default_factory=list)


@dataclass
class Budget:
    """How long a run takes, and the learning rate on the way: warm-up, stable, decay.

    A decay that needs no plan of the whole: what comes before it does not depend on the end, so
    that a run can be continued from there, or stopped early and still be decayed.

    total (float): Seconds or steps.
    unit (str): "seconds" or "step", a field of Progress.
    warmup (int): Steps of linear warm-up.
    decay (float): Last share of the total, over which the rate falls linearly to zero.
    begun (float): What the progress was when the total began to count.
    """

    total: float
    unit: str
    warmup: int
    decay: float
    begun: float = 0.0

    def share_done(self, progress: Progress) -> float:
        return (getattr(progress, self.unit) - self.begun) / self.total

    def factor(self, progress: Progress) -> float:
        """RETURNS (float): Factor on the learning rate of the next step, in [0, 1]."""
        left = max(0.0, 1.0 - self.share_done(progress))
        return min(1.0, (progress.step + 1) / self.warmup, left / self.decay)

    def decays(self, progress: Progress) -> bool:
        return self.share_done(progress) > 1.0 - self.decay

    def end_early(self, progress: Progress) -> None:
        """Begin the decay now; it takes the same share of the shorter whole."""
        if not self.decays(progress):
            done = self.share_done(progress) * self.total
            self.total = max(done, 1e-9) / max(1.0 - self.decay, 1e-9)


@dataclass
class Learner:
    """Everything that changes in a run.

    decoder (LGUDecoder): The decoder, with a pattern that suits the objective.
    head (Tensor): The LM head, trained if it requires a gradient. Shape: (vocab, width).
    objective (Objective): What to learn.
    windows (WindowStream): From what.
    optimizers (list): Each group's learning rate at this moment is its "peak", times the
        budget's factor.
    identity (dict): What must be the same when a run is resumed, for JSON.
    progress (Progress): So far.
    total (float | None): The budget's, of the call that is running or wrote the checkpoint.
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
        factor (float): On the learning rates.
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
                f"The gradient's norm is {norm.item()} in step {self.progress.step}: {_DIVERGED}"
            )
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            optimizer.step()
            optimizer.zero_grad()
        return loss.detach().item()

    def save(self, folder: Path) -> None:
        """Weights, optimizer states, waiting windows and counters, swapped in as a whole."""
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
        """Go on from a checkpoint. Raises ValueError when it is damaged or of another run."""
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
                continue  # saved on a CPU, gone on with on a GPU
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
    YIELDS (tuple): The file of safetensors, and its metadata: identity, windows, progress, total.
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
    """Whether a checkpoint is of this run.

    folder (Path): Where it is, for the message.
    metadata (dict[str, Any]): The checkpoint's.
    wanted (dict): An identity, or as much of it as is known. Raises ValueError for what differs.
    """
    identity = metadata["identity"]
    wanted = json.loads(json.dumps(wanted))
    differing = sorted(key for key in wanted if identity.get(key) != wanted[key])
    if differing:
        said = ", ".join(f"{key} = {identity.get(key)!r}" for key in differing)
        now = ", ".join(f"{key} = {wanted[key]!r}" for key in differing)
        raise ValueError(
            f"The checkpoint in {str(folder)!r} is of a run with {said}, but now {now}. "
            "Continue with the same settings, or begin a new run in another folder."
        )


def train(
    learner: Learner,
    budget: Budget,
    *,
    batch_subtokens: int,
    clip: float,
    checkpoint: Path,
    validate: Callable[[], float],
    metric: str,
    validate_every: float,
) -> None:
    """Train until the budget is spent, with a progress bar.

    An interrupt (Ctrl-C, SIGTERM) begins the decay at once, so that the run still ends with a
    finished decoder; a second one stops it where it is.

    learner (Learner): Changed in place.
    budget (Budget): How long.
    batch_subtokens (int): Subtokens per update.
    clip (float): As in Learner.step.
    checkpoint (Path): Folder for the state, which is last saved before the decay begins.
    validate (Callable): The decoder's score on other text, in evaluation mode.
    metric (str): Its name, with the unit.
    validate_every (float): Minutes between validations.
    """
    progress, decoder = learner.progress, learner.decoder
    started, seconds_before = time.perf_counter(), progress.seconds
    last_validation, is_saved, is_noted = started, False, False
    # A call with steps too long for a decay, killed at its end, may end as it would have done.
    if budget.share_done(progress) >= 1 and budget.total != learner.total:
        raise ValueError(
            f"The run is to take {budget.total:,.0f} {budget.unit.rstrip('s')}s, but its "
            f"checkpoint is at {getattr(progress, budget.unit):,.0f}: nothing would be left for "
            "the decay of the learning rate. Make it longer."
        )
    learner.total = budget.total
    flops = _flops_per_subtoken(learner)
    peak = peak_flops(decoder.device)
    bar = tqdm(total=round(budget.total), unit="s" if budget.unit == "seconds" else "step")

    def score_decoder() -> float:
        decoder.eval()
        score = validate()
        if not math.isfinite(score):
            raise ValueError(
                f"The validation score is {score} {metric} after step {progress.step}: {_DIVERGED}"
            )
        return score

    with bar, _stop_requests() as requests:
        batches = learner.windows.batches(batch_subtokens, decoder.device)
        while True:
            if requests and not is_noted:
                when = "goes on" if budget.decays(progress) else "begins now"
                budget.end_early(progress)
                bar.total = round(budget.total)
                bar.write(f"Interrupted: the decay {when}. Interrupt again to stop at once.")
                is_noted = True
            if budget.decays(progress) and not is_saved:
                learner.save(checkpoint)
                is_saved = True
            if budget.share_done(progress) >= 1:
                break
            step_started = time.perf_counter()
            packed = next(batches)
            decoder.train()
            loss = learner.step(packed, factor=budget.factor(progress), clip=clip)
            now = time.perf_counter()
            progress.step += 1
            progress.n_subtokens += packed.n_subtokens
            progress.seconds = seconds_before + now - started
            speed = packed.n_subtokens / (now - step_started)
            score = None
            if now - last_validation > validate_every * 60:
                score = score_decoder()
                bar.write(
                    f"{progress.n_subtokens:,} subtokens, {progress.seconds / 60:.1f} min: "
                    f"loss {loss:.3f}, {score:.3f} {metric}"
                )
            if progress.step % _STEPS_PER_ENTRY == 0 or score is not None:
                entry = [progress.n_subtokens, round(progress.seconds, 1), round(loss, 4), score]
                progress.history.append(entry)
            if score is not None:
                if not budget.decays(progress):
                    learner.save(checkpoint)
                last_validation = time.perf_counter()
            bar.n = round(min(budget.share_done(progress), 1) * budget.total)
            bar.set_postfix_str(
                f"loss {loss:.3f}, {speed:,.0f} subtokens/s"
                + ("" if math.isnan(peak) else f", {flops * speed / peak:.0%} of peak")
            )
    entry = [progress.n_subtokens, round(progress.seconds, 1), None, score_decoder()]
    progress.history.append(entry)


def peak_flops(device: torch.device) -> float:
    """RETURNS (float): Of the device in bfloat16; NaN for one that is not in the table."""
    if device.type == "cpu":
        return _PEAK_FLOPS["cpu"] * torch.get_num_threads()
    name = torch.cuda.get_device_name(device)
    return next((peak for key, peak in _PEAK_FLOPS.items() if name.startswith(key)), math.nan)


def _flops_per_subtoken(learner: Learner) -> float:
    """Two per weight forward, two for the inputs' gradients, two for those that are trained."""
    layers = sum(n_weights(p) for p in learner.decoder.base.layers.parameters())
    trained = sum(p.numel() for _, p in learner.decoder.trainable() if p is not learner.head)
    share = 1.0 if learner.objective.kind == "causal" else learner.objective.mask_rate
    head = learner.head.numel() * share
    return 4 * layers + 2 * trained + (6 if learner.head.requires_grad else 4) * head


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """The interrupts that came, of which the first is only noted."""
    requests: list[int] = []

    def note(number: int, frame: Any) -> None:
        if requests:
            raise KeyboardInterrupt
        requests.append(number)

    # Python lets only the main thread handle signals; elsewhere interrupts work as ever.
    is_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    previous = {number: signal.signal(number, note) for number in numbers}
    try:
        yield requests
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
