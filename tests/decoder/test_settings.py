import dataclasses

import pytest

from spacy_lgu.decoder.settings import AdamWSettings, DecoderSettings, LoraSettings


def test_values_that_configs_leave_out():
    settings = DecoderSettings(name="org/x", unmasking="ccbb")
    assert dataclasses.asdict(settings) == {
        "name": "org/x",
        "revision": None,
        "unmasking": "ccbb",
        "n_layers": None,
        "repeat": 0,
        "read_previous": False,
        "quantization": "none",
        "dtype": "auto",
        "products": "exact",
        "tuning": "lora",
        "gradient_checkpointing": False,
        "lora": {
            "variant": "lora",
            "rank": 64,
            "alpha": 16,
            "dropout": 0.1,
            "modules": "attention",
            "parameters": (),
            "path": None,
        },
        "optimizer": None,
        "self_test": True,
    }


def test_digits_are_kept_as_letters():
    assert DecoderSettings(name="org/x", unmasking="0011").unmasking == "ccbb"


@pytest.mark.parametrize("name", ["", "  ", None, 7])
def test_name_is_needed(name):
    with pytest.raises(ValueError, match=r"The decoder's name is .*expected a name on the Hugging"):
        DecoderSettings(name=name, unmasking="c")


def test_pattern_is_checked():
    with pytest.raises(ValueError, match="arrived as the integer 11"):
        DecoderSettings(name="org/x", unmasking=11)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"quantization": "fp4"}, r"quantization is 'fp4': expected one of 'none', 'nf4', 'int8'"),
        ({"quantization": "nf44"}, r"quantization is 'nf44': .* Did you mean 'nf4'\?"),
        ({"quantization": None}, r"quantization is None: expected one of 'none'"),
        ({"dtype": "bf16"}, r"dtype is 'bf16': expected one of 'auto', 'float32', 'bfloat16'"),
        ({"tuning": "froze"}, r"tuning is 'froze': .* Did you mean 'frozen'\?"),
        (
            {"tuning": "full", "quantization": "nf4"},
            r"'full' cannot train weights quantized with 'nf4'. Use quantization = 'none'",
        ),
        (
            {"tuning": "full", "optimizer": AdamWSettings(lora_plus_ratio=16)},
            r"lora_plus_ratio is 16, but tuning = 'full' has no LoRA weights",
        ),
        (
            {"tuning": "frozen", "optimizer": AdamWSettings(lora_plus_ratio=2)},
            r"lora_plus_ratio is 2, but tuning = 'frozen' has no LoRA weights",
        ),
    ],
)
def test_other_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        DecoderSettings(name="org/x", unmasking="c", **values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rank": 0}, "LoRA rank must be at least 1, but is 0"),
        ({"alpha": 0}, "LoRA alpha must be positive, but is 0"),
        ({"dropout": 1}, r"LoRA dropout must lie in \[0, 1\), but is 1"),
        ({"dropout": -0.1}, r"LoRA dropout must lie in \[0, 1\), but is -0.1"),
        ({"modules": "q_proj"}, r"LoRA modules is 'q_proj': expected one of .* or a list of"),
        ({"modules": "atention"}, r"Did you mean 'attention'\?"),
        ({"modules": ()}, r"LoRA modules are \[\]: expected 'attention', 'all-linear' or"),
        ({"modules": ("q_proj", "")}, r"LoRA modules are \['q_proj', ''\]: expected"),
        (
            {"variant": "dorra"},
            r"variant is 'dorra': expected one of 'lora', 'rslora', 'dora'",
        ),
        ({"variant": "rs-lora"}, r"Did you mean 'rslora'\?"),
        ({"parameters": "experts"}, r"LoRA parameters are 'experts': expected a list of names"),
        ({"parameters": ["a", ""]}, r"LoRA parameters are \['a', ''\]: expected a list of names"),
        ({"parameters": ["a"]}, r"\['a'\] cannot have dropout, which is 0.1. Set dropout = 0.0"),
        (
            {"parameters": ["a"], "dropout": 0.0, "variant": "dora"},
            r"\['a'\] cannot have variant = 'dora'. Set variant = 'lora' or 'rslora'",
        ),
    ],
)
def test_lora_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        LoraSettings(**values)


def test_parameters_need_no_modules():
    lora = LoraSettings(parameters=["experts.down_proj"], modules=[], dropout=0)
    assert (lora.modules, lora.parameters) == ((), ("experts.down_proj",))


def test_lora_plus_goes_with_lora():
    settings = AdamWSettings(lora_plus_ratio=16)
    assert DecoderSettings(name="org/x", unmasking="c", optimizer=settings).tuning == "lora"
