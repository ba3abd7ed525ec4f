import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from spacy_lgu.decoder.refusals import FamilyError
from spacy_lgu.decoder.source import find_source
from spacy_lgu.pretraining.head import check_head, load_head
from tests.conftest import make_decoder
from tests.decoder.reference_families import FAMILIES, Family

# Their logits are scaled or capped, or have a bias.
NOT_PLAIN = ("cohere", "cohere2", "gemma2", "minicpm3", "modernbert-decoder", "phi", "vaultgemma")
PLAIN = [family for family in FAMILIES if family.name not in NOT_PLAIN]


@pytest.mark.parametrize("family", PLAIN, ids=[family.name for family in PLAIN])
def test_heads_of_tested_families_are_plain_matrices(family):
    check_head(family.config())


# 4.53 reads an attribute of its own that it warns about.
@pytest.mark.filterwarnings("ignore:The `sliding_window_pattern` attribute:FutureWarning")
@pytest.mark.parametrize("family", [family for family in FAMILIES if family.name in NOT_PLAIN])
def test_other_heads_of_tested_families_are_refused(family):
    with pytest.raises(FamilyError, match=r"LM head is not a plain matrix"):
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


def test_a_head_under_another_name(tmp_path):
    """GPT-NeoX is published with its head as embed_out."""
    model = AutoModelForCausalLM.from_config(Family("gpt_neox", "gpt_neox", {}).config())
    model.save_pretrained(tmp_path)
    assert "embed_out.weight" in load_file(tmp_path / "model.safetensors")
    base = AutoModel.from_pretrained(tmp_path)
    assert_close(*logits_by_hand(tmp_path, base))


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
