import pytest
import torch
from torch.testing import assert_close
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from spacy_lgu.decoder.refusals import FamilyError
from spacy_lgu.decoder.source import find_source
from spacy_lgu.pretraining.head import check_head, load_head
from tests.conftest import make_decoder
from tests.decoder.reference import FAMILIES, Family


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_heads_of_tested_families_are_plain_matrices(family):
    check_head(family.config())


@pytest.mark.parametrize(
    ("family", "values"),
    [("granite", {"logits_scaling": 8.0}), ("cohere", {"logit_scale": 0.25}), ("phi", {})],
)
def test_scaled_logits_and_biases_are_refused(family, values):
    config = Family(family, family, values).config()
    with pytest.raises(FamilyError, match=f"family '{family}' cannot be adapted: their LM head"):
        check_head(config)


def test_the_check_of_a_head_leaves_the_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    check_head(FAMILIES[0].config())
    assert_close(torch.rand(3), expected)


def logits_by_hand(folder, base):
    ids = torch.tensor([[0, 5, 9]])
    head = load_head(base, find_source(str(folder)))
    expected = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
    return base(ids).last_hidden_state @ head.T, expected


def test_a_head_of_its_own_is_read_from_the_weights(decoder_folder):
    base = AutoModel.from_pretrained(decoder_folder)
    assert not base.config.tie_word_embeddings
    assert_close(*logits_by_hand(decoder_folder, base))


def test_a_tied_head_is_the_embeddings(tmp_path):
    model = AutoModelForCausalLM.from_config(
        AutoConfig.from_pretrained(make_decoder(tmp_path / "a"), tie_word_embeddings=True)
    )
    model.save_pretrained(tmp_path / "tied")
    base = AutoModel.from_pretrained(tmp_path / "tied")
    assert load_head(base, find_source(str(tmp_path / "tied"))) is base.embed_tokens.weight
    assert_close(*logits_by_hand(tmp_path / "tied", base))


def test_weights_without_a_head(decoder_folder, tmp_path):
    base = AutoModel.from_pretrained(decoder_folder)
    base.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"hold no LM head \('lm_head.weight' is missing\)"):
        load_head(base, find_source(str(tmp_path)))
