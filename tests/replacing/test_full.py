"""A full disk, in words that say where and what to do."""

import errno
import os

import pytest

from spacy_lgu.replacing import explaining_full_disk


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_once(tmp_path, number):
    with (
        pytest.raises(OSError) as raised,
        explaining_full_disk(tmp_path, "go on"),
        explaining_full_disk(tmp_path / "within", "try again"),
    ):
        raise OSError(number, os.strerror(number))
    (note,) = raised.value.__notes__
    place = tmp_path / "within"
    assert note == f"There is no space left for {str(place)!r}. Free some, and try again."


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyError("x")])
def test_other_errors_pass(tmp_path, error):
    with pytest.raises(type(error)) as raised, explaining_full_disk(tmp_path, "go on"):
        raise error
    assert not hasattr(raised.value, "__notes__")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_what_the_system_says(tmp_path):
    with (
        pytest.raises(OSError, match="No space left on device") as raised,
        explaining_full_disk(tmp_path, "go on"),
        open("/dev/full", "wb") as stream,
    ):
        stream.write(b"x" * 100_000)
    assert raised.value.filename is None
    assert str(tmp_path) in raised.value.__notes__[0]
