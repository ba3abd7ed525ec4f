import errno
import os
import shutil

import pytest
import torch

from spacy_lgu.decoder.storage import decoder_to_files
from spacy_lgu.decoder.verification import verify_decoder

from .helpers import build, list_names, restore, save, shake, vectors


def inode(folder):
    return (folder / "base" / "model.safetensors").stat().st_ino


def test_a_later_save_is_linked_to_the_bundle_that_it_replaces(decoder_folder, tmp_path):
    built = build(decoder_folder)
    save(built, tmp_path / "x")
    first = inode(tmp_path / "x")
    save(built, tmp_path / "x")
    assert inode(tmp_path / "x") == first
    save(restore(tmp_path / "x", built), tmp_path / "x")
    assert inode(tmp_path / "x") == first


def test_a_save_elsewhere_is_a_copy_unless_it_is_to_be_linked(decoder_folder, tmp_path):
    built = build(decoder_folder)
    save(built, tmp_path / "x")
    first = inode(tmp_path / "x")
    shake(built.decoder)
    expected = vectors(built)
    save(built, tmp_path / "copy")
    assert inode(tmp_path / "copy") != first
    copied = inode(tmp_path / "copy")
    save(restore(tmp_path / "copy", built), tmp_path / "y", "link")
    save(restore(tmp_path / "y", built), tmp_path / "z", "link")
    assert inode(tmp_path / "y") == inode(tmp_path / "z") == copied
    for name in ("x", "copy", "y"):
        shutil.rmtree(tmp_path / name)
    assert torch.equal(vectors(restore(tmp_path / "z", built)), expected)


def test_bundle_is_copied_where_links_are_impossible(decoder_folder, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    built = build(decoder_folder)
    save(built, tmp_path / "x")
    monkeypatch.setattr(os, "link", refuse)
    for name in ("y", "z"):
        save(built, tmp_path / name, "link")
        assert inode(tmp_path / name) != inode(tmp_path / "x")
        assert verify_decoder(tmp_path / name) == []
    assert torch.equal(vectors(restore(tmp_path / "z", built)), vectors(built))


def test_other_errors_of_linking_are_raised(decoder_folder, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EIO, "Input/output error")

    built = build(decoder_folder)
    save(built, tmp_path / "x")
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        save(built, tmp_path / "y", "link")
    assert list_names(tmp_path) == [f"x/{name}" for name in list_names(tmp_path / "x")]


def test_a_bundle_that_another_pipeline_replaced_is_not_linked_to(
    decoder_folder, other_decoder_folder, tmp_path
):
    built, other = build(decoder_folder), build(other_decoder_folder)
    expected = vectors(built)
    save(built, tmp_path / "x")
    save(other, tmp_path / "x")
    save(built, tmp_path / "y", "link")
    assert torch.equal(vectors(restore(tmp_path / "y", built)), expected)


def test_a_bundle_that_is_gone_is_written_again(decoder_folder, tmp_path):
    built = build(decoder_folder)
    save(built, tmp_path / "x")
    shutil.rmtree(tmp_path / "x")
    save(built, tmp_path / "y")
    assert torch.equal(vectors(restore(tmp_path / "y", built)), vectors(built))


def test_bytes_leave_the_bundle_linkable(decoder_folder, tmp_path):
    built = build(decoder_folder)
    save(built, tmp_path / "x")
    decoder_to_files(built)
    save(built, tmp_path / "y", "link")
    assert inode(tmp_path / "x") == inode(tmp_path / "y")
