"""Exported decoders, as transformers alone runs them, have the pipeline's vectors and labels."""

import re
import shutil

import numpy
import pytest
import spacy
import torch
from numpy.testing import assert_allclose
from spacy.util import load_config
from transformers import CONFIG_MAPPING, AutoModel, AutoTokenizer

from spacy_lgu.decoder.int8_products import has_int8_products
from spacy_lgu.layers.finding import find_decoder
from spacy_lgu.sharing import exporting

from ..cli.conftest import failure, run
from ..conftest import IS_5, TEXTS, entity_examples, make_nlp, make_tokenizer, train_nlp
from ..decoder.reference_families import FAMILIES
from .conftest import NAME, load, save_nlp

needs_field = pytest.mark.skipif(not IS_5, reason="no field of a config says it in 4.53")
CASES = {
    "lora": {"unmasking": "cccc"},
    "nf4": {"unmasking": "cccc", "quantization": "nf4"},
    "dora, two layers": {"unmasking": "cc", "n_layers": 2, "lora_variant": "dora"},
    "full": {"unmasking": "cccc", "tuning": "full"},
    "frozen": {"unmasking": "c", "tuning": "frozen"},
}


def hidden_states(folder, **options) -> list[numpy.ndarray]:
    """What transformers alone computes for the texts."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, **options).eval()
    with torch.no_grad():
        batches = [tokenizer(text, return_tensors="pt") for text in TEXTS]
        return [model(**b).last_hidden_state[0].float().numpy() for b in batches]


def own_states(folder, component=None) -> list[numpy.ndarray]:
    """What the pipeline's decoder computes for the same subtokens."""
    built = find_decoder(load(folder), component)[1].ready
    rows = [numpy.array(built.tokenizer(text)["input_ids"]) for text in TEXTS]
    return [built.decoder.predict(ids, numpy.array([len(ids)]), 1000).numpy() for ids in rows]


def assert_equal(found, expected, atol=1e-4):
    for X, Y in zip(found, expected, strict=True):
        assert_allclose(X, Y, atol=atol)


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_transformers_alone_computes_the_same(decoder_folder, tmp_path, options):
    folder = save_nlp(decoder_folder, tmp_path / "pipeline", pipes=(), **options)
    printed = " ".join(run("lgu", "export", folder, tmp_path / "out").split())
    n_layers = options.get("n_layers", 4)
    assert f"holds {n_layers} layers of transformer, in float32" in printed
    assert "of their length from the pipeline's (0.01 is accepted)" in printed
    assert AutoModel.from_pretrained(tmp_path / "out").config.num_hidden_layers == n_layers
    assert_equal(hidden_states(tmp_path / "out"), own_states(folder))


@pytest.mark.parametrize("inside", [False, True])
def test_of_a_pipeline_that_is_served_in_int8_the_exact_weights(decoder_folder, tmp_path, inside):
    folder = save_nlp(decoder_folder, tmp_path / "pipeline", pipes=("ner",), unmasking="cccc")
    expected = own_states(folder)
    nlp = spacy.load(folder, config={"components.transformer.model.products": "int8"})
    assert has_int8_products(find_decoder(nlp, None)[1].ready.decoder)
    if inside:
        nlp = spacy.load(folder)
        nlp.replace_listeners("transformer", "ner", ["model.tok2vec"])
        nlp.remove_pipe("transformer")
        nlp.config["components"]["ner"]["model"]["tok2vec"]["products"] = "int8"
    nlp.to_disk(tmp_path / "served")
    run("lgu", "export", tmp_path / "served", tmp_path / "out")
    assert_equal(hidden_states(tmp_path / "out"), expected)


