"""From a name to the facts: a pipeline, or a decoder."""

from dataclasses import asdict
from typing import Any

from ..decoder.description import DESCRIPTION
from ..decoder.settings import DecoderSettings, LoraSettings
from ..inputs import named_path
from ..listeners.availability import find_fault
from ..replacing import finished_folder
from .facts import FactsT, Load, decoder_facts, import_decoders, pipeline_facts
from .libraries import find_broken, list_versions
from .pipelines import find_pipeline, read_pipeline


def inspect_target(name: str, load: Load, *, offline: bool, **settings: Any) -> FactsT:
    """Look at a pipeline or a decoder without loading weights, or running anything of it.

    name (str): Folder of a saved pipeline, installed package, folder of a decoder or its name on
        the Hugging Face hub.
    load (Load): Where it would run.
    offline (bool): Whether the hub must not be asked for sizes.
    settings (Any): Of a decoder, as in DecoderSettings, and "rank". None: what init-config would
        choose. A saved pipeline has its own.
    RETURNS (FactsT): "decoders", "machine", "versions", "notes" and, of a pipeline, "pipeline".
        Raises ValueError or OSError saying what is missing or damaged.
    """
    folder = finished_folder(named_path(name))
    given = {key: value for key, value in settings.items() if value is not None}
    if (found := find_pipeline(name)) is not None:
        if given:
            raise ValueError(
                f"{name!r} is a saved pipeline, which has its own {', '.join(sorted(given))}: "
                "these options are for decoders."
            )
        facts = pipeline_facts(read_pipeline(found), load)
    elif (folder / DESCRIPTION).is_file():
        raise ValueError(
            f"{name!r} is one component of a pipeline: give the pipeline, "
            f"{str(folder.absolute().parent)!r}."
        )
    else:
        if reason := import_decoders()[1]:
            raise ValueError(reason)
        facts = decoder_facts(_choose_settings(name, given), load, offline=offline)
    is_quantized = any(decoder["quantization"] != "none" for decoder in facts["decoders"])
    broken = list(find_broken(["bitsandbytes"] if is_quantized else []).values())
    if (fault := find_fault()) is not None:
        broken.append(fault)
    return {
        **facts,
        "machine": asdict(load.machine),
        "versions": list_versions(),
        "notes": [*facts["notes"], *(f"It cannot run here: {why}" for why in broken)],
    }


def _choose_settings(name: str, given: dict[str, Any]) -> DecoderSettings:
    """What was not given is chosen as for a config, from the decoder's size."""
    from ..configs.choices import Size, choose
    from ..decoder.local import read_decoder

    revision = given.pop("revision", None)
    shape = read_decoder(name, revision, n_layers=given.get("n_layers")).shape
    chosen = choose(
        size=Size(n_parameters=shape.n_parameters, n_layers=shape.n_layers, kinds=shape.kinds),
        heads=(),
        optimize="accuracy",
        gpu=False,
        unmasking=given.pop("unmasking", None),
    )
    rank = given.pop("rank", chosen.rank)
    is_quantized = given.get("quantization", "none") != "none"
    tuning = given.pop("tuning", "lora" if is_quantized else chosen.tuning)
    quantization = given.pop("quantization", "none" if tuning == "full" else chosen.quantization)
    return DecoderSettings(
        name=name,
        revision=revision,
        unmasking=chosen.unmasking,
        tuning=tuning,
        quantization=quantization,
        lora=LoraSettings(rank=rank),
        **given,
    )
