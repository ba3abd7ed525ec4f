"""Layer group unmasking: which decoder layers lose their causal mask.

A pattern has one letter per layer group, leftmost = the layers nearest the input:
`c` keeps the causal mask, `b` removes it (bidirectional). For 8 layers:

    "ccbb"  ->  layers 0-3 causal, layers 4-7 bidirectional

Only layers with softmax attention have a causal mask to remove. In decoders that mix them with
others, those stay as they are under every pattern.

Source: Dukić & Šnajder, "Looking Right is Sometimes Right", Findings of ACL 2024
(arXiv 2401.14556), whose bit strings write 0 for `c` and 1 for `b`.
"""

from collections.abc import Sequence
from enum import Enum
from itertools import product

_UNMASKED = {"c": False, "b": True, "0": False, "1": True}


class LayerKind(Enum):
    """What mixes the positions of a sequence in a decoder layer.

    ATTENTION: Softmax attention, whose causal mask can be removed.
    PARALLEL: Softmax attention beside something recurrent. Its mask can be removed.
    RECURRENT: Linear attention, a state space or a convolution, which read from left to right.
    FEED_FORWARD: Nothing.
    """

    ATTENTION = "attention"
    PARALLEL = "parallel"
    RECURRENT = "recurrent"
    FEED_FORWARD = "feed-forward"

    @property
    def has_mask(self) -> bool:
        """RETURNS (bool): Whether a layer of this kind can be unmasked."""
        return self in (LayerKind.ATTENTION, LayerKind.PARALLEL)


# In words, what layers without a mask are under every pattern.
_FIXED = {
    LayerKind.RECURRENT: "recurrent (always causal)",
    LayerKind.FEED_FORWARD: "feed-forward (sees one position)",
}


def parse_pattern(pattern: str) -> tuple[bool, ...]:
    """One flag per layer group, input side first; True means unmasked.

    pattern (str): Letters "c" (causal) and "b" (bidirectional), such as "ccbb",
        or the paper's digits as a string, such as "0011".
    RETURNS (tuple[bool, ...]): One flag per group. Raises ValueError for anything
        but a non-empty string of one of these two alphabets.
    """
    wanted = (
        "Expected a string with one letter per layer group, 'c' (causal) or 'b' "
        "(bidirectional), leftmost = layers nearest the input, for example 'ccbb'."
    )
    if isinstance(pattern, int):
        raise ValueError(
            f"The unmasking pattern arrived as the integer {pattern!r}: spaCy's override "
            "parser, YAML and JSON read an unquoted 0011 as a number, which loses its leading "
            f"zeros. Use letters instead: c for 0, b for 1. {wanted}"
        )
    if not isinstance(pattern, str):
        raise ValueError(f"The unmasking pattern is {pattern!r}. {wanted}")
    if not pattern:
        raise ValueError(f"The unmasking pattern is empty. {wanted}")
    if not (set(pattern) <= set("cb") or set(pattern) <= set("01")):
        raise ValueError(f"The unmasking pattern is {pattern!r}. {wanted}")
    return tuple(_UNMASKED[letter] for letter in pattern)


def normalize_pattern(pattern: str) -> str:
    """The pattern in letters: "0011" and "ccbb" both give "ccbb".

    pattern (str): As in parse_pattern.
    RETURNS (str): One letter per layer group.
    """
    return "".join("b" if unmasked else "c" for unmasked in parse_pattern(pattern))


def group_sizes(n_layers: int, n_groups: int) -> list[int]:
    """Layers per group, input side first. The first groups take the remainder.

    n_layers (int): Decoder layers, at least 1.
    n_groups (int): Layer groups, from 1 to n_layers.
    RETURNS (list[int]): Length n_groups, sums to n_layers. Raises ValueError
        naming both numbers when there are more groups than layers.
    """
    if not 1 <= n_groups <= n_layers:
        raise ValueError(
            f"Cannot divide {n_layers} decoder layers into {n_groups} layer groups: expected "
            f"1 to {n_layers} groups, that is an unmasking pattern of 1 to {n_layers} letters."
        )
    size, remainder = divmod(n_layers, n_groups)
    return [size + (group < remainder) for group in range(n_groups)]


