"""The registered builders: every bad value fails at once, before disk or network are touched."""

import builtins
import socket
from inspect import signature

import pytest
import spacy
from confection import ConfigValidationError
from spacy.util import registry
from thinc.api import Config

from spacy_lgu.decoder.settings import AdamWSettings, DecoderSettings, LoraSettings
from spacy_lgu.layers.shim import DecoderShim
from spacy_lgu.layers.windows import Windows

# What DESIGN.md documents under "Config", and the setter that spacy-transformers documents.
DOCUMENTED = """
[components]

[components.transformer]
factory = "lgu_transformer"
base_weights = "auto"
max_batch_items = "auto"

[components.transformer.model]
@architectures = "spacy-lgu.LGUTransformer.v1"
name = "mistralai/Mistral-7B-v0.3"
revision = null
unmasking = "ccbb"
n_layers = null
repeat = 0
read_previous = false
quantization = "nf4"
dtype = "auto"
products = "exact"
tuning = "lora"
gradient_checkpointing = false
window = null
stride = null
tokenizer_config = {}
optimizer = null
self_test = true

[components.transformer.model.lora]
@misc = "spacy-lgu.lora.v1"
variant = "lora"
rank = 64
alpha = 16
dropout = 0.1
modules = "attention"
parameters = []
path = null

[components.transformer.model.get_spans]
@span_getters = "spacy-lgu.doc_spans.v1"

[components.transformer.set_extra_annotations]
@annotation_setters = "spacy-lgu.null_annotation_setter.v1"
"""

LORA = {"@misc": "spacy-lgu.lora.v1"}

BAD_VALUES = [
    ({"name": "  "}, r"name is '  ': expected a name on the Hugging Face hub"),
    ({"unmasking": "ccxb"}, r"unmasking pattern is 'ccxb'.*for example 'ccbb'"),
    ({"unmasking": ""}, r"unmasking pattern is empty.*for example 'ccbb'"),
    ({"unmasking": None}, r"unmasking pattern is None.*for example 'ccbb'"),
    ({"unmasking": 11}, r"arrived as the integer 11.*loses its leading zeros.*Use letters"),
    ({"quantization": "nf5"}, r"quantization is 'nf5'.*Did you mean 'nf4'"),
    ({"dtype": "bf16"}, r"dtype is 'bf16': expected one of 'auto', 'float32', 'bfloat16'"),
    ({"tuning": "qlora"}, r"tuning is 'qlora'.*Did you mean 'lora'"),
    ({"tuning": "full", "quantization": "nf4"}, r"'full' cannot train weights quantized with 'nf4"),
    ({"tuning": "full", "quantization": "int8"}, r"'full' cannot train.*'int8'.*tuning = 'lora'"),
    ({"window": 1}, r"window is 1 subtokens: expected at least 2, or null"),
    ({"window": 0}, r"window is 0 subtokens: expected at least 2, or null"),
    (
        {"window": 8, "stride": 9},
        r"stride is 9 subtokens: expected at least 1 and at most 8",
    ),
    (
        {"window": 8, "stride": 0},
        r"stride is 0 subtokens: expected at least 1 and at most 8",
    ),
    ({"stride": -1}, r"stride is -1 subtokens: expected at least 1, or null"),
    ({"lora": {**LORA, "rank": 0}}, r"rank must be at least 1, but is 0"),
    ({"lora": {**LORA, "alpha": 0}}, r"alpha must be positive, but is 0"),
    ({"lora": {**LORA, "dropout": 1.0}}, r"dropout must lie in \[0, 1\), but is 1.0"),
    ({"lora": {**LORA, "modules": "q_proj"}}, r"modules is 'q_proj'.*or a list of module names"),
    ({"lora": {**LORA, "modules": []}}, r"modules are \[\]: expected .* a non-empty list of"),
]
IDS = [" ".join(f"{k}={v}" for k, v in values.items()) for values, _ in BAD_VALUES]


