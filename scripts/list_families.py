"""List the families of decoders that can be unmasked: docs/families.md, from docs/families.json.

    python scripts/list_families.py

Every family of causal language models is checked that the installed transformers has, by the config
that it begins with. What was found under the other major version stays in the file.
"""

import json
import logging
import multiprocessing
import re
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from spacy_lgu.decoder.config import MODEL_ERRORS
from spacy_lgu.decoder.families import check_family
from spacy_lgu.decoder.refusals import TESTED_FAMILIES, FamilyError
from spacy_lgu.decoder.versions import TRANSFORMERS

DOCS = Path(__file__).parents[1] / "docs"
DATA, PAGE = "families.json", "families.md"
TIME_LIMIT = 300  # seconds for one family
ACCEPTED = "accepted"
# Details of a reason that differ from machine to machine, or that say nothing to a reader.
_DETAILS = re.compile(r" by [\d.e+-]+ of the vectors' size| \([A-Z]\w+: .*", re.DOTALL)

# By version of transformers and family.
FoundT = dict[str, dict[str, str]]


def judge(family: str) -> str:
    """Check a family by the config that it begins with.

    family (str): Its model_type. Of one that reads more than text, the decoder is checked.
    RETURNS (str): ACCEPTED, or why not.
    """
    try:
        config = CONFIG_MAPPING[family]()
        if not config.is_encoder_decoder:
            config = config.get_text_config(decoder=True)
    except MODEL_ERRORS:
        return "its config has no values to begin with that are valid"
    try:
        check_family(config)
    except FamilyError as error:
        return _DETAILS.sub("", error.reason)
    return ACCEPTED


def judge_apart(family: str) -> str:
    """As judge, in a process of its own: a family must not fill the memory for the next ones."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(family, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(TIME_LIMIT):
            return f"its check takes longer than {TIME_LIMIT} seconds"
        return str(receiver.recv())
    except EOFError:
        return "its check ends the process"
    finally:
        process.kill()
        process.join()


def merge(found: FoundT, version: str, judged: dict[str, str]) -> FoundT:
    """Put what was found under a version in the place of what was found under its major version.

    found (FoundT): From the file.
    version (str): Of transformers.
    judged (dict[str, str]): By family.
    RETURNS (FoundT): Sorted by version.
    """
    major = version.partition(".")[0]
    kept = {name: by for name, by in found.items() if name.partition(".")[0] != major}
    kept[version] = judged
    return dict(sorted(kept.items()))


def write_page(found: FoundT) -> str:
    """The page of the docs.

    found (FoundT): From merge.
    RETURNS (str): Markdown.
    """
    names = sorted({family for judged in found.values() for family in judged})
    lines = [
        "# Families of decoders",
        "",
        "<!-- Made by `python scripts/list_families.py`. -->",
        "",
        "Every family of causal language models that transformers has, by its `model_type`:",
        "",
        "| transformers | families | accepted | of these tested |",
        "|---|---:|---:|---:|",
    ]
    for version, judged in found.items():
        n_accepted = sum(_is_accepted(reason) for reason in judged.values())
        n_tested = sum(family in judged for family in TESTED_FAMILIES)
        lines.append(f"| {version} | {len(judged)} | {n_accepted} | {n_tested} |")
    lines += [
        "",
        "*tested*: vectors and gradients equal a brute-force reference in the tests, under all",
        "patterns. *accepted*: a tiny random decoder passes the same checks as yours will before",
        "its weights are fetched. Hybrids are listed so, and are compared with the reference as",
        "well.",
        "",
        "Each family was judged by the config that transformers has for it by default. Those of",
        "`bamba` and `granitemoehybrid` have no attention layer, and are refused; decoders of",
        "these families that have some are accepted. What counts is the config of your decoder,",
        "which `python -m spacy lgu inspect NAME` reads. Of a family that reads more than text,",
        "the decoder in it was judged.",
        "",
        f"| family | {' | '.join(found)} |",
        f"|---|{'---|' * len(found)}",
    ]
    for name in names:
        cells = (_cell(name, judged) for judged in found.values())
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(family: str, judged: dict[str, str]) -> str:
    if family not in judged:
        return "not there"
    if not _is_accepted(judged[family]):
        return judged[family]
    return "**tested**" if family in TESTED_FAMILIES else f"**{judged[family]}**"


def _is_accepted(judged: str) -> bool:
    return judged == ACCEPTED


def _send(family: str, sender: Connection) -> None:
    logging.disable(logging.WARNING)  # of transformers, about configs without values
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sender.send(judge(family))


def main(
    families: Annotated[
        list[str] | None, typer.Argument(help="Check and print these alone; write nothing")
    ] = None,
    docs: Annotated[Path, typer.Option(help="Where the two files are")] = DOCS,
) -> None:
    """Check all families under the installed transformers, and write both files."""
    chosen: Sequence[str] = families or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    judged = {family: judge_apart(family) for family in tqdm(chosen, unit="family")}
    if families:
        for family, reason in judged.items():
            print(f"{family}: {reason}")
        return
    data = docs / DATA
    found = json.loads(data.read_text("utf8")) if data.exists() else {}
    found = merge(found, TRANSFORMERS, judged)
    data.write_text(json.dumps(found, indent=1) + "\n", encoding="utf8")
    (docs / PAGE).write_text(write_page(found), encoding="utf8")


if __name__ == "__main__":
    typer.run(main)
