"""`python -m spacy lgu adapt`: spaCy's `pretrain` for decoders."""

import shlex
from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from . import app
from .options import CodeOption, GpuOption


@app.command("adapt", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def adapt_cli(
    ctx: typer.Context,
    config_path: Annotated[Path, typer.Argument(help="Training config; overrides may follow")],
    output: Annotated[Path, typer.Argument(help="Folder for the adapter, or the decoder")],
    text: Annotated[
        list[Path], typer.Option("--text", help="Raw text, .jsonl; also .xz, .gz or .zst")
    ],
    valid: Annotated[Path, typer.Option("--valid", help="Raw text to validate on")],
    objective: Annotated[
        str, typer.Option(help="masked-next, or causal for patterns of c only")
    ] = "masked-next",
    minutes: Annotated[float | None, typer.Option(help="Training time")] = None,
    steps: Annotated[int | None, typer.Option(help="Updates, instead of minutes")] = None,
    mask_rate: Annotated[float, typer.Option(help="Share of subtokens masked")] = 0.2,
    learn_rate: Annotated[float, typer.Option(help="Highest learning rate")] = 2e-4,
    warmup_steps: Annotated[int, typer.Option(help="Updates of warm-up")] = 50,
    decay: Annotated[
        float, typer.Option(help="Last share of the run, in which the learning rate decays")
    ] = 0.25,
    batch_size: Annotated[int, typer.Option(help="Subtokens per update")] = 8192,
    window: Annotated[int, typer.Option(help="Subtokens per window")] = 512,
    validate_every: Annotated[float, typer.Option(help="Minutes between validations")] = 5.0,
    component: Annotated[
        str | None, typer.Option(help="Pipe with the decoder, if there are several")
    ] = None,
    code: CodeOption = None,
    gpu_id: GpuOption = -1,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a finished result")] = False,
) -> None:
    """Continue the pretraining of a config's decoder under the config's unmasking pattern.

    Reads the decoder, pattern, quantization and LoRA settings from the training config, so that
    training can start from what comes out: --components.transformer.model.lora.path OUTPUT, or
    with tuning = full, OUTPUT as the decoder's name. If it is interrupted, the same call goes on;
    Ctrl-C begins the final decay at once and ends with a finished result.
    """
    from spacy.cli._util import import_code, parse_config_overrides, setup_gpu
    from spacy.util import fix_random_seed, load_config, load_model_from_config
    from thinc.api import get_torch_default_device

    from ..inputs import naming
    from ..layers.finding import find_decoder
    from ..pretraining.adaptation import AdaptationSettings, adapt_decoder

    import_code(code)
    arguments = list(ctx.args)  # spaCy takes them out of the list that it parses
    overrides = parse_config_overrides(ctx.args)
    with naming(config_path):
        config = load_config(config_path, overrides=overrides, interpolate=False)
        seed = config.interpolate().get("training", {}).get("seed") or 0
    settings = AdaptationSettings(
        objective=objective,
        minutes=minutes,
        steps=steps,
        mask_rate=mask_rate,
        learn_rate=learn_rate,
        warmup_steps=warmup_steps,
        decay=decay,
        batch_size=batch_size,
        window=window,
        validate_every=validate_every,
        seed=seed,
    )
    setup_gpu(gpu_id)
    fix_random_seed(seed)
    with naming(config_path):
        nlp = load_model_from_config(config, auto_fill=True)
        name, shim = find_decoder(nlp, component)
    progress = adapt_decoder(
        shim.settings,
        shim.tokenizer_config,
        settings,
        texts=text,
        valid=valid,
        output=output,
        device=get_torch_default_device(),
        force=force,
    )
    before, after = progress.history[0][3], progress.history[-1][3]
    msg.good(
        f"{progress.n_subtokens:,} subtokens in {progress.seconds / 60:.1f} min: "
        f"{before:.3f} -> {after:.3f} nats per predicted subtoken"
    )
    setting = "name" if shim.settings.tuning == "full" else "lora.path"
    msg.info(
        f"To train from it, set {setting} of the decoder in the component {name!r}, and leave the "
        "rest of the config and the overrides as they were. If the decoder is a component of its "
        "own:"
    )
    # Not by msg, which would wrap the line.
    model = f"--components.{name}.model"
    override = [f"{model}.{setting}", str(output.resolve())]
    if setting == "name" and shim.settings.revision is not None:
        override += [f"{model}.revision", "null"]  # a folder has none
    options = ["--code", str(code)] if code is not None else []
    options += ["--gpu-id", str(gpu_id)] if gpu_id >= 0 else []
    command = ["python", "-m", "spacy", "train", str(config_path), *options, *arguments, *override]
    typer.echo(shlex.join(command))
