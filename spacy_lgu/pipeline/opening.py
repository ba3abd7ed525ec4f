"""Saved pipelines as commands open them."""

from pathlib import Path

import spacy
from spacy.language import Language
from spacy.util import load_config

from ..decoder.reading import read_json
from ..inputs import named_path, naming
from ..replacing import finished_folder


def open_pipeline(name: str) -> Language:
    """Load a saved pipeline as spacy.load does.

    name (str): Its folder, or the name of an installed package. If a save of it was killed, the
        earlier one is meant.
    RETURNS (Language): The pipeline. Raises ValueError that names a file which is damaged, and
        OSError where there is no pipeline.
    """
    folder = finished_folder(named_path(name))
    if not folder.is_dir():
        return spacy.load(name)
    check_pipeline(folder)
    return spacy.load(folder)


def check_pipeline(folder: Path) -> None:
    """Raise ValueError that names meta.json or config.cfg if it is damaged: spaCy does not."""
    meta, config = folder / "meta.json", folder / "config.cfg"
    if meta.is_file() and config.is_file():  # spaCy says what is missing
        read_json(meta)
        with naming(config):
            load_config(config)