@needs_field
@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("mistral", {"sliding_window": 4}),
        ("qwen3", {}),
        (
            "gemma3_text",
            {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]},
        ),
    ],
)
def test_a_config_says_that_all_is_seen(tmp_path, family, values):
    tokenizer = make_tokenizer()
    config = CONFIG_MAPPING[family](
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=64,
        initializer_range=0.1, pad_token_id=None, bos_token_id=0, eos_token_id=1, **values,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    folder = save_nlp(tmp_path / "base", tmp_path / "pipeline", pipes=(), unmasking="bb")
    run("lgu", "export", folder, tmp_path / "out")
    assert_equal(hidden_states(tmp_path / "out"), own_states(folder))
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "all layers see the whole text" in readme
    assert "transformers before 5 passes over it" in readme


@pytest.mark.skipif(IS_5, reason="5 has a field for it")
def test_no_config_says_that_all_is_seen(decoder_folder, tmp_path):
    folder = save_nlp(decoder_folder, tmp_path / "pipeline", pipes=(), unmasking="bbbb")
    message = failure("lgu", "export", folder, tmp_path / "out")
    assert "has no field of a config that tells decoders of the family 'mistral' so" in message


def test_a_mask_says_that_all_is_seen(decoder_folder, tmp_path, monkeypatch):
    folder = save_nlp(decoder_folder, tmp_path / "pipeline", pipes=(), unmasking="bbbb")
    run("lgu", "export", folder, tmp_path / "out", "--by-mask")
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(read_code(tmp_path / "out"), found)
    built = find_decoder(load(folder), None)[1].ready
    ids = found["ids"][0].numpy()
    expected = built.decoder.predict(ids, numpy.array([len(ids)]), 1000)
    assert_allclose(found["vectors"][0].detach().numpy(), expected.numpy(), atol=1e-4)


def read_code(folder) -> str:
    """The code in a model's README.md."""
    (code,) = re.findall("```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    return code


def test_half_precision(decoder_folder, tmp_path):
    folder = save_nlp(
        decoder_folder, tmp_path / "pipeline", pipes=(), unmasking="cc", dtype="bfloat16"
    )
    printed = " ".join(run("lgu", "export", folder, tmp_path / "out").split())
    assert "in bfloat16" in printed
    found = hidden_states(tmp_path / "out", torch_dtype="auto")
    assert_equal(found, own_states(folder), atol=0.15)
    printed = run("lgu", "export", folder, tmp_path / "out", "--dtype", "float32", "--force")
    assert "in float32" in " ".join(printed.split())


def test_a_decoder_inside_a_component_and_several(hub_cache, tmp_path):
    nlp = load(save_nlp(NAME, tmp_path / "saved", unmasking="cc"))
    nlp.add_pipe("sentencizer")
    nlp.replace_listeners("transformer", "ner", ["model.tok2vec"])
    nlp.to_disk(tmp_path / "replaced")
    message = failure("lgu", "export", tmp_path / "replaced", tmp_path / "out")
    assert "with a decoder are ['ner', 'transformer'], but none was named" in message
    message = failure("lgu", "export", tmp_path / "replaced", tmp_path / "out", "--name", "no")
    assert "--name is 'no': expected one of them" in message
    run("lgu", "export", tmp_path / "replaced", tmp_path / "out", "--name", "ner")
    assert_equal(hidden_states(tmp_path / "out"), own_states(tmp_path / "replaced", "ner"))


@pytest.fixture(scope="module")
def labeler(decoder_folder, tmp_path_factory):
    """A trained sequence labeler on a causal decoder. RETURNS: Its folder."""
    nlp = make_nlp(decoder_folder, pipes=(), unmasking="cccc")
    head = nlp.add_pipe("sequence_labeler")
    head.initialize(lambda: entity_examples(nlp), nlp=nlp)
    train_nlp(nlp, steps=15)
    head.cfg["temperature"] = 2.0
    folder = tmp_path_factory.mktemp("labeler") / "pipeline"
    nlp.to_disk(folder)
    return folder


# Said of every tokenizer on bytes, by "first" as well as by the other strategies.
@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words:UserWarning")
def test_labels(labeler, tmp_path, monkeypatch):
    printed = run("lgu", "export", labeler, tmp_path / "out", "--head", "sequence_labeler")
    assert "layers of transformer and a classifier of 5 tags" in " ".join(printed.split())
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(read_code(tmp_path / "out"), found)
    n_found = 0
    for example in entity_examples(nlp := load(labeler)):
        doc = nlp(example.text)
        groups = found["label"](example.text)
        assert [
            (g["entity_group"], example.text[g["start"] : g["end"]].strip()) for g in groups
        ] == [(ent.label_, ent.text) for ent in doc.ents]
        n_found += len(groups)
    assert n_found >= 4
    # The same folder is also the decoder alone.
    assert_equal(hidden_states(tmp_path / "out"), own_states(labeler))


@pytest.mark.parametrize(
    ("head", "changes", "message"),
    [
        ("no", {}, "There is no component 'no' in the pipeline"),
        ("transformer", {}, "is of the factory 'lgu_transformer', which no class"),
        (
            "sequence_labeler",
            {"pooling": {"@layers": "reduce_mean.v1"}},
            "reads tokens by 'reduce_mean.v1', but",
        ),
        ("sequence_labeler", {"upstream": "other"}, "does not read the vectors of 'transformer'"),
    ],
)
def test_other_heads_are_refused(labeler, tmp_path, head, changes, message):
    copied = shutil.copytree(labeler, tmp_path / "copied")
    config = load_config(copied / "config.cfg")
    config["components"]["sequence_labeler"]["model"]["tok2vec"].update(changes)
    config.to_disk(copied / "config.cfg")
    run("lgu", "verify", copied, "--record")
    assert message in failure("lgu", "export", copied, tmp_path / "out", "--head", head)


def test_a_family_without_a_class_for_tokens(labeler, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "spacy_lgu.sharing.token_classes.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING", {}
    )
    message = failure("lgu", "export", labeler, tmp_path / "out", "--head", "sequence_labeler")
    assert "no class for token classification with decoders of the family 'mistral'" in message


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({"unmasking": "ccbb"}, [], "'ccbb', under which 2 layers see everything and 2 only"),
        ({"unmasking": "cc", "repeat": 1}, [], "reads each sequence 2 times (repeat = 1)"),
        ({"read_previous": True}, [], "gives each subtoken the vector of the one before it"),
        ({"unmasking": "cc"}, ["--by-mask"], "no layer needs a mask. Leave it out"),
        ({"unmasking": "cc"}, ["--dtype", "int4"], "--dtype is 'int4': expected 'auto' or one"),
    ],
)
def test_refused_before_a_weight_is_read(
    decoder_folder, tmp_path, monkeypatch, options, arguments, message
):
    folder = save_nlp(decoder_folder, tmp_path / "pipeline", pipes=(), **options)
    monkeypatch.delattr(exporting.spacy, "load")
    assert message in failure("lgu", "export", folder, tmp_path / "out", *arguments)


