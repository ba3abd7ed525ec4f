"""What a card says of a pipeline, without a hub."""

import srsly

from spacy_lgu.sharing.card import CardFacts, draw_pattern, write_card


def facts(**meta) -> CardFacts:
    scores = {"tag_acc": 0.5, "cats_score": 1, "flag": True, "speed": 9.0, "ner_loss": 3.0}
    return CardFacts(repo_id="org/name", meta=meta, decoders={}, scores=scores, scored_on="a test")


def header(card: str) -> dict:
    return srsly.yaml_loads(card.split("---\n")[1])


def test_a_pattern_as_text():
    assert draw_pattern("cbbc", 9).splitlines() == [
        "layers 7-8   c  <--   the past alone",
        "layers 3-6   b  <-->  the whole text",
        "layers 0-2   c  <--   the past alone",
    ]
    assert draw_pattern("cb", 2).splitlines()[1] == "layer 0   c  <--   the past alone"


def test_what_is_not_recorded_is_left_out():
    found = header(write_card(facts(), None))
    assert not {"license", "language", "base_model"} & found.keys()


def test_licences_and_languages():
    found = header(write_card(facts(license="Ours", lang="xx"), None))
    assert (found["license"], found["license_name"]) == ("other", "Ours")
    assert found["language"] == "multilingual"
    assert header(write_card(facts(license="Apache-2.0"), None))["license"] == "apache-2.0"


def test_scores_and_sources():
    sources = [{"name": "A", "url": "https://a.org", "license": "MIT"}, {"name": "B"}, "C"]
    card = write_card(facts(description="Finds names.", sources=sources), None)
    assert "| `tag_acc` | 0.5000 |\n| `cats_score` | 1.0000 |\n\n" in card
    assert "- [A](https://a.org) (MIT)\n- B\n" in card
    assert "# name\n\nFinds names.\n" in card
    (result,) = header(card)["model-index"][0]["results"]
    assert result["metrics"] == [{"name": "tag_acc", "type": "accuracy", "value": 0.5}]


def test_a_tag_that_is_no_list():
    card = write_card(facts(), "---\ntags: mine\n---\n\nText.\n")
    assert header(card)["tags"] == ["mine", "spacy", "token-classification", "spacy-lgu"]
