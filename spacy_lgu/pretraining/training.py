"""The training loop on raw text: a budget, a rate that follows it, validations and checkpoints."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..decoder.building import n_weights
from .learner import DIVERGED, Learner, Progress

# Floating point operations per second in bfloat16, dense; of a CPU, per core with AVX512-bf16.
_PEAK_FLOPS = {"cpu": 2.2e11, "NVIDIA H100": 9.9e14, "NVIDIA H200": 9.9e14, "NVIDIA A100": 3.1e14}
_STEPS_PER_ENTRY = 10


@dataclass
class Budget:
    """How long a run takes, and the learning rate on the way: warm-up, stable, decay.

    This needs no plan of the whole: what comes before the decay does not depend on the end, so that
    a run can be continued from there, or be stopped early and still decay.

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
        """RETURNS (float): Share of the total that is used up."""
        return (getattr(progress, self.unit) - self.begun) / self.total

    def factor(self, progress: Progress) -> float:
        """RETURNS (float): Factor on the learning rate of the next step, in [0, 1]."""
        left = max(0.0, 1.0 - self.share_done(progress))
        return min(1.0, (progress.step + 1) / self.warmup, left / self.decay)

    def decays(self, progress: Progress) -> bool:
        """RETURNS (bool): Whether the rate is falling already."""
        return self.share_done(progress) > 1.0 - self.decay

    def end_early(self, progress: Progress) -> None:
        """Begin the decay now; it takes the same share of the shorter whole."""
        if not self.decays(progress):
            done = self.share_done(progress) * self.total
            self.total = max(done, 1e-9) / max(1.0 - self.decay, 1e-9)


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
    validate (Callable): Returns the decoder's score on other text; called in evaluation mode.
    metric (str): Its name, with the unit.
    validate_every (float): Minutes between validations. Raises ValueError when training diverges,
        or nothing of the budget is left for the decay.
    """
    progress, decoder = learner.progress, learner.decoder
    started, seconds_before = time.perf_counter(), progress.seconds
    last_validation, is_saved, is_noted = started, False, False
    # The same call may still end a run whose last step went past the decay before it was killed.
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
                f"The validation score is {score} {metric} after step {progress.step}: {DIVERGED}"
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
    """RETURNS (float): Peak of the device in bfloat16; NaN for one that is not in the table."""
    if device.type == "cpu":
        return _PEAK_FLOPS["cpu"] * torch.get_num_threads()
    name = torch.cuda.get_device_name(device)
    return next((peak for key, peak in _PEAK_FLOPS.items() if name.startswith(key)), math.nan)


def _flops_per_subtoken(learner: Learner) -> float:
    """Two per weight forward, two for the inputs' gradients, two more if the weight is trained."""
    layers = sum(n_weights(p) for p in learner.decoder.base.layers.parameters())
    trained = sum(p.numel() for _, p in learner.decoder.trainable() if p is not learner.head)
    share = 1.0 if learner.objective.kind == "causal" else learner.objective.mask_rate
    head = learner.head.numel() * share
    return 4 * layers + 2 * trained + (6 if learner.head.requires_grad else 4) * head


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """The interrupts that came: the first is only noted, a second raises KeyboardInterrupt."""
    requests: list[int] = []

    def note(number: int, frame: Any) -> None:
        if requests:
            raise KeyboardInterrupt
        requests.append(number)

    # Python lets only the main thread handle signals; elsewhere interrupts work as usual.
    is_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    previous = {number: signal.signal(number, note) for number in numbers}
    try:
        yield requests
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