def test_a_head_needs_a_model_without_masks(decoder_folder, tmp_path):
    nlp = make_nlp(decoder_folder, pipes=(), unmasking="b")
    nlp.add_pipe("sequence_labeler").initialize(lambda: entity_examples(nlp), nlp=nlp)
    nlp.to_disk(tmp_path / "pipeline")
    arguments = ("--by-mask", "--head", "sequence_labeler")
    message = failure("lgu", "export", tmp_path / "pipeline", tmp_path / "out", *arguments)
    assert "--head was given with --by-mask" in message


def test_what_does_not_agree_is_not_kept(labeler, tmp_path, monkeypatch):
    merge = exporting.merge_decoder

    def forget_adapter(module, config, adapter):
        return merge(module, config, None)

    monkeypatch.setattr(exporting, "merge_decoder", forget_adapter)
    message = failure("lgu", "export", labeler, tmp_path / "out")
    assert "computes other vectors than the pipeline" in message
    assert not (tmp_path / "out").exists()


def test_another_tokenizer_is_not_kept(labeler, tmp_path, monkeypatch):
    def write_other(built, folder):
        make_tokenizer(bos=False).save_pretrained(folder)

    monkeypatch.setattr(exporting, "_write_tokenizer", write_other)
    message = failure("lgu", "export", labeler, tmp_path / "out")
    assert "splits text otherwise than the pipeline's" in message


@pytest.mark.skipif(not IS_5, reason="4.53 has them one by one itself")
def test_experts_that_were_quantized_one_by_one(tmp_path):
    tokenizer = make_tokenizer()
    (family,) = (f for f in FAMILIES if f.name == "qwen3_moe")
    config = family.config(vocab_size=len(tokenizer))
    AutoModel.from_config(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    folder = save_nlp(
        tmp_path / "base", tmp_path / "p", pipes=(), unmasking="c", quantization="nf4"
    )
    message = failure("lgu", "export", folder, tmp_path / "out")
    assert "has experts that were quantized one by one" in message
