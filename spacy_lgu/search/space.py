"""What is searched: patterns of layer groups, numbers of layers, repeats of the input."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from ..unmasking import list_patterns, normalize_pattern

# Most candidates that are listed one by one: more are for strategies that need no list.
MAX_LISTED = 4096


@dataclass(frozen=True)
class Candidate:
    """One way to run a decoder.

    pattern (str): One letter per layer group, of the layers that are kept.
    n_layers (int | None): How many layers are kept, from the first. None: as the config says.
    repeat (int | None): How many more times the input is read. None: as the config says.
    """

    pattern: str
    n_layers: int | None = None
    repeat: int | None = None

    def __str__(self) -> str:
        layers = [] if self.n_layers is None else [f"{self.n_layers} layers"]
        repeat = [f"{self.repeat} repeat{'s' * (self.repeat > 1)}"] if self.repeat else []
        return ", ".join([self.pattern, *layers, *repeat])

    @property
    def values(self) -> dict[str, Any]:
        """What it sets in the decoder's section of a config, by the names of the options."""
        found = {"unmasking": self.pattern, "n_layers": self.n_layers, "repeat": self.repeat}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Space:
    """All candidates of a search.

    n_groups (int): Layer groups, letters of a pattern.
    patterns (tuple[str, ...] | None): The patterns, in letters. None: all of them.
    depths (tuple[int | None, ...]): Numbers of layers. None among them: as the config says.
    repeats (tuple[int | None, ...]): How many more times the input is read; None as in depths.
    """

    n_groups: int
    patterns: tuple[str, ...] | None = None
    depths: tuple[int | None, ...] = (None,)
    repeats: tuple[int | None, ...] = (None,)

    @property
    def n_candidates(self) -> int:
        """How many there are; with a group per layer, more than len() could say."""
        n_patterns = 2**self.n_groups if self.patterns is None else len(self.patterns)
        return n_patterns * len(self.depths) * len(self.repeats)

    def __contains__(self, candidate: Candidate) -> bool:
        return (
            len(candidate.pattern) == self.n_groups
            and (self.patterns is None or candidate.pattern in self.patterns)
            and candidate.n_layers in self.depths
            and candidate.repeat in self.repeats
        )

    def __iter__(self) -> Iterator[Candidate]:
        patterns = list_patterns(self.n_groups) if self.patterns is None else self.patterns
        for n_layers, repeat, pattern in product(self.depths, self.repeats, patterns):
            yield Candidate(pattern, n_layers, repeat)

    @cached_property
    def listed(self) -> tuple[Candidate, ...]:
        """All candidates. Raises ValueError if there are too many to try one by one."""
        if self.n_candidates > MAX_LISTED:
            raise ValueError(
                f"There are {self.n_candidates:,} candidates, of which this strategy would train "
                f"every one; it takes at most {MAX_LISTED:,}. Use the strategy greedy, oneshot or "
                "gates, fewer groups (--groups), or name the patterns (--patterns)."
            )
        return tuple(self)

    @property
    def causal(self) -> str:
        """The pattern that opens nothing."""
        return "c" * self.n_groups

    @property
    def open(self) -> str:
        """The pattern that opens all groups."""
        return "b" * self.n_groups

    @property
    def values(self) -> dict[str, Any]:
        """What tells it from others, as JSON."""
        return {
            "groups": self.n_groups,
            "patterns": "all" if self.patterns is None else list(self.patterns),
            "depths": list(self.depths),
            "repeats": list(self.repeats),
        }


def make_space(
    default: str,
    *,
    groups: int | None = None,
    patterns: Iterable[str] = (),
    depths: Iterable[int] = (),
    repeats: Iterable[int] = (),
) -> Space:
    """The space that a user describes.

    default (str): Pattern of the config, which says how many groups there are if nothing else does.
    groups (int | None): Layer groups. None: as many as the patterns have letters.
    patterns (Iterable[str]): The patterns to try; none: all.
    depths (Iterable[int]): Numbers of layers to keep; none: as the config says.
    repeats (Iterable[int]): How many more times to read the input; none: as the config says.
    RETURNS (Space): The space. Raises ValueError for patterns of different lengths, numbers out of
        range and anything that is named twice.
    """
    named = tuple(normalize_pattern(pattern) for pattern in patterns)
    lengths = sorted({len(pattern) for pattern in named})
    wanted = groups if groups is not None else (lengths or [len(normalize_pattern(default))])[0]
    if any(length != wanted for length in lengths):
        raise ValueError(
            f"Expected patterns of {wanted} letters, one per layer group, but got "
            f"{', '.join(named)}. Give patterns of one length, and no other --groups."
        )
    if wanted < 1:
        raise ValueError(f"Expected at least 1 layer group, but got {wanted}.")
    numbers = {"depths": tuple(depths), "repeats": tuple(repeats)}
    for (name, values), least in zip(numbers.items(), (1, 0), strict=True):
        if any(value < least for value in values):
            raise ValueError(f"Expected {name} of at least {least}, but got {_spell(values)}.")
    for name, given in {"patterns": named, **numbers}.items():
        if len(set(given)) < len(given):
            raise ValueError(f"Expected different {name}, but got {_spell(given)}.")
    return Space(wanted, named or None, numbers["depths"] or (None,), numbers["repeats"] or (None,))


def _spell(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
