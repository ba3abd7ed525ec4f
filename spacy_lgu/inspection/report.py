"""The facts of inspection as lines of text for a terminal."""

import textwrap
from collections.abc import Iterator

from ..inputs import printable
from ..unmasking import LayerKind, describe_layers, parse_pattern
from .drawing import Strokes, draw_layers
from .facts import FactsT
from .libraries import OPTIONAL

_LABEL = 16
_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def write_report(facts: FactsT, *, strokes: Strokes, width: int) -> str:
    """Facts as text.

    facts (FactsT): From inspect_target.
    strokes (Strokes): Characters to draw with.
    width (int): Columns of the terminal.
    RETURNS (str): Lines, none longer than the width but for names that cannot be cut.
    """
    lines: list[str] = []
    pipeline = facts.get("pipeline")
    if pipeline is not None:
        title = " ".join(str(pipeline[key]) for key in ("lang", "name", "version"))
        lines += [f"Pipeline {title}", ""]
        lines += _rows(_pipeline_rows(pipeline), width)
        lines.append("")
    for decoder in facts["decoders"]:
        name = decoder["component"]
        lines += [f"Decoder {decoder['base']['name']}" if name is None else f"Component {name}", ""]
        if "layers" in decoder:
            drawn = draw_layers(
                decoder["pattern"], _kinds(decoder), strokes=strokes, width=width - 4
            )
            lines += [f"    {line}".rstrip() for line in drawn] + [""]
        lines += _rows(_decoder_rows(decoder), width)
        lines.append("")
    lines += ["This machine", ""]
    lines += _rows(_machine_rows(facts["machine"], facts["versions"]), width)
    for note in facts["notes"]:
        lines += ["", *textwrap.wrap(f"! {note}", width, subsequent_indent="  ")]
    return "".join(f"{printable(line)}\n" for line in lines)


def show_bytes(n_bytes: int | None) -> str:
    """RETURNS (str): Such as "1.5 GiB"."""
    if n_bytes is None:
        return "not known"
    for size, unit in _UNITS:
        if n_bytes >= size:
            return f"{n_bytes / size:,.1f} {unit}"
    return f"{n_bytes:,} bytes"


