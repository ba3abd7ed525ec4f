"""What the README shows can be pasted into a config."""

import re
from pathlib import Path

import pytest
import spacy
from confection import Config

BLOCKS = re.findall(
    r"```ini\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text("utf8"), re.DOTALL
)
OPTIMIZER = "[components.transformer.model.optimizer]"


@pytest.fixture
def component(decoder_folder):
    (text,) = (block for block in BLOCKS if "[components.transformer]" in block)
    return "[components]\n" + text.replace("mistralai/Mistral-7B-v0.3", str(decoder_folder))


def make_model(text):
    """The component's model, from a section without interpolation."""
    config = Config().from_str(text)["components"]["transformer"]
    nlp = spacy.blank("en")
    return nlp.add_pipe(config.pop("factory"), config=config).model


def test_the_component_has_all_settings_and_their_defaults(component):
    shown = Config().from_str(component)["components"]["transformer"]
    defaults = spacy.blank("en").get_factory_meta("lgu_transformer").default_config
    for name, value in defaults["model"].items():
        if name != "name":
            assert shown["model"].get(name, "not shown") == value, name
    assert shown["max_batch_items"] == defaults["max_batch_items"]
    make_model(component)


def test_the_optimizer_takes_the_place_of_a_line(component):
    (text,) = (block for block in BLOCKS if OPTIMIZER in block)
    model = make_model(component.replace("optimizer = null\n", "") + text)
    assert model is not None
    with pytest.raises(ValueError, match="optimizer"):
        make_model(component + text)  # both


def test_the_reader_needs_no_other_keys():
    (text,) = (block for block in BLOCKS if "[corpora.train]" in block)
    config = Config().from_str(f"[corpora]\n{text}", interpolate=False)
    config["corpora"]["train"]["path"] = "train.spacy"
    assert callable(spacy.registry.resolve(config)["corpora"]["train"])
