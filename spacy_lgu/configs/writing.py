"""A complete training config as text: the template, the heads, and the values chosen.

`Config.to_str` would lose the comments.
"""

import json
import textwrap
from collections.abc import Mapping
from typing import Any

from . import template
from .choices import Choices
from .heads import HEADS, head_text
from .planning import (
    DOC_CLEANER,
    SENTENCIZER_SCORES,
    SENTENCIZER_TEXT,
    TRANSFORMER,
    Pipeline,
)

_WIDTH = 100
_WARMUP_STEPS = 100


def write_config(
    *,
    lang: str,
    pipeline: Pipeline,
    decoder: str,
    revision: str | None,
    choices: Choices,
    command: str,
) -> str:
    """The text of a training config.

    lang (str): A language that spaCy has.
    pipeline (Pipeline): From plan_pipeline.
    decoder (str): Name on the Hugging Face hub, or a folder.
    revision (str | None): Branch, tag or commit on the hub.
    choices (Choices): From choose.
    command (str): How to train, for its first lines.
    RETURNS (str): The text. Raises ValueError for a language that spaCy does not have.
    """
    defaults = _language_defaults(lang)
    has_linker = "entity_linker" in pipeline.heads
    values = {
        "title": ", ".join(pipeline.heads),
        "command": _comment(command, width=10_000, indent="    "),  # to be copied as a line
        "decoder": _value(decoder),
        "revision": _value(revision),
        "lang": _value(lang),
        "pipeline": _value(list(pipeline.names)),
        "tokenizer": _lines(defaults["nlp"]["tokenizer"]),
        "tokenizer_init": _lines(defaults["initialize"]["tokenizer"]),
        "kb": template.KB if has_linker else "",
        "kb_loader": template.KB_LOADER if has_linker else "",
        "annotating": _value(list(pipeline.annotating)),
        "why_annotating": _comment(
            "What others read while they are trained; each therefore runs twice per update."
        )
        + "\n"
        if pipeline.annotating
        else "",
        "scores": _lines(_combine_scores(pipeline)),
        "warmup_steps": _value(_WARMUP_STEPS),
        **{
            name: _value(getattr(choices, name))
            for name in (
                "unmasking", "quantization", "tuning", "rank", "learn_rate", "n_steps", "batch_size"
            )
        },
        **{f"why_{name}": _comment(reason) for name, reason in choices.reasons.items()},
    }  # fmt: skip
    parts = [
        template.HEADER.substitute(values),
        template.TRANSFORMER.substitute(values) if TRANSFORMER in pipeline.names else "",
    ]
    for name in pipeline.names:
        if name in pipeline.helpers:
            parts.append(SENTENCIZER_TEXT)
        elif name in HEADS:
            parts.append(
                head_text(
                    name,
                    heads=pipeline.heads,
                    ensemble=choices.ensemble,
                    quantization=choices.quantization,
                )
            )
    parts.append(template.CLEANER if DOC_CLEANER in pipeline.names else "")
    parts.append(template.FOOTER.substitute(values))
    return "".join(parts)


def _language_defaults(lang: str) -> dict[str, Any]:
    import pkgutil

    import spacy.lang
    from spacy.util import get_lang_class

    try:
        return get_lang_class(lang).default_config
    except ImportError as error:
        languages = sorted(m.name for m in pkgutil.iter_modules(spacy.lang.__path__) if m.ispkg)
        raise ValueError(
            f"spaCy has no language {lang!r}: expected one of {', '.join(languages)}, where xx is "
            "for several."
        ) from error


def _combine_scores(pipeline: Pipeline) -> dict[str, float | None]:
    """Each head counts the same, in spaCy's way, so that filling the config changes nothing."""
    from spacy.util import combine_score_weights

    weights = [dict(HEADS[name].scores) for name in pipeline.heads]
    # Scores of the same name are one, and the sentences that a helper finds are no result.
    helper = [dict(SENTENCIZER_SCORES)] * len(pipeline.helpers)
    combined = combine_score_weights(helper + weights)
    return combine_score_weights(helper + weights, combined)


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _lines(values: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in values.items())


def _comment(text: str, *, width: int = _WIDTH, indent: str = "") -> str:
    prefix = f"# {indent}"
    return textwrap.fill(text, width=width, initial_indent=prefix, subsequent_indent=prefix)