@pytest.fixture
def _no_access(monkeypatch):
    """Neither files nor sockets."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"The builder asked for {args}")

    spacy.blank("en").add_pipe("lgu_transformer")  # what is imported late is imported now
    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr(socket, "socket", refuse)


def fill_config(text):
    nlp = spacy.util.load_model_from_config(Config().from_str(text), auto_fill=True)
    return nlp.config.interpolate()["components"]["transformer"]


def test_filled_config_is_the_documented_one():
    minimal = '[nlp]\nlang = "en"\npipeline = ["transformer"]\n\n[components]\n'
    filled = fill_config(f'{minimal}[components.transformer]\nfactory = "lgu_transformer"')
    assert filled == Config().from_str(DOCUMENTED)["components"]["transformer"]


@pytest.mark.usefixtures("_no_access")
def test_building_needs_neither_disk_nor_network():
    nlp = spacy.blank("en")
    model = nlp.add_pipe("lgu_transformer", config={"model": {"unmasking": "0011"}}).model
    shim = model.shims[0]
    assert isinstance(shim, DecoderShim)
    assert shim.built is None
    assert shim.settings.name == "mistralai/Mistral-7B-v0.3"
    assert shim.settings.unmasking == "ccbb"  # the paper's digits arrive as letters
    assert shim.settings.lora == LoraSettings(rank=64, alpha=16, dropout=0.1)
    assert model.has_dim("nO") is None


@pytest.mark.usefixtures("_no_access")
@pytest.mark.parametrize(("values", "message"), BAD_VALUES, ids=IDS)
def test_bad_values_fail_in_add_pipe(values, message):
    with pytest.raises(ValueError, match=message):
        spacy.blank("en").add_pipe("lgu_transformer", config={"model": values})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved pipeline whose decoder was never loaded: nothing but its config."""
    nlp = spacy.blank("en")
    nlp.add_pipe("lgu_transformer", name="transformer", config={"model": {"quantization": "none"}})
    folder = tmp_path_factory.mktemp("saved")
    nlp.to_disk(folder, exclude=["transformer"])
    return folder


@pytest.mark.parametrize(("values", "message"), BAD_VALUES, ids=IDS)
def test_bad_values_fail_in_spacy_load(saved, values, message):
    with pytest.raises(ValueError, match=message):
        spacy.load(saved, config={"components": {"transformer": {"model": values}}})


def test_digits_on_the_command_line_arrive_as_an_integer(saved):
    from spacy.cli._util import parse_config_overrides

    overrides = parse_config_overrides(["--components.transformer.model.unmasking", "0011"])
    assert overrides == {"components.transformer.model.unmasking": 11}
    with pytest.raises(ValueError, match=r"arrived as the integer 11.*Use letters"):
        spacy.load(saved, config=overrides)


@pytest.mark.usefixtures("_no_access")
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_batch_items": 0}, "max_batch_items must be at least 1, but is 0"),
        ({"max_batch_items": "all"}, "max_batch_items is 'all': expected a number of subtokens"),
        ({"base_weights": "all"}, "base_weights is 'all': expected 'auto', 'bundle', 'li"),
    ],
)
def test_bad_options_of_the_component(values, message):
    with pytest.raises(ValueError, match=message):
        spacy.blank("en").add_pipe("lgu_transformer", config=values)


def test_values_of_another_type_are_named():
    with pytest.raises(ConfigValidationError, match=r"window.*'wide' is not <class 'int'>"):
        spacy.blank("en").add_pipe("lgu_transformer", config={"model": {"window": "wide"}})


def test_lora_modules_may_be_a_list():
    lora = registry.resolve({"lora": {**LORA, "modules": ["q_proj", "o_proj"]}})["lora"]
    assert lora.modules == ("q_proj", "o_proj")
    assert registry.resolve({"lora": LORA})["lora"] == LoraSettings()


