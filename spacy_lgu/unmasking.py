"""Layer group unmasking: which decoder layers lose their causal mask.

A pattern has one letter per layer group, leftmost = the layers nearest the input:
`c` keeps the causal mask, `b` removes it (bidirectional). For 8 layers:

    "ccbb"  ->  layers 0-3 causal, layers 4-7 bidirectional

Source: Dukić & Šnajder, "Looking Right is Sometimes Right", Findings of ACL 2024
(arXiv 2401.14556), whose bit strings write 0 for `c` and 1 for `b`.
"""

from itertools import product

_UNMASKED = {"c": False, "b": True, "0": False, "1": True}


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


def unmask_layers(pattern: str, n_layers: int) -> tuple[bool, ...]:
    """One flag per decoder layer, input side first; True means unmasked.

    pattern (str): As in parse_pattern.
    n_layers (int): Decoder layers, at least as many as the pattern has letters.
    RETURNS (tuple[bool, ...]): Length n_layers.
    """
    groups = parse_pattern(pattern)
    sizes = group_sizes(n_layers, len(groups))
    return tuple(
        unmasked for unmasked, size in zip(groups, sizes, strict=True) for _ in range(size)
    )


def list_patterns(n_groups: int) -> list[str]:
    """All 2 ** n_groups patterns in the paper's order, "cccc" first, "bbbb" last.

    n_groups (int): Layer groups, at least 1.
    RETURNS (list[str]): Patterns in letters.
    """
    if n_groups < 1:
        raise ValueError(f"Expected at least 1 layer group, but got {n_groups}.")
    return ["".join(letters) for letters in product("cb", repeat=n_groups)]


def describe_layers(unmasked: tuple[bool, ...]) -> str:
    """The layer map in words, for logs: "layers 0-3 causal, layers 4-7 bidirectional".

    unmasked (tuple[bool, ...]): One flag per layer, as unmask_layers returns them.
    RETURNS (str): One entry per run of layers with the same direction.
    """
    starts = [i for i, flag in enumerate(unmasked) if i == 0 or unmasked[i - 1] != flag]
    runs = []
    for start, end in zip(starts, [*starts[1:], len(unmasked)], strict=True):
        layers = f"layer {start}" if end - start == 1 else f"layers {start}-{end - 1}"
        runs.append(f"{layers} {'bidirectional' if unmasked[start] else 'causal'}")
    return ", ".join(runs)
