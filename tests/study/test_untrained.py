"""Decoders with random weights."""

from safetensors.torch import load_file

from spacy_lgu.study.untrained import make_untrained

from ..conftest import make_decoder


def test_same_shape_and_tokenizer_other_weights(tmp_path):
    decoder_folder = make_decoder(tmp_path / "decoder", seed=3)
    make_untrained(str(decoder_folder), tmp_path / "a")
    make_untrained(str(decoder_folder), tmp_path / "b")
    trained, a, b = (
        load_file(folder / "model.safetensors")
        for folder in (decoder_folder, tmp_path / "a", tmp_path / "b")
    )
    assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in trained.items()}
    name = "model.layers.0.mlp.up_proj.weight"
    assert (a[name] == b[name]).all()
    assert (a[name] != trained[name]).float().mean() > 0.99
    tokenizers = [folder / "tokenizer.json" for folder in (decoder_folder, tmp_path / "a")]
    assert tokenizers[0].read_bytes() == tokenizers[1].read_bytes()