def find_groups(n_layers: int, n_groups: int) -> list[range]:
    """The layers of each group, by number.

    n_layers (int): Layers.
    n_groups (int): Groups, at most as many.
    RETURNS (list[range]): Input side first.
    """
    groups, start = [], 0
    for size in group_sizes(n_layers, n_groups):
        groups.append(range(start, start + size))
        start += size
    return groups


def unmask_layers(
    pattern: str, n_layers: int, kinds: Sequence[LayerKind] | None = None
) -> tuple[bool, ...]:
    """One flag per decoder layer, input side first; True means unmasked.

    pattern (str): As in parse_pattern.
    n_layers (int): Decoder layers, at least as many as the pattern has letters.
    kinds (Sequence[LayerKind] | None): One per layer; layers that have no mask stay causal in any
        group. None: all have attention.
    RETURNS (tuple[bool, ...]): Length n_layers. Raises ValueError when a pattern unmasks groups,
        but no layer that has a mask.
    """
    groups = parse_pattern(pattern)
    sizes = group_sizes(n_layers, len(groups))
    flags = [unmasked for unmasked, size in zip(groups, sizes, strict=True) for _ in range(size)]
    if kinds is None:
        return tuple(flags)
    can_open = [kind.has_mask for kind in kinds]
    opened = tuple(a and b for a, b in zip(flags, can_open, strict=True))
    if any(flags) and not any(opened):
        raise ValueError(
            f"The unmasking pattern {pattern!r} unmasks {_show_layers(flags)}, none of which has a "
            f"causal mask to remove: in this decoder only {_show_layers(can_open)} can be unmasked "
            "(softmax attention). Choose a pattern whose unmasked groups contain one of them."
        )
    return opened


def list_patterns(n_groups: int) -> list[str]:
    """All 2 ** n_groups patterns in the paper's order, "cccc" first, "bbbb" last.

    n_groups (int): Layer groups, at least 1.
    RETURNS (list[str]): Patterns in letters.
    """
    if n_groups < 1:
        raise ValueError(f"Expected at least 1 layer group, but got {n_groups}.")
    return ["".join(letters) for letters in product("cb", repeat=n_groups)]


def describe_layers(unmasked: tuple[bool, ...], kinds: Sequence[LayerKind] | None = None) -> str:
    """The layer map in words, for logs: "layers 0-3 causal, layers 4-7 bidirectional", or "layers
    0-2, 4-6 recurrent (always causal), layer 3 causal, layer 7 bidirectional".

    unmasked (tuple[bool, ...]): One flag per layer, as unmask_layers returns them.
    kinds (Sequence[LayerKind] | None): As in unmask_layers.
    RETURNS (str): One entry per run of layers that are the same; where kinds alternate, one for all
        that are the same.
    """
    states = ["bidirectional" if flag else "causal" for flag in unmasked]
    if set(kinds or ()) <= {LayerKind.ATTENTION}:
        runs = _find_runs(states)
        return ", ".join(f"{_show_runs([run])} {states[run[0]]}" for run in runs)
    for i, kind in enumerate(kinds or ()):
        if not kind.has_mask:
            states[i] = _FIXED[kind]
        elif kind is LayerKind.PARALLEL:
            states[i] += " beside a recurrent part (always causal)"
    return ", ".join(
        f"{_show_layers([state == words for state in states])} {words}"
        for words in dict.fromkeys(states)
    )


def describe_fixed(kinds: Sequence[LayerKind]) -> str:
    """Which layers a pattern cannot change: "layers 0-2, 4-6 recurrent (always causal)".

    kinds (Sequence[LayerKind]): One per layer.
    RETURNS (str): Empty if there are none.
    """
    return ", ".join(
        f"{_show_layers([kind is fixed for kind in kinds])} {words}"
        for fixed, words in _FIXED.items()
        if fixed in kinds
    )


def _show_layers(flags: Sequence[bool]) -> str:
    """The layers whose flag is set: "layers 0-2, 4-6", "layer 3"."""
    return _show_runs([run for run in _find_runs(flags) if flags[run[0]]])


def _show_runs(runs: Sequence[range]) -> str:
    shown = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"layer {shown}" if shown.isdigit() else f"layers {shown}"


def _find_runs(values: Sequence[object]) -> list[range]:
    """Adjacent layers with the same value."""
    starts = [i for i, value in enumerate(values) if i == 0 or values[i - 1] != value]
    return [range(*run) for run in zip(starts, [*starts[1:], len(values)], strict=True)]
