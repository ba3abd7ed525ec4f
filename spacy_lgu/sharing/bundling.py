"""Puts the base into a pipeline that was saved by reference, so that it needs nothing else."""

from dataclasses import replace
from pathlib import Path

import torch

from ..decoder.bundle import write_bundle
from ..decoder.description import Description
from ..decoder.loading import SharedBase, load_shared_base
from ..decoder.locking import one_at_a_time
from ..decoder.restoring import FoundWeights, find_weights
from ..decoder.saved_with import check_newer, check_saved_with, library_versions
from ..decoder.source import find_source, read_config
from ..decoder.weights import check_weights, place_experts
from .rewriting import Change, rewrite_pipeline


def bundle_pipeline(
    pipeline: Path, output: Path, *, device: torch.device, force: bool = False
) -> list[str]:
    """Write a copy of a pipeline that holds the weights of all its decoders, as quantized in
    training.

    pipeline (Path): Folder of a saved pipeline, which stays as it is.
    output (Path): The copy.
    device (device): Where bases are quantized.
    force (bool): Whether an earlier output is replaced.
    RETURNS (list[str]): The components whose base was put in. Raises ValueError if there is none
        by reference, and ValueError or OSError as rewrite_pipeline does, and for a base that is
        missing or not the one of the training.
    """

    def check(folder: Path, saved: Description) -> bool:
        if saved.base_weights != "reference":
            return False
        find_saved(folder, saved)
        return True

    def convert(folder: Path, target: Path, saved: Description) -> Description:
        base = load_saved_base(folder, saved, device=device)
        bundle = write_bundle(base.module, target / "base", earlier=None, link=False)
        written = find_source(str(bundle.folder))
        check_weights(written, read_config(written))
        # The config in it is as the installed transformers writes it.
        return replace(
            saved, base_weights="bundle", bundle=bundle.files, libraries=library_versions()
        )

    change = Change(base_weights="bundle", check=check, convert=convert)
    names = rewrite_pipeline(pipeline, output, change, force=force)
    if not names:
        raise ValueError(
            f"All decoders in {str(pipeline)!r} have their weights with them: there is nothing to "
            "bundle. Copy the folder as it is."
        )
    return names


def find_saved(folder: Path, saved: Description) -> FoundWeights:
    """Find the weights of a saved decoder, and check that they give what they gave in training.

    folder (Path): The decoder's folder.
    saved (Description): Its description.
    RETURNS (FoundWeights): Raises ValueError or OSError as find_weights does, for another width,
        and for versions of libraries that would compute other vectors.
    """
    check_newer(saved.libraries, str(folder))
    found = find_weights(folder, saved)
    check_saved_with(saved.libraries, found.config, str(folder))
    if found.config.hidden_size != saved.width:
        raise ValueError(
            f"The decoder in {str(folder)!r} was saved with vectors of width {saved.width}, but "
            f"those of {found.source.name!r} have {found.config.hidden_size}. The save is damaged: "
            "copy it again from where it was saved."
        )
    return found


@one_at_a_time
def load_saved_base(folder: Path, saved: Description, *, device: torch.device) -> SharedBase:
    """Load the frozen base of a saved decoder, quantized as in training, without its adapter.

    folder (Path): The decoder's folder.
    saved (Description): Its description.
    device (device): Where it goes.
    RETURNS (SharedBase): Raises ValueError or OSError as find_saved does.
    """
    found = find_saved(folder, saved)
    return load_shared_base(
        found.source,
        place_experts(found.source, found.config, saved.quantization),
        identity=found.identity,
        dtype=saved.dtype,
        quantization=saved.quantization,
        device=device,
        prefix=found.prefix,
    )
