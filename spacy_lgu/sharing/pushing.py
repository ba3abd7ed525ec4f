"""Sends a pipeline to the hub: its own files and a card, in one commit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spacy.util import load_config

from ..decoder.description import DESCRIPTION, Description, read_description
from ..decoder.fingerprints import list_files as list_local
from ..decoder.reading import read_json
from . import hub
from .bundling import find_saved
from .card import CardFacts, write_card
from .checking import component_of, decoder_folders, find_pipeline, verify_folders
from .packed import unpacked_decoders

README = "README.md"
_ALWAYS = ("config.cfg", "meta.json")
BESIDE = ("LICENSE", "LICENSES_SOURCES")  # as spaCy packages them
_PERCENT = ("f1", "precision", "recall")
_SHARED = ("vocab", "tokenizer")


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """What a push sends.

    files (dict[str, Path]): By the path in the repository.
    left_out (list[str]): Files of the folder that are not the pipeline's.
    facts (CardFacts): For the card.
    readme (str | None): The one in the pipeline's folder.
    """

    files: dict[str, Path]
    left_out: list[str]
    facts: CardFacts
    readme: str | None


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What was sent.

    url (str): Of the commit, or of the pull request.
    commit (str): Its hash.
    deleted (list[str]): Files of an earlier push that this one does not have.
    """

    url: str
    commit: str
    deleted: list[str]


def pack_parcel(pipeline: Path, repo_id: str, metrics: Path | None = None) -> Parcel:
    """Check a pipeline and put together what is to be sent; the hub is not asked for anything but a
    base by reference.

    pipeline (Path): Folder of a saved pipeline.
    repo_id (str): OWNER/NAME.
    metrics (Path | None): Scores, as `spacy evaluate --output` writes them. None: those of the
        training.
    RETURNS (Parcel): Raises ValueError for a pipeline whose files are not what was saved, and for
        one that nobody else could load, because it names a folder as its base.
    """
    hub.check_repo_id(repo_id)
    source = find_pipeline(pipeline)
    meta = read_json(source / "meta.json")
    scores = meta.get("performance") if metrics is None else _read_scores(metrics)
    decoders = {}
    with unpacked_decoders(source) as folders:
        if not folders:
            raise ValueError(f"There is no decoder of this package in {str(pipeline)!r}.")
        verify_folders(list(folders.values()))
        for component, folder in folders.items():
            saved = read_description(folder)
            if saved.base_weights == "reference" and saved.base.commit is None:
                raise ValueError(
                    f"The decoder of {component!r} has its base in the folder {saved.base.name!r}, "
                    "where nobody else could load it. Put the weights into the pipeline with "
                    "`python -m spacy lgu bundle`, or name the same base on the hub with `bundle` "
                    "and then `unbundle --base`."
                )
            decoders[component] = saved, find_saved(folder, saved).config
    files = _own_files(source)
    sent = {path.resolve() for path in files.values()}
    readme = source / README
    return Parcel(
        files=files,
        left_out=[
            name
            for name in list_local(source)
            if (source / name).resolve() not in sent and name != README
        ],
        facts=CardFacts(
            repo_id=repo_id,
            meta=meta,
            decoders=decoders,
            scores=scores if isinstance(scores, dict) else {},
            scored_on="the development data of the training" if metrics is None else metrics.stem,
        ),
        readme=readme.read_text(encoding="utf8") if readme.is_file() else None,
    )


def push_parcel(
    parcel: Parcel,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
    create_pr: bool = False,
) -> Pushed:
    """Send a parcel.

    parcel (Parcel): From pack_parcel.
    private (bool): Whether a new repository is private.
    revision (str | None): The branch. None: the default one.
    message (str | None): Of the commit.
    create_pr (bool): Whether to propose the commit instead of making it.
    RETURNS (Pushed): Raises OSError without rights, and ValueError for a repository that
        is public, if it should be private, and for a card that is damaged.
    """
    repo_id = parcel.facts.repo_id
    was_private = hub.is_private(repo_id)
    if private and was_private is False:
        raise ValueError(
            f"The repository {repo_id!r} is there already, and public: --private is for a new one. "
            "Change it on its page, or name another."
        )
    there = [] if was_private is None else hub.list_files(repo_id, revision)
    if there is None:  # the branch will begin as the default one
        there = hub.list_files(repo_id, None) or []
        revision_of_card = None
    else:
        revision_of_card = revision
    previous = parcel.readme
    if README in there:
        previous = hub.read_text(repo_id, README, revision_of_card)
    card = write_card(parcel.facts, previous)
    folders = {name.partition("/")[0] for name in parcel.files if "/" in name}
    deleted = [
        name
        for name in there
        if name.partition("/")[0] in folders and "/" in name and name not in parcel.files
    ]
    commit = hub.commit_files(
        repo_id,
        [*parcel.files.items(), (README, card.encode("utf8"))],
        deleted,
        message=message or f"Push {parcel.facts.meta.get('name') or 'pipeline'} with spacy-lgu",
        private=private,
        is_new=was_private is None,
        revision=revision,
        create_pr=create_pr,
    )
    return Pushed(url=commit.pr_url or commit.commit_url, commit=commit.oid, deleted=deleted)


def _read_scores(file: Path) -> dict[str, Any]:
    scores = read_json(file)
    if {*_PERCENT, "tokens_per_second"} <= scores.keys():  # by our own command, others give shares
        return {name: scores[name] / 100 for name in _PERCENT}
    return scores


def _own_files(pipeline: Path) -> dict[str, Path]:
    """The files that a save wrote, by the record of a decoder, or by the components of the config
    where none has a record of the whole pipeline."""
    found: dict[str, Path] = {name: pipeline / name for name in _ALWAYS}
    found |= {name: pipeline / name for name in BESIDE if (pipeline / name).is_file()}
    recorded: set[str] = set()
    for folder in decoder_folders(pipeline):
        saved = read_description(folder)
        component = component_of(folder, pipeline)
        found |= {f"{component}/{name}": folder / name for name in _of_decoder(folder, saved)}
        recorded |= set(saved.pipeline or ())
    if not recorded:
        names = {*_SHARED, *load_config(pipeline / "config.cfg")["nlp"]["pipeline"]}
        for name in list_local(pipeline):
            place = name.partition("/")[0]
            if {place, Path(place).stem} & names:
                recorded.add(name)
    for name in recorded:
        if (pipeline / name).is_file():  # what was left out of the save is not there
            found.setdefault(name, pipeline / name)
    return dict(sorted(found.items()))


def _of_decoder(folder: Path, saved: Description) -> list[str]:
    if saved.files is None:  # saved by a version without hashes
        return list_local(folder)
    return [DESCRIPTION, *saved.files, *(f"{saved.part}/{name}" for name in saved.bundle or ())]


def describe_sizes(files: dict[str, Any]) -> list[str]:
    """RETURNS (list[str]): A line for each file, with its size."""
    sizes = {name: path.stat().st_size for name, path in files.items()}
    return [f"{size:>15,} bytes  {name}" for name, size in sizes.items()]