@pytest.mark.parametrize("modules", [5, None, {"q_proj": 1}])
def test_lora_modules_of_another_type_are_named(modules):
    with pytest.raises(ConfigValidationError, match="modules"):
        registry.resolve({"lora": {**LORA, "modules": modules}})


def test_a_tok2vec_takes_what_a_transformer_takes():
    names = {
        kind: list(signature(registry.architectures.get(f"spacy-lgu.{kind}.v1")).parameters)
        for kind in ("LGUTransformer", "Tok2VecLGU")
    }
    own = ["pooling", "grad_factor", "max_batch_items", "base_weights"]
    assert names["Tok2VecLGU"] == [*names["LGUTransformer"], *own]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"window": "wide"}, r"window.*'wide' is not <class 'int'>"),
        ({"widnow": 8}, "unexpected argument: 'widnow'"),
        ({"grad_factor": "x"}, "grad_factor"),
    ],
)
def test_values_of_a_tok2vec_are_checked_by_name_and_type(values, message):
    with pytest.raises(ConfigValidationError, match=message):
        spacy.blank("en").add_pipe("tagger", config=tok2vec_config(**values))


def test_arguments_are_not_changed():
    tokenizer_config = {"add_bos_token": False}
    build = registry.architectures.get("spacy-lgu.LGUTransformer.v1")
    get_spans = registry.span_getters.get("spacy-lgu.doc_spans.v1")()
    shim = build("no/where", get_spans, "cb", tokenizer_config=tokenizer_config).shims[0]
    assert shim.tokenizer_config == tokenizer_config
    assert shim.tokenizer_config is not tokenizer_config
    assert shim.settings.lora == LoraSettings()


@pytest.mark.usefixtures("_no_access")
@pytest.mark.parametrize(("values", "message"), BAD_VALUES, ids=IDS)
def test_bad_values_fail_inside_another_pipe(values, message):
    with pytest.raises(ValueError, match=message):
        spacy.blank("en").add_pipe("tagger", config=tok2vec_config(**values))


def tok2vec_config(**values):
    tok2vec = {
        "@architectures": "spacy-lgu.Tok2VecLGU.v1",
        "name": "no/where",
        "unmasking": "ccbb",
        "get_spans": {"@span_getters": "spacy-lgu.doc_spans.v1"},
        "pooling": {"@layers": "reduce_mean.v1"},
        **values,
    }
    return {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}}


def test_every_value_reaches_the_decoder():
    build = registry.architectures.get("spacy-lgu.LGUTransformer.v1")
    get_spans = registry.span_getters.get("spacy-lgu.doc_spans.v1")()
    values = {
        "name": "no/where", "revision": "next", "unmasking": "cb", "n_layers": 3, "repeat": 2,
        "read_previous": True, "quantization": "nf4", "dtype": "bfloat16", "products": "int8",
        "tuning": "frozen", "gradient_checkpointing": True, "self_test": False,
        "lora": LoraSettings(rank=3), "optimizer": AdamWSettings(beta1=0.5),
    }  # fmt: skip
    shim = build(get_spans=get_spans, window=9, stride=4, **values).shims[0]
    assert shim.settings == DecoderSettings(**values)
    assert shim.windows == Windows(window=9, stride=4)


def test_options_of_a_tok2vec_reach_its_layers():
    model = registry.architectures.get("spacy-lgu.Tok2VecLGU.v1")(
        name="no/where",
        unmasking="cb",
        get_spans=registry.span_getters.get("spacy-lgu.doc_spans.v1")(),
        pooling=registry.layers.get("reduce_mean.v1")(),
        grad_factor=0.5,
        max_batch_items=77,
        base_weights="bundle",
    )
    assert model.layers[1].attrs["grad_factor"] == 0.5
    (shim,) = (shim for node in model.walk() for shim in node.shims)
    assert (shim.max_batch_items, shim.base_weights) == (77, "bundle")
