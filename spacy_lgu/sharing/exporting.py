"""Writes the decoder of a pipeline as a plain model, which transformers loads by itself.

config.json, model*.safetensors    the layers that are used, with the adapter merged
tokenizer.json, ...                the pipeline's
README.md                          how to load it, and what it is not

What was written is loaded again by transformers alone and compared with the pipeline before the
folder gets its name.
"""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.util import load_config
from transformers import AutoModel, AutoModelForTokenClassification, PretrainedConfig

from ..decoder.adapter import save_adapter
from ..decoder.building import BuiltDecoder
from ..decoder.description import Description, read_description
from ..decoder.experts import are_separate
from ..decoder.loading import TORCH_DTYPES
from ..decoder.locking import LOADING
from ..decoder.reading import read_json
from ..decoder.versions import TRANSFORMERS, dtype_option
from ..decoder.weights import place_experts
from ..layers.finding import find_decoder
from ..replacing import replace_folder
from .agreement import Agreement, check_agreement
from .bundling import find_saved
from .checking import check_output, find_pipeline, verify_folders
from .directions import Direction, direct, find_direction
from .merging import merge_decoder
from .packed import unpacked_decoders
from .rewriting import exact_products
from .token_classes import TokenClasses, check_head, name_classes, read_head

_TOKENIZER_CONFIG = "tokenizer_config.json"

