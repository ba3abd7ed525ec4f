"""The best candidate so far."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from thinc.api import Config

from ..replacing import replace_file
from .space import Candidate
from .trial_config import SectionT, set_candidate
from .trials import Outcome, rank


@dataclass(frozen=True)
class Standing:
    """What is known of a candidate.

    scores (dict[int, float]): By seed.
    steps (int): Training steps behind them.
    """

    candidate: Candidate
    scores: dict[int, float]
    steps: int

    @property
    def mean(self) -> float:
        """Over seeds."""
        return fmean(self.scores.values())


def find_standings(outcomes: Iterable[Outcome]) -> list[Standing]:
    """What is known of each candidate that was trained, from the best to the worst.

    outcomes (Iterable[Outcome]): Finished trials.
    RETURNS (list[Standing]): By steps (of each candidate those of its longest trainings), then by
        the number of seeds, then by the mean: a score from fewer of them says less.
    """
    found: dict[Candidate, dict[int, dict[int, float]]] = {}
    for outcome in outcomes:
        trial = outcome.trial
        if trial.kind == "train" and outcome.score is not None:
            by_steps = found.setdefault(trial.candidate, {})
            by_steps.setdefault(trial.steps, {})[trial.seed] = outcome.score
    standings = {
        candidate: Standing(candidate, by_steps[max(by_steps)], max(by_steps))
        for candidate, by_steps in found.items()
    }
    by_mean = rank({candidate: standing.mean for candidate, standing in standings.items()})
    ranked = [standings[candidate] for candidate in by_mean]
    return sorted(ranked, key=lambda standing: (-standing.steps, -len(standing.scores)))


def write_best(
    file: Path, config: Config, section: SectionT, best: Standing, *, is_final: bool
) -> None:
    """Write a training config with the best candidate filled in.

    file (Path): The config to write.
    config (Config): The user's, its variables not filled in.
    section (SectionT): Where its decoder is.
    best (Standing): The candidate.
    is_final (bool): Whether the search has come to its end.
    """
    made = set_candidate(config, section, best.candidate)
    seeds = "1 seed" if len(best.scores) == 1 else f"the mean of {len(best.scores)} seeds"
    head = (
        f"# {'The best' if is_final else 'The best so far'} of a search by `spacy lgu search`: "
        f"{best.candidate}\n# {100 * best.mean:.2f} on dev after {best.steps} steps, {seeds}.\n\n"
    )
    replace_file(file, f"{head}{made.to_str(interpolate=False)}".encode())
