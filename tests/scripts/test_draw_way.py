import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from transformers import AutoTokenizer

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import draw_way

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(ROOT / "assets" / "decoder")


def count(svg, color):
    ElementTree.fromstring(svg)
    return len(re.findall(f'rx="3" fill="{color}"', svg))


def test_packing_draws_each_subtoken_twice_and_padding_once(tokenizer):
    encoded = draw_way.encode(["a b c", "a"], tokenizer)
    assert encoded.lengths.tolist() == [4, 2]  # <s> and a letter each
    svg = draw_way.draw_packing(encoded)
    assert "padded: 2 x 4 = 8 cells" in svg
    assert "packed: 6 cells" in svg
    assert [count(svg, color) for color in (draw_way.BLUE, draw_way.ORANGE, draw_way.EMPTY)] == [
        2 * 4,
        2 * 2,
        2,
    ]


def test_every_subtoken_is_read_from_one_window(tokenizer):
    texts = ["a b c d e f g"]
    causal, unmasked = (
        draw_way.encode(texts, tokenizer, window=5, causal=causal) for causal in (True, False)
    )
    assert len(unmasked.lengths) == 3  # a-d, c-f, d-g, each behind <s>
    svg = draw_way.draw_windows(causal, unmasked)
    assert count(svg, draw_way.ORANGE) == count(svg, draw_way.BLUE) == 7
    assert count(svg, draw_way.EMPTY) == 2 * (3 * 5 - 8)


def test_shared_subtokens_are_drawn_with_a_line_to_each_token(tokenizer):
    words = ["He", "said", ".", '"']
    shared, split = (
        draw_way.encode(['He said."'], tokenizer, split=split) for split in (False, True)
    )
    svg = draw_way.draw_splitting(words, shared, split)
    ElementTree.fromstring(svg)
    assert shared.strings[-1] == '."'
    assert split.strings[-2:] == [".", '"']
    assert len(re.findall(f'<path [^>]*stroke="{draw_way.ORANGE}"', svg)) == 2
    assert len(re.findall(f'<path [^>]*stroke="{draw_way.BLUE}"', svg)) == 2 + 4


@pytest.mark.parametrize("name", ["packing.svg", "splitting.svg", "windows.svg"])
def test_pictures_of_the_documentation_are_current(name, tmp_path):
    draw_way.main(tmp_path, str(ROOT / "assets" / "decoder"))
    assert (ROOT / "docs" / name).read_text("utf8") == (tmp_path / name).read_text("utf8")