_README = """# {title}

{what} It was taken from the component `{component}` of a pipeline of
[spaCy](https://spacy.io) with [layer group unmasking](https://arxiv.org/abs/2401.14556), by
`python -m spacy lgu export` with transformers {version}. Base decoder: `{base}`.

```python
{code}
```

{more}
"""
_LOAD = """from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}")
model = AutoModel.from_pretrained("{folder}")
inputs = tokenizer("Ann Lee ate naan in New York", return_tensors="pt")
vectors = model({call}).last_hidden_state"""
_LOAD_CLASSES = """from transformers import pipeline

label = pipeline("token-classification", "{folder}", aggregation_strategy="first")
label("Ann Lee ate naan in New York")"""
_LOAD_WITH_MASK = """import torch
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}")
model = AutoModel.from_pretrained("{folder}")
ids = tokenizer("Ann Lee ate naan in New York", return_tensors="pt")["input_ids"]
n = ids.shape[1]
# All layers see everything; without this mask they would see the past alone.
mask = torch.zeros(1, 1, n, n, dtype=model.dtype)
vectors = model(input_ids=ids, attention_mask=mask).last_hidden_state"""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    component (str): Whose decoder it is.
    n_layers (int): Its layers.
    dtype (str): Of its weights.
    classes (int | None): Number of tags of the head, if it has one.
    agreement (Agreement): How near it comes to the pipeline.
    """

    component: str
    n_layers: int
    dtype: str
    classes: int | None
    agreement: Agreement


def export_pipeline(
    pipeline: Path,
    output: Path,
    *,
    name: str | None = None,
    head: str | None = None,
    dtype: str = "auto",
    by_mask: bool = False,
    force: bool = False,
) -> Exported:
    """Write the decoder of a saved pipeline as a model of transformers.

    pipeline (Path): Folder of the pipeline.
    output (Path): The model's folder.
    name (str | None): The component with the decoder. None: the only one.
    head (str | None): A sequence labeler, to be exported as the model's classifier of tokens.
    dtype (str): Of the weights; "auto": that in which the pipeline computes.
    by_mask (bool): Whether calls may have to bring a mask, which README.md then shows.
    force (bool): Whether an earlier output is replaced.
    RETURNS (Exported): Raises ValueError or OSError for a decoder that transformers alone does not
        run as the pipeline does (both directions, repeats, other heads), before a weight is read,
        and if what was written does not agree with the pipeline.
    """
    if dtype not in ("auto", *TORCH_DTYPES):
        names = ", ".join(TORCH_DTYPES)
        raise ValueError(f"--dtype is {dtype!r}: expected 'auto' or one of {names}.")
    source = find_pipeline(pipeline)
    check_output(output, force=force, apart_from=source)
    components = load_config(source / "config.cfg", interpolate=True)["components"]
    with unpacked_decoders(source) as decoders:
        component = _choose(name, sorted(decoders.keys() & components.keys()), pipeline)
        folder = decoders[component]
        verify_folders([folder])
        saved = read_description(folder)
        found = find_saved(folder, saved)
        config = found.config
        if are_separate(place_experts(found.source, config, saved.quantization)):
            raise ValueError(
                f"The decoder of {component!r} has experts that were quantized one by one, which "
                f"transformers {TRANSFORMERS} has joined. It cannot be exported; use the pipeline "
                "itself."
            )
    if saved.repeat:
        raise ValueError(
            f"The decoder of {component!r} reads each sequence {saved.repeat + 1} times "
            f"(repeat = {saved.repeat}), which a plain model does not do. Use the pipeline itself, "
            "or train one with repeat = 0."
        )
    if saved.read_previous:
        raise ValueError(
            f"The decoder of {component!r} gives each subtoken the vector of the one before it "
            "(read_previous = true), which a plain model does not do. Use the pipeline itself, or "
            "train one with read_previous = false."
        )
    direction = find_direction(saved.unmasking, config, by_mask=by_mask)
    directed = direct(config, direction)
    if hasattr(directed, "quantization_config"):
        del directed.quantization_config
    if head is not None:
        check_head(head, components, component, config)
        if by_mask:
            raise ValueError(
                "--head was given with --by-mask, but transformers' pipeline for token "
                "classification brings no mask of its own. Give one of them."
            )
    dtype = saved.dtype if dtype == "auto" else dtype
    needed = {component, head}
    nlp = spacy.load(
        source,
        exclude=[other for other in components if other not in needed],
        config=exact_products(components),
    )
    _, shim = find_decoder(nlp, component)
    classes = None if head is None else read_head(nlp, head)
    written: list[Agreement] = []

    def write(hidden: Path) -> None:
        _write_model(shim.ready, hidden, directed, classes, TORCH_DTYPES[dtype])
        _write_tokenizer(shim.ready, hidden)
        text = _readme(output.name, component, saved, direction, classes)
        (hidden / "README.md").write_text(text, encoding="utf8")
        agreement = check_agreement(shim.ready, hidden, direction, classes, dtype)
        written.append(agreement)

    replace_folder(output, write)
    return Exported(
        component=component,
        n_layers=config.num_hidden_layers,
        dtype=dtype,
        classes=None if classes is None else len(classes.names),
        agreement=written[0],
    )


def _choose(name: str | None, found: list[str], pipeline: Path) -> str:
    if name is None and len(found) == 1:
        return found[0]
    if name in found:
        return str(name)
    if not found:
        raise ValueError(f"There is no decoder of this package in {str(pipeline)!r}.")
    given = "none was named" if name is None else f"--name is {name!r}"
    raise ValueError(
        f"The components of {str(pipeline)!r} with a decoder are {found}, but {given}: expected "
        "one of them."
    )


def _write_model(
    built: BuiltDecoder,
    folder: Path,
    config: PretrainedConfig,
    classes: TokenClasses | None,
    dtype: torch.dtype,
) -> None:
    module = built.decoder.base if built.shared is None else built.shared.module
    with tempfile.TemporaryDirectory(prefix="spacy-lgu-") as place:
        adapter = None
        if built.decoder.adapter is not None:
            adapter = Path(place, "adapter")
            save_adapter(built.decoder.adapter, adapter)
        weights = merge_decoder(module, config, adapter)
    if classes is not None:
        name_classes(config, classes)
    kind: Any = AutoModel if classes is None else AutoModelForTokenClassification
    with LOADING, torch.device("meta"):
        model: Any = kind.from_config(config, **dtype_option(dtype))
    decoder = model if classes is None else model.base_model
    decoder.load_state_dict({n: _cast(W, dtype) for n, W in weights.items()}, assign=True)
    if classes is not None:
        (layer,) = (m for _, m in model.named_children() if isinstance(m, torch.nn.Linear))
        values = {"weight": torch.tensor(classes.weight), "bias": torch.tensor(classes.bias)}
        layer.load_state_dict({n: _cast(W, dtype) for n, W in values.items()}, assign=True)
    model.save_pretrained(str(folder), safe_serialization=True)


def _cast(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return weight.to(dtype).contiguous() if weight.is_floating_point() else weight


def _write_tokenizer(built: BuiltDecoder, folder: Path) -> None:
    tokenizer: Any = built.tokenizer  # transformers' base class is partly typed
    with tempfile.TemporaryDirectory(prefix="spacy-lgu-") as place:
        tokenizer.save_pretrained(place)
        for file in Path(place).iterdir():
            shutil.copyfile(file, folder / file.name)
    # tokenizer.json says all of how text is split, and some classes build parts of it anew.
    file = folder / _TOKENIZER_CONFIG
    values = {
        **read_json(file),
        "tokenizer_class": "PreTrainedTokenizerFast",
        # That class by itself also gives types of tokens, which decoders do not take.
        "model_input_names": ["input_ids", "attention_mask"],
    }
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False), encoding="utf8")


def _readme(
    folder: str,
    component: str,
    saved: Description,
    direction: Direction,
    classes: TokenClasses | None,
) -> str:
    sight = "the past alone" if direction.is_causal else "the whole text"
    what = f"A decoder of which all layers see {sight}."
    more = [
        "The pipeline splits subtokens at the borders of spaCy's tokens. Where this tokenizer "
        "finds others, vectors differ."
    ]
    code, call = _LOAD, "**inputs"
    if not direction.is_causal and not direction.by_mask:
        major = TRANSFORMERS.split(".")[0]
        more.append(
            f'`"is_causal": false` in config.json says what the layers see. transformers before '
            f"{major} passes over it, and would compute other vectors."
        )
    if direction.by_mask:
        code, call = _LOAD_WITH_MASK, ""
    if classes is not None:
        code = _LOAD_CLASSES
        more.append(
            "The labels are the best tag of each token. The pipeline also sees to it that tags fit "
            "to one another."
        )
    return _README.format(
        title=folder,
        what=what,
        component=component,
        version=TRANSFORMERS,
        base=saved.base.name if saved.base.commit else Path(saved.base.name).name,
        code=code.format(folder=folder, call=call),
        more="\n\n".join(more),
    )
