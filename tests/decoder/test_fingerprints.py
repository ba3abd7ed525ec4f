import torch
from safetensors.torch import save_file

from spacy_lgu.decoder.fingerprints import fingerprint, fingerprint_folder


def test_fingerprint_by_eye(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(2)}, file)
    short = fingerprint(file)
    full = fingerprint_folder(tmp_path, full=True)["model.safetensors"]
    assert short == {"bytes": file.stat().st_size, "header_sha256": full["header_sha256"]}
    assert set(full) == {"bytes", "header_sha256", "sha256"}
    assert fingerprint_folder(tmp_path, full=True, remember=True)["model.safetensors"] == full
    assert fingerprint_folder(tmp_path, full=False)["model.safetensors"] == short
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    assert fingerprint(file) == short
    assert fingerprint_folder(tmp_path, full=True)["model.safetensors"]["sha256"] != full["sha256"]
