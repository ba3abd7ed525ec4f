import torch
from safetensors.torch import save_file

from spacy_lgu.decoder.fingerprints import fingerprint


def test_fingerprint_by_eye(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(2)}, file)
    short, full = fingerprint(file, full=False), fingerprint(file, full=True)
    assert short == {"bytes": file.stat().st_size, "header_sha256": full["header_sha256"]}
    assert set(full) == {"bytes", "header_sha256", "sha256"}
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    assert fingerprint(file, full=False) == short
    assert fingerprint(file, full=True)["sha256"] != full["sha256"]
