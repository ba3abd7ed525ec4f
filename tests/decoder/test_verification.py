import torch

from spacy_lgu.decoder.verification import record_decoder, verify_decoder

from .helpers import build, edit_json, restore, save, vectors


def flip_last_byte(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def test_verification_finds_one_flipped_byte(saved):
    built, folder = saved
    assert verify_decoder(folder) == []
    flip_last_byte(folder / "base" / "model.safetensors")
    restore(folder, built)  # by sizes and headers it is the same
    assert verify_decoder(folder) == ["base/model.safetensors"]


def test_verification_of_a_fully_trained_decoder(decoder_folder, tmp_path):
    save(build(decoder_folder, tuning="full"), tmp_path / "x")
    assert verify_decoder(tmp_path / "x") == []
    flip_last_byte(tmp_path / "x" / "weights" / "model.safetensors")
    assert verify_decoder(tmp_path / "x") == ["weights/model.safetensors"]


def test_verification_looks_at_the_base_that_is_referred_to(referring):
    _, folder, base = referring
    assert verify_decoder(folder) == []
    flip_last_byte(base / "model.safetensors")
    assert verify_decoder(folder) == [f"{base}/model.safetensors"]


def test_description_changed_on_purpose(saved):
    built, folder = saved
    expected = vectors(built)
    edit_json(folder / "lgu.json", dtype="bfloat16")
    record_decoder(folder)
    assert verify_decoder(folder) == []
    assert torch.equal(vectors(restore(folder, built, dtype="float32")), expected)
