"""What is known of a decoder or a pipeline, as plain values that JSON can hold.

Bytes are integers, settings are as in the config, None stands for what is not known, and notes say
why.
"""

from typing import Any

from ..decoder.adapter_config import read_adapter_config
from ..decoder.description import DESCRIPTION
from ..decoder.reading import find_inside
from ..decoder.settings import AdamWSettings, DecoderSettings
from ..listeners.availability import BROKEN
from .pipelines import SavedDecoder, SavedPipeline, disk_bytes
from .sizes import FactsT, Load, size_facts


def pipeline_facts(pipeline: SavedPipeline, load: Load) -> FactsT:
    """What is known of a saved pipeline.

    pipeline (SavedPipeline): From read_pipeline.
    load (Load): Where it would run.
    RETURNS (FactsT): "pipeline", "decoders" and "notes". Raises ValueError for damaged files.
    """
    notes = [
        f"The pipe {name!r} has a decoder of its own, {section.get('name')!r} under the pattern "
        f"{section.get('unmasking')!r}, saved within it."
        for name, section in pipeline.own_decoders().items()
    ]
    if not pipeline.decoders and not notes:
        notes.append("None of its pipes has a decoder under layer group unmasking.")
    meta = pipeline.meta
    return {
        "pipeline": {
            "folder": str(pipeline.folder),
            **{key: meta.get(key) for key in ("lang", "name", "version")},
            "pipes": [
                {
                    "name": name,
                    "factory": pipeline.section(name).get("factory"),
                    "listens_to": pipeline.listens_to(name),
                }
                for name in pipeline.pipes
            ],
            "disk": disk_bytes(pipeline.folder),
        },
        "decoders": [_saved_facts(decoder, pipeline, load) for decoder in pipeline.decoders],
        "notes": notes,
    }


def decoder_facts(settings: DecoderSettings, load: Load, *, offline: bool) -> FactsT:
    """What is known of a decoder that is not part of a pipeline.

    settings (DecoderSettings): Its name, and how it would be used.
    load (Load): Where it would run.
    offline (bool): Whether the hub must not be asked for sizes.
    RETURNS (FactsT): "decoders" with one element, and "notes". Raises ValueError or OSError for a
        decoder that cannot be found and settings that do not fit it.
    """
    from ..decoder.adapter import find_targets
    from ..decoder.experts import describe_unquantized
    from ..decoder.local import as_quantized, read_decoder
    from . import decoders

    found = read_decoder(settings.name, settings.revision, n_layers=settings.n_layers)
    found = as_quantized(found, settings.quantization)
    adapter: FactsT | None = None
    adapted: dict[str, int] = {}
    if settings.tuning == "lora":
        lora, (names, parameters) = settings.lora, find_targets(settings.lora, found.config)
        adapted = decoders.match_modules(found.shape, [*names, *parameters], lora.rank)
        adapter = {"variant": lora.variant, "rank": lora.rank, "alpha": lora.alpha}
        adapter |= {"dropout": lora.dropout, "modules": [*names, *parameters]}
        adapter |= {"n_modules": len(adapted)}
    disk = decoders.stored_bytes(found, offline=offline)
    notes = []
    if not disk["here"] and not found.source.is_local:
        notes.append(
            "Its weights are not on this machine: `python -m spacy lgu fetch "
            f"{settings.name}` downloads them."
        )
    left = describe_unquantized(
        found.shape.n_joined, found.shape.n_parameters, settings.quantization
    )
    if left is not None:
        notes.append(left)
    facts = {
        "component": None,
        "base": {
            "name": settings.name,
            "commit": found.source.commit,
            "found": str(found.source.folder),
        },
        "problem": decoders.find_problem(found),
        "subtokens": "split",
        "tokenizer": decoders.describe_tokenizer(found.source.folder),
        "adapter": adapter,
        "disk": disk,
        "saved_with": {"transformers": getattr(found.config, "transformers_version", None)},
        **size_facts(
            found.shape,
            settings,
            adapted,
            load,
            dropout=settings.lora.dropout,
            dora=settings.lora.variant == "dora",
        ),
    }
    return {"decoders": [facts], "notes": notes}