def _rows(pairs: Iterator[tuple[str, str]], width: int) -> list[str]:
    lines: list[str] = []
    for label, value in pairs:
        lines += textwrap.wrap(
            value,
            max(width, 40),
            initial_indent=f"  {label:{_LABEL}}",
            subsequent_indent=" " * (_LABEL + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _kinds(decoder: FactsT) -> list[LayerKind]:
    return [LayerKind(kind) for kind in decoder["kinds"]]


def _pipeline_rows(pipeline: FactsT) -> Iterator[tuple[str, str]]:
    yield "folder", pipeline["folder"]
    for pipe in pipeline["pipes"]:
        factory = "" if pipe["factory"] == pipe["name"] else f" ({pipe['factory']})"
        heard = " listens" if pipe["listens_to"] else ""
        yield "pipe", f"{pipe['name']}{factory}{heard}"
    yield "on disk", _show_parts(pipeline["disk"])


def _decoder_rows(decoder: FactsT) -> Iterator[tuple[str, str]]:
    if decoder["problem"]:
        yield "PROBLEM", decoder["problem"]
    yield "base", ", ".join(_base_parts(decoder["base"]))
    yield "found in", decoder["base"]["found"] or "not on this machine"
    pattern = decoder["pattern"]
    if "layers" in decoder:
        layers = describe_layers(parse_pattern(decoder["layers"]), _kinds(decoder))
        yield "pattern", f"{pattern} = {layers}"
        yield (
            "family",
            f"{decoder['family']}, {_show_depth(decoder)} of width {decoder['width']}, "
            f"{decoder['n_heads']} heads, context of {decoder['context']:,} subtokens",
        )
        total, trained = decoder["parameters"]["total"], decoder["parameters"]["trained"]
        if decoder["repeat"]:
            yield (
                "repeat",
                f"each text is run {decoder['repeat'] + 1} times end to end, and its last copy "
                "read",
            )
        if decoder["read_previous"]:
            yield "vectors", "of the subtoken before each"
        yield "parameters", f"{total:,}, of which {trained:,} are trained ({trained / total:.2%})"
    else:
        yield "pattern", pattern
    yield (
        "weights",
        f"quantization {decoder['quantization']}, computing in {decoder['dtype']}, tuning "
        f"{decoder['tuning']}",
    )
    products = decoder.get("products", {"wanted": "exact"})
    if products["wanted"] != "exact":
        here = products["here"] or "refused on a GPU"
        yield "products", f"{products['wanted']} once it is loaded: {here} here; trained exactly"
    if adapter := decoder["adapter"]:
        n_modules = f"{adapter['n_modules']} modules: " if adapter["n_modules"] else ""
        yield (
            "adapter",
            f"{adapter['variant']}, rank {adapter['rank']}, alpha {adapter['alpha']:g}, dropout "
            f"{adapter['dropout']:g}, on {n_modules}{', '.join(adapter['modules'])}",
        )
    yield "tokenizer", _show_tokenizer(decoder)
    if decoder.get("listeners") is not None:
        yield "listened to by", ", ".join(decoder["listeners"]) or "no pipe"
    disk = decoder["disk"]
    if decoder["component"] is None:
        on_hub = f", {show_bytes(disk['on_hub'])} on the hub" if "on_hub" in disk else ""
        yield "weights files", f"{show_bytes(disk['here'])} here{on_hub}"
    else:
        yield "on disk", _show_parts(disk)
    yield (
        "saved with",
        ", ".join(f"{name} {value}" for name, value in decoder["saved_with"].items() if value)
        or "not known",
    )
    if "memory" in decoder:
        yield from _memory_rows(decoder["memory"], decoder["runs"], decoder["tuning"])


def _show_depth(decoder: FactsT) -> str:
    shown = "1 layer" if decoder["n_layers"] == 1 else f"{decoder['n_layers']} layers"
    return shown if decoder["depth"] is None else f"the first {shown}"


def _base_parts(base: FactsT) -> Iterator[str]:
    yield base["name"]
    if base["commit"]:
        yield f"commit {base['commit'][:12]}"
    for name, value in base.get("sha256", {}).items():
        yield f"{name} sha256 {value[:12]}"
    if kept := base.get("kept"):
        yield {
            "bundle": "kept in the pipeline",
            "weights": "all weights trained, and kept in the pipeline",
            "reference": "kept by name alone",
        }[kept]


def _show_tokenizer(decoder: FactsT) -> str:
    found = decoder["tokenizer"]
    shared = f"subtokens over several tokens are {decoder['subtokens']}"
    if found is None:
        return f"not on this machine; {shared}"
    bos = f"{found['bos']} before each text" if found["puts_bos_first"] else "no BOS"
    return f"{found['class']}, {found['vocabulary']:,} entries, {bos}; {shared}"


def _memory_rows(memory: FactsT, runs: FactsT, tuning: str) -> Iterator[tuple[str, str]]:
    yield "memory", f"{show_bytes(memory['weights'])} for the weights"
    items = f"{'auto, which is ' * memory['is_auto']}{memory['max_batch_items']:,}"
    yield (
        "  to use it",
        f"about {show_bytes(memory['inference'])} with max_batch_items = {items}: "
        f"{_show_fit(runs['inference_fits'])}",
    )
    if tuning != "frozen":
        yield (
            "  to train it",
            f"about {show_bytes(memory['training'])} with {memory['batch_size']:,} subtokens per "
            f"batch: {_show_fit(runs['training_fits'])}",
        )
    yield "would run on", f"{runs['on']}, {show_bytes(runs['free'])} free"
    yield "attention", runs["attention"]


def _show_fit(fits: bool | None) -> str:
    return {True: "fits", False: "does NOT fit", None: "free memory not known"}[fits]


def _machine_rows(machine: FactsT, versions: FactsT) -> Iterator[tuple[str, str]]:
    features = ", ".join(machine["features"]) or "none that matter"
    yield "processor", f"{machine['processor']}, {machine['n_cores']} cores; {features}"
    fast = (
        "computed fast, so that auto is bfloat16"
        if machine["fast_bfloat16"]
        else "computed slowly, so that auto is float32"
    )
    yield "bfloat16", fast
    yield "memory", f"{show_bytes(machine['free'])} of {show_bytes(machine['total'])} free"
    gpu = machine["gpu"]
    if gpu is not None:
        capability = ".".join(map(str, gpu["capability"]))
        yield (
            "GPU",
            f"{gpu['name']} (capability {capability}), {show_bytes(gpu['free'])} of "
            f"{show_bytes(gpu['total'])} free",
        )
    wanted = {name: v for name, v in versions.items() if v or name not in OPTIONAL}
    yield "libraries", ", ".join(f"{n} {v or 'not installed'}" for n, v in wanted.items())


def _show_parts(sizes: dict[str, int]) -> str:
    total = show_bytes(sum(sizes.values()))
    return f"{total}: " + ", ".join(f"{name} {show_bytes(n)}" for name, n in sizes.items())
