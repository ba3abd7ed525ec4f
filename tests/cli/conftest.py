"""What the tests of commands share: commands in this process, a corpus, a trained pipeline."""

import shutil
from pathlib import Path

import pytest
import spacy
import spacy.cli
from spacy.tokens import DocBin
from spacy.util import load_config
from typer.testing import CliRunner

import spacy_lgu.cli  # noqa: F401  (adds its commands to spaCy's, as the entry point does)

ROOT = Path(__file__).parents[2]
NER_CONFIG = ROOT / "configs" / "lgu_mistral_ner.cfg"
SENTENCES = [
    ("Ann Lee works in Rome.", [(0, 7, "PERSON"), (17, 21, "GPE")]),
    ("Bo Ray moved to Oslo.", [(0, 6, "PERSON"), (16, 20, "GPE")]),
    ("Nothing happened here.", []),
    ("Rome and Oslo like Ann Lee.", [(0, 4, "GPE"), (9, 13, "GPE"), (19, 26, "PERSON")]),
]


def run(*args) -> str:
    """Run `python -m spacy ARGS` and return what it printed."""
    result = CliRunner().invoke(spacy.cli.app, [str(arg) for arg in args])
    if result.exception is not None and not (
        isinstance(result.exception, SystemExit) and result.exit_code == 0
    ):
        raise AssertionError(f"{args}: {result.output}") from result.exception
    return result.output


def failure(*args) -> str:
    """What a command that fails prints, in one line."""
    with pytest.raises(AssertionError) as error:
        run(*args)
    return " ".join(str(error.value).split())


def entities(doc) -> list[tuple[str, str]]:
    return [(ent.text, ent.label_) for ent in doc.ents]


def add_own_component(pipeline: Path, folder: Path, factory: str) -> Path:
    """Copy a pipeline and append a component "own" to it. RETURNS: The code it needs."""
    code = folder.with_name("own_parts.py")
    code.write_text(
        f"import spacy\n@spacy.Language.component({factory!r})\ndef pass_on(doc):\n    return doc\n"
    )
    shutil.copytree(pipeline, folder)
    config = load_config(folder / "config.cfg")
    config["nlp"]["pipeline"].append("own")
    config["components"]["own"] = {"factory": factory}
    config.to_disk(folder / "config.cfg")
    return code


def write_corpus(path: Path) -> Path:
    """The sentences three times, with entities and the same spans under the key sc."""
    nlp = spacy.blank("en")
    docs = []
    for text, spans in SENTENCES * 3:
        doc = nlp.make_doc(text)
        doc.ents = [doc.char_span(start, end, label=label) for start, end, label in spans]
        doc.spans["sc"] = list(doc.ents)
        docs.append(doc)
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """train.spacy. Not to be changed."""
    return write_corpus(tmp_path_factory.mktemp("corpus") / "train.spacy")


@pytest.fixture(scope="session")
def overrides(decoder_folder, corpus) -> list:
    return [
        "--paths.decoder", decoder_folder,
        "--paths.train", corpus,
        "--paths.dev", corpus,
        "--components.transformer.model.lora.rank", 4,
        "--training.max_steps", 16,
        "--training.optimizer.learn_rate.total_steps", 16,
        "--training.eval_frequency", 8,
        "--training.optimizer.learn_rate.initial_rate", 0.02,
        "--training.optimizer.learn_rate.warmup_steps", 1,
    ]  # fmt: skip


@pytest.fixture(scope="session")
def ner_pipeline(tmp_path_factory, overrides) -> Path:
    """A NER pipeline, trained by the shipped config: NF4 and LoRA. Not to be changed."""
    output = tmp_path_factory.mktemp("ner")
    printed = run("train", NER_CONFIG, "--output", output, *overrides)
    assert "Saved pipeline" in printed
    return output / "model-last"
