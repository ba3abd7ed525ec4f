"""The best candidate so far."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from thinc.api import Config

from ..replacing import replace_file
from .space import Candidate
from .trial_config import SectionT, set_candidate
from .trials import Outcome, Strategy, rank


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


def find_best(outcomes: Sequence[Outcome], strategy: Strategy) -> tuple[Candidate, str] | None:
    """The best candidate so far.

    outcomes (Sequence[Outcome]): Finished trials.
    strategy (Strategy): Whose they are. Before a candidate is trained by itself, the best is that
        which it would train next.
    RETURNS (tuple[Candidate, str] | None): The candidate, and what is known of it in words. None:
        nothing is known of any.
    """
    if standings := find_standings(outcomes):
        best = standings[0]
        seeds = "1 seed" if len(best.scores) == 1 else f"the mean of {len(best.scores)} seeds"
        return best.candidate, f"{100 * best.mean:.2f} on dev after {best.steps} steps, {seeds}."
    following = strategy.propose(outcomes)
    if outcomes and following and following[0].kind == "train":
        return following[0].candidate, "Chosen in one training for all candidates; not trained yet."
    return None


def write_best(
    file: Path, config: Config, section: SectionT, best: tuple[Candidate, str], *, is_final: bool
) -> None:
    """Write a training config with the best candidate filled in.

    file (Path): The config to write.
    config (Config): The user's, its variables not filled in.
    section (SectionT): Where its decoder is.
    best (tuple[Candidate, str]): The candidate, and what is known of it.
    is_final (bool): Whether the search has come to its end.
    """
    candidate, known = best
    made = set_candidate(config, section, candidate)
    head = (
        f"# {'The best' if is_final else 'The best so far'} of a search by `spacy lgu search`: "
        f"{candidate}\n# {known}\n\n"
    )
    replace_file(file, f"{head}{made.to_str(interpolate=False)}".encode())
