"""Classes that change what a module of transformers or PEFT does, put before its own."""

import torch

_made: dict[tuple[type, type], type[torch.nn.Module]] = {}


def put_before(part: type, kind: type[torch.nn.Module]) -> type[torch.nn.Module]:
    """A class that has the methods of another before its own.

    part (type): The methods.
    kind (type[Module]): The class of a module; this is its name, too.
    RETURNS (type[Module]): The same one for the same two, in all threads.
    """
    made = _made.get((part, kind))
    if made is None:
        made = type(kind.__name__, (part, kind), {"__module__": kind.__module__})
        made = _made.setdefault((part, kind), made)
    return made
