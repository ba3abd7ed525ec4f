import re
import sys
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import draw_masks

ROOT = Path(__file__).parents[2]


def test_causal_groups_are_triangles_and_bidirectional_ones_squares():
    svg = draw_masks.draw_masks("cb", 6)
    ElementTree.fromstring(svg)
    seen = {
        unmasked: len(re.findall(f'rx="3" fill="{color}"', svg))
        for unmasked, color in draw_masks.COLORS.items()
    }
    # Five words: 5 + 4 + 3 + 2 + 1 cells, and 5 * 5.
    assert seen == {False: 15, True: 25}
    assert "layers 0-2" in svg
    assert "layers 3-5" in svg


def test_the_picture_in_the_readme_is_what_the_script_draws(tmp_path):
    draw_masks.main(tmp_path / "masks.svg")
    assert (tmp_path / "masks.svg").read_text() == (ROOT / "docs" / "masks.svg").read_text()
