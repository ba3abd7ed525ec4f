"""Takes the base out of a pipeline, if it can be had elsewhere, exactly as it is."""

import json
from dataclasses import replace
from pathlib import Path

import torch

from ..decoder.adapter_config import ADAPTER_CONFIG
from ..decoder.description import Base, Description, describe_base
from ..decoder.loading import load_decoder
from ..decoder.reading import read_json
from ..decoder.source import Source, check_prequantized, find_source, read_config
from ..decoder.weights import check_weights, place_experts
from .bundling import find_saved, load_saved_base
from .comparing import differing_setting, differing_weights
from .rewriting import Change, rewrite_pipeline


def unbundle_pipeline(
    pipeline: Path,
    output: Path,
    *,
    device: torch.device,
    base: str | None = None,
    revision: str | None = None,
    force: bool = False,
) -> list[str]:
    """Write a copy of a pipeline that names its base decoders instead of holding their weights.

    pipeline (Path): Folder of a saved pipeline, which stays as it is.
    output (Path): The copy.
    device (device): Where the base is quantized, to be compared with what the pipeline holds.
    base (str | None): Name on the Hugging Face hub, or a folder. None: those that were recorded in
        training.
    revision (str | None): Branch, tag or commit of that base.
    force (bool): Whether an earlier output is replaced.
    RETURNS (list[str]): The components whose base was taken out. Raises ValueError if there is
        none, for a decoder of which all weights were trained, and unless the base gives exactly
        the weights that the pipeline holds; ValueError or OSError as rewrite_pipeline does, and
        for a base that cannot be read.
    """
    if revision is not None and base is None:
        raise ValueError(f"--revision is {revision!r}: expected --base as well, which it is of.")

    def find_base(saved: Description) -> Source:
        if base is not None:
            return find_source(base, revision, n_layers=saved.n_layers)
        return find_source(saved.base.name, saved.base.commit, n_layers=saved.n_layers)

    def check(folder: Path, saved: Description) -> bool:
        if saved.tuning == "full":
            raise ValueError(
                f"All weights of the decoder in {str(folder)!r} were trained (tuning = 'full'), so "
                "that no base has them: it cannot be unbundled."
            )
        if saved.base_weights == "bundle":
            _compare_configs(folder, saved, find_base(saved))
        return saved.base_weights == "bundle"

    def convert(folder: Path, target: Path, saved: Description) -> Description:
        source = find_base(saved)
        _compare_weights(folder, saved, source, device)
        found = describe_base(source)
        if (found.name, found.commit) != (saved.base.name, saved.base.commit):
            _name_base(target / "adapter" / ADAPTER_CONFIG, found)
        for file in (target / "base").glob("*"):  # of a packed decoder
            file.unlink()
        return replace(saved, base=found, base_weights="reference", bundle=None)

    change = Change(base_weights="reference", check=check, convert=convert)
    names = rewrite_pipeline(pipeline, output, change, force=force)
    if not names:
        raise ValueError(
            f"No decoder in {str(pipeline)!r} has its base with it: there is nothing to unbundle."
        )
    return names


def _compare_configs(folder: Path, saved: Description, source: Source) -> None:
    config = read_config(source)
    check_prequantized(source, config, saved.quantization)
    if differing := differing_setting(config, find_saved(folder, saved).config):
        raise _is_another(
            folder,
            source,
            f"the config of {source.name!r} says {differing}, which the pipeline has",
        )
    check_weights(source, config)


def _compare_weights(
    folder: Path, saved: Description, source: Source, device: torch.device
) -> None:
    own = load_saved_base(folder, saved, device=device).module
    config = read_config(source)
    other = load_decoder(
        source,
        place_experts(source, config, saved.quantization),
        dtype=saved.dtype,
        quantization=saved.quantization,
        device=device,
        prefix=check_weights(source, config),
    )
    if differing := differing_weights(own, other):
        what = f"{len(differing)} of its weights differ, the first of them {differing[0]!r}"
        raise _is_another(folder, source, what)


def _is_another(folder: Path, source: Source, what: str) -> ValueError:
    return ValueError(
        f"The base in {str(folder)!r} is not what {source.name!r} gives: {what}. Name the base "
        "that it was made from, with --base and --revision; if it was quantized on a GPU, compare "
        "on one, with --gpu-id. Nothing was written."
    )


def _name_base(file: Path, base: Base) -> None:
    """Name another base in the config of an adapter, if there is one."""
    if file.is_file():
        values = {**read_json(file), "base_model_name_or_path": base.name, "revision": base.commit}
        file.write_text(json.dumps(values, indent=2, sort_keys=True), encoding="utf8")
