"""What README.md and docs/ show does what they say: every block of code is run or checked."""

import pytest

from .blocks import ROOT, list_pages, read_blocks
from .conftest import run

PAGES = [page for page in list_pages() if read_blocks((ROOT / page).read_text("utf8"), page)]


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of(page, server, folder):
    run(server, folder, "-m", "tests.docs.running", page)
