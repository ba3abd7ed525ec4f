"""The config of studies: every encoder with every head, by spaCy's own `train`."""

import pytest
import spacy
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaModel

from spacy_lgu.study.plan import CONFIG

from ..cli.conftest import run, write_corpus
from ..conftest import make_tokenizer, needs_stock

HEADS = ["sequence_labeler", "ner", "spancat", "spancat_singlelabel"]
# spacy-transformers 1.4 and thinc 8.3 call torch.cuda.amp by its older names.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.cuda.amp:FutureWarning")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "train.spacy")


@pytest.fixture(scope="module")
def roberta_folder(tmp_path_factory):
    """A random RoBERTa: 2 layers, width 32."""
    folder = tmp_path_factory.mktemp("roberta")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer().backend_tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="</s>",
        model_max_length=64,
    )
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=66,
        pad_token_id=1,
    )
    RobertaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train(output, corpus, encoder, head, *overrides):
    pipeline = (
        f'["{encoder}","{head}"]' if encoder == "cnn" else f'["{encoder}","{head}","doc_cleaner"]'
    )
    run(
        "train", CONFIG, "--output", output,
        "--paths.train", corpus, "--paths.dev", corpus,
        "--nlp.pipeline", pipeline,
        "--head.listener", f"${{listeners.{encoder}}}",
        "--training.max_steps", 2,
        "--training.eval_frequency", 1,
        "--training.batcher.size", 4,
        "--training.optimizer.learn_rate.total_steps", 2,
        "--training.optimizer.learn_rate.warmup_steps", 0,
        *overrides,
    )  # fmt: skip
    return spacy.load(output / "model-last")


@pytest.mark.parametrize("head", HEADS)
def test_decoder(tmp_path, corpus, decoder_folder, head):
    nlp = train(tmp_path, corpus, "decoder", head, "--paths.decoder", decoder_folder)
    assert nlp.pipe_names == ["decoder", head, "doc_cleaner"]
    assert nlp.config["components"]["decoder"]["model"]["tuning"] == "full"


@pytest.mark.parametrize("head", HEADS)
def test_cnn(tmp_path, corpus, head):
    nlp = train(tmp_path, corpus, "cnn", head)
    assert nlp.pipe_names == ["cnn", head]
    assert nlp.get_pipe("cnn").model.get_dim("nO") == 96


@needs_stock
@pytest.mark.parametrize("head", HEADS)
def test_roberta(tmp_path, corpus, roberta_folder, head):
    nlp = train(tmp_path, corpus, "encoder", head, "--paths.encoder", roberta_folder)
    assert nlp.pipe_names == ["encoder", head, "doc_cleaner"]
    assert nlp.get_pipe("encoder").model.get_dim("nO") == 32


def test_qlora_is_two_overrides(tmp_path, corpus, decoder_folder):
    nlp = train(
        tmp_path, corpus, "decoder", "ner", "--paths.decoder", decoder_folder,
        "--components.decoder.model.quantization", "nf4",
        "--components.decoder.model.tuning", "lora",
        "--components.decoder.model.unmasking", "cccb",
    )  # fmt: skip
    assert (tmp_path / "model-last" / "decoder" / "adapter").is_dir()
    assert nlp.config["components"]["decoder"]["model"]["unmasking"] == "cccb"
