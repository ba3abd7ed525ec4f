import pytest
import spacy

from spacy_lgu.layers.finding import find_decoder

from ..conftest import layer_config


def test_the_decoder_of_a_pipeline_is_found(decoder_folder):
    nlp = spacy.blank("en")
    with pytest.raises(ValueError, match=r"Expected one pipe with a decoder .* but found \[\]"):
        find_decoder(nlp, None)
    for name in ("one", "two"):
        nlp.add_pipe("lgu_transformer", name=name, config={"model": layer_config(decoder_folder)})
    with pytest.raises(ValueError, match=r"found \['one', 'two'\]. Name one with --component"):
        find_decoder(nlp, None)
    assert find_decoder(nlp, "two")[1] is nlp.get_pipe("two").model.shims[0]
    with pytest.raises(ValueError, match=r"pipe 'three' has no decoder. Name one that has: \['"):
        find_decoder(nlp, "three")
    nlp.remove_pipe("two")
    assert find_decoder(nlp, None) == ("one", nlp.get_pipe("one").model.shims[0])
