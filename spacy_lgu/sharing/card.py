"""The card of a pipeline on the hub: README.md with a header of YAML, made of what is recorded.

What a person wrote stays: of the text, only what stands between two markers is ours, and of the
header, only the keys that are missing, and those that an earlier push of ours wrote.
"""

from dataclasses import dataclass
from typing import Any

import srsly

from ..decoder.description import Description
from ..decoder.mixers import layer_kinds
from ..unmasking import describe_layers, find_groups, unmask_layers

BEGIN = "<!-- spacy-lgu: what stands from here to the end marker is written anew by each push -->"
END = "<!-- spacy-lgu: end -->"
_FENCE = "---"
# Written anew where the card has our markers.
_OURS = ("base_model", "model-index")
# As the hub spells them; others are named under "other".
_LICENSES = (
    "afl-3.0", "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0",
    "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "gpl-3.0",
    "lgpl-3.0", "mit", "mpl-2.0", "unlicense",
)  # fmt: skip
# What the last part of a score's name stands for.
_METRICS = {
    "p": "precision", "r": "recall", "f": "f1", "acc": "accuracy",
    "precision": "precision", "recall": "recall", "f1": "f1", "accuracy": "accuracy",
}  # fmt: skip
_TASK = "token-classification"

_SECTION = """# {title}

{description}A pipeline of [spaCy](https://spacy.io) ({pipes}) on a decoder-only language model,
with [layer group unmasking](https://arxiv.org/abs/2401.14556): a pattern says which layers see the
whole text, and which the past alone.

## Load it

```bash
pip install spacy-lgu
python -m spacy lgu pull {repo_id} {folder}
```

```python
import spacy

nlp = spacy.load("{folder}")
doc = nlp("Ann Lee ate naan in New York.")
```

{decoders}{scores}{sources}## Licence

{license}
"""
_DECODER = """## {component}

| | |
|---|---|
| base decoder | {base} |
| its weights | {weights} |
| pattern | `{unmasking}`: {layers} |
| trained | {tuning} |
| quantization, dtype | {quantization}, {dtype} |

```text
{picture}
```

"""
_TUNINGS = {"lora": "a LoRA adapter", "full": "all weights", "frozen": "nothing but the heads"}
_WEIGHTS = {
    "bundle": "in this repository",
    "weights": "in this repository",
    "reference": "those of the base decoder, downloaded when the pipeline is first loaded",
}


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card says.

    repo_id (str): OWNER/NAME on the hub.
    meta (dict): meta.json.
    decoders (dict): By component: its description, and the config of its decoder.
    scores (dict): Names and values, as in meta["performance"].
    scored_on (str): What the scores are of.
    """

    repo_id: str
    meta: dict[str, Any]
    decoders: dict[str, tuple[Description, Any]]
    scores: dict[str, Any]
    scored_on: str


def write_card(facts: CardFacts, previous: str | None) -> str:
    """The card of a pipeline.

    facts (CardFacts): What it says.
    previous (str | None): The card that is there.
    RETURNS (str): README.md. Raises ValueError for a card whose header or markers are damaged.
    """
    section = f"{BEGIN}\n\n{_write_section(facts)}\n{END}"
    if not previous or not previous.strip():
        return f"{_dump_header(_header(facts))}\n{section}\n"
    header, text = _split(previous)
    before, found, rest = text.partition(BEGIN)
    if found:
        _, end, after = rest.partition(END)
        if not end:
            raise ValueError(
                f"The card of {facts.repo_id!r} has the line {BEGIN!r} but not {END!r}, so that it "
                "cannot be said what is ours. Put the second one back, or remove both."
            )
        text = f"{before}{section}{after}"
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    ours = _header(facts)
    merged = {**ours, **header}
    if found:
        for key in _OURS:
            merged.pop(key, None)
        merged.update({key: ours[key] for key in _OURS if key in ours})
    tags = [header["tags"]] if isinstance(header.get("tags"), str) else header.get("tags") or []
    merged["tags"] = [*tags, *(tag for tag in ours["tags"] if tag not in tags)]
    return f"{_dump_header(merged)}\n{text.lstrip()}"


def _split(card: str) -> tuple[dict[str, Any], str]:
    """The header of a card, and its text."""
    lines = card.lstrip("\ufeff").splitlines()
    if not lines or lines[0].strip() != _FENCE:
        return {}, card
    end = next((i for i, line in enumerate(lines[1:], 1) if line.strip() == _FENCE), None)
    values = None if end is None else srsly.yaml_loads("\n".join(lines[1:end]))
    if end is None or not isinstance(values or {}, dict):
        raise ValueError(
            "The header of the card that is there is not YAML between two lines '---': mend it "
            "first, since it would be lost."
        )
    return dict(values or {}), "\n".join(lines[end + 1 :]) + "\n"


def _dump_header(values: dict[str, Any]) -> str:
    return f"{_FENCE}\n{srsly.yaml_dumps(values).strip()}\n{_FENCE}\n"


def _header(facts: CardFacts) -> dict[str, Any]:
    meta = facts.meta
    header: dict[str, Any] = {}
    if lang := meta.get("lang"):
        header["language"] = "multilingual" if lang == "xx" else lang
    if license := str(meta.get("license") or "").strip():
        is_known = license.lower() in _LICENSES
        header["license"] = license.lower() if is_known else "other"
        if not is_known:
            header["license_name"] = license
    header["library_name"] = "spacy"
    header["tags"] = ["spacy", _TASK, "spacy-lgu"]
    header["pipeline_tag"] = _TASK
    bases = [saved.base.name for saved, _ in facts.decoders.values() if saved.base.commit]
    if bases:
        header["base_model"] = sorted(set(bases))
    metrics = [
        {"name": name, "type": _METRICS[kind], "value": value}
        for name, value in _numbers(facts.scores).items()
        if (kind := name.rpartition("_")[2]) in _METRICS
    ]
    if metrics:
        result = {
            "task": {"type": _TASK, "name": "Token classification"},
            "dataset": {"type": "other", "name": facts.scored_on},
            "metrics": metrics,
        }
        name = facts.repo_id.rpartition("/")[2]
        header["model-index"] = [{"name": name, "results": [result]}]
    return header


def _write_section(facts: CardFacts) -> str:
    meta = facts.meta
    name = facts.repo_id.rpartition("/")[2]
    description = str(meta.get("description") or "").strip()
    decoders = "".join(
        _write_decoder(component, saved, config)
        for component, (saved, config) in facts.decoders.items()
    )
    scores = ""
    if numbers := _numbers(facts.scores):
        rows = "".join(f"| `{key}` | {value:.4f} |\n" for key, value in numbers.items())
        scores = f"## Scores\n\nOn {facts.scored_on}.\n\n| score | value |\n|---|---:|\n{rows}\n"
    sources = ""
    if found := [s for s in meta.get("sources") or () if isinstance(s, dict) and s.get("name")]:
        lines = "".join(f"- {_describe_source(source)}\n" for source in found)
        sources = f"## Trained on\n\n{lines}\n"
    license = str(meta.get("license") or "").strip()
    own = f"{license}." if license else "The pipeline's meta.json names none."
    return _SECTION.format(
        title=name,
        description=f"{description}\n\n" if description else "",
        pipes=", ".join(f"`{pipe}`" for pipe in meta.get("pipeline") or ()),
        repo_id=facts.repo_id,
        folder=name,
        decoders=decoders,
        scores=scores,
        sources=sources,
        license=f"{own} The base decoder has a licence of its own.",
    )


def _describe_source(source: dict[str, Any]) -> str:
    name = f"[{source['name']}]({source['url']})" if source.get("url") else str(source["name"])
    more = [str(source[key]) for key in ("author", "license") if source.get(key)]
    return f"{name} ({', '.join(more)})" if more else name


def _write_decoder(component: str, saved: Description, config: Any) -> str:
    kinds = layer_kinds(config)
    unmasked = unmask_layers(saved.unmasking, len(kinds), kinds)
    base = "trained in a folder, without a name on the hub"
    if saved.base.commit:
        base = f"[{saved.base.name}](https://huggingface.co/{saved.base.name}) at "
        base += f"`{saved.base.commit[:12]}`"
    layers = describe_layers(unmasked, kinds)
    if saved.n_layers is not None:
        layers += f"; of the base, the first {saved.n_layers} layers alone"
    if saved.repeat:
        layers += f"; each text is read {saved.repeat + 1} times"
    if saved.read_previous:
        layers += "; a subtoken has the vector of the one before it"
    return _DECODER.format(
        component=component,
        base=base,
        weights=_WEIGHTS[saved.base_weights],
        unmasking=saved.unmasking,
        layers=layers,
        tuning=_TUNINGS[saved.tuning],
        quantization=saved.quantization,
        dtype=saved.dtype,
        picture=draw_pattern(saved.unmasking, len(kinds)),
    )


def draw_pattern(unmasking: str, n_layers: int) -> str:
    """A pattern as lines of text, the layers nearest the output on top.

    unmasking (str): The pattern.
    n_layers (int): Number of layers.
    RETURNS (str): For instance, of "cb" and 4 layers:

        layers 2-3   b  <-->  the whole text
        layers 0-1   c  <--   the past alone
    """
    rows: list[tuple[str, int, int]] = []
    for letter, group in zip(unmasking, find_groups(n_layers, len(unmasking)), strict=True):
        is_joined = bool(rows) and rows[-1][0] == letter
        start = rows.pop()[1] if is_joined else group[0]
        rows.append((letter, start, group[-1]))
    sights = {"b": "b  <-->  the whole text", "c": "c  <--   the past alone"}
    names = {
        row: f"layers {row[1]}-{row[2]}" if row[1] < row[2] else f"layer {row[1]}" for row in rows
    }
    width = max(map(len, names.values()))
    return "\n".join(f"{names[row]:<{width}}   {sights[row[0]]}" for row in reversed(rows))


def _numbers(scores: dict[str, Any]) -> dict[str, float]:
    """The scores that are single numbers, without losses and speeds."""
    return {
        name: float(value)
        for name, value in scores.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and not name.endswith("_loss")
        and name != "speed"
    }