def _saved_facts(saved: SavedDecoder, pipeline: SavedPipeline, load: Load) -> FactsT:
    description, folder = saved.description, saved.folder
    decoders, problem = import_decoders()
    found = tokenizer = None
    if decoders is not None:
        found = decoders.read_saved_base(folder, description)
        place = find_inside(folder, "tokenizer", named_in=folder / DESCRIPTION)
        tokenizer = decoders.describe_tokenizer(place)
        if found is None:
            problem = (
                f"Its base {description.base.name!r}, of which only the name is kept, is not on "
                "this machine: it cannot be loaded until that is there."
            )
    optimizer: dict[str, Any] = saved.option("optimizer", {})
    settings = DecoderSettings(
        name=description.base.name,
        unmasking=description.unmasking,
        n_layers=description.n_layers,
        repeat=description.repeat,
        read_previous=description.read_previous,
        quantization=description.quantization,
        dtype=description.dtype,
        products=saved.option("products", "exact"),
        tuning=description.tuning,
        gradient_checkpointing=saved.option("gradient_checkpointing", False),
        optimizer=AdamWSettings(paged_8bit=optimizer.get("paged_8bit") is True),
    )
    adapter: FactsT | None = None
    adapted: dict[str, int] = {}
    dropout, is_dora = 0.0, False
    if description.tuning == "lora":
        config = read_adapter_config(folder / "adapter")
        dropout = config.dropout
        is_dora = config.dora
        if found is not None:
            names = [name for name in found.shape.linear if config.targets(name)]
            names += [name for name in found.shape.experts if config.targets_parameter(name)]
            adapted = {name: config.rank_of(name) for name in names}
        adapter = {
            "variant": " and ".join(config.variants),
            "rank": config.rank,
            "alpha": config.alpha,
        }
        adapter |= {"dropout": config.dropout, "n_modules": len(adapted) or None}
        adapter |= {"modules": [*sorted(config.modules), *sorted(config.parameters)]}
    base: FactsT = {
        "name": description.base.name,
        "commit": description.base.commit,
        "kept": description.base_weights,
        "found": None if found is None else str(found.source.folder),
    }
    if description.base.files is not None:
        hashes = {name: file.get("sha256") for name, file in description.base.files.items()}
        base["sha256"] = {name: value for name, value in hashes.items() if value}
    facts: FactsT = {
        "component": saved.name,
        "base": base,
        "problem": problem,
        "pattern": description.unmasking,
        "quantization": description.quantization,
        "dtype": description.dtype,
        "tuning": description.tuning,
        "width": description.width,
        "subtokens": description.subtokens,
        "tokenizer": tokenizer,
        "adapter": adapter,
        "disk": disk_bytes(folder),
        "listeners": [
            name
            for name in pipeline.pipes
            if {saved.name, "*"}.intersection(pipeline.listens_to(name))
        ],
        "saved_with": {
            "spacy-lgu": saved.version,
            "spacy": pipeline.meta.get("spacy_version"),
            "transformers": found and getattr(found.config, "transformers_version", None),
        },
    }
    if found is not None:
        items = load.max_batch_items or saved.option("max_batch_items", 0) or None
        load = Load(machine=load.machine, max_batch_items=items, batch_size=load.batch_size)
        facts |= size_facts(found.shape, settings, adapted, load, dropout=dropout, dora=is_dora)
    return facts


def import_decoders() -> tuple[Any, str | None]:
    """The module that needs torch and transformers, or why they cannot be used."""
    try:
        from . import decoders
    except BROKEN as error:
        return None, (
            f"torch or transformers cannot be used here ({type(error).__name__}: "
            f"{str(error)[:200]}): sizes and memory are not known. Install the versions that "
            "spacy-lgu requires."
        )
    return decoders, None
