import math

import pytest

from benchmarks.bits_per_byte import detokenize, main, read_wikitext
from tests.conftest import make_decoder

# Every line begins and ends with a space.
LINES = [
    "",
    "= Ann Lee =",
    "",
    "Ann Lee ( born 3 May 1921 ) was a <unk> .",
    "",
    "= = Early life = =",
    "",
    "She did n't own 1 @,@ 200 books .",
    "",
    "= Oslo =",
    "",
    "Oslo is a city .",
]
WIKITEXT = "".join(f" {line} \n" if line else " \n" for line in LINES)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("a star @-@ shaped , 1 @,@ 200 m ( 3 @.@ 5 % )", "a star-shaped, 1,200 m (3.5%)"),
        ('he said : " yes ; no ? " and left', 'he said: "yes; no?" and left'),
        ("it 's the boys ' , is n't it ? I 'm sure", "it's the boys ', isn't it? I'm sure"),
        ("= = = Sources = = =", "Sources"),
    ],
)
def test_tokens_are_put_back_together(tokens, text):
    assert detokenize(tokens) == text


def test_wikitext_is_cut_at_titles(tmp_path):
    (tmp_path / "test.txt").write_text(WIKITEXT, encoding="utf8")
    assert list(read_wikitext(tmp_path / "test.txt")) == [
        "Ann Lee\nAnn Lee (born 3 May 1921) was a <unk>.\nEarly life\nShe didn't own 1,200 books.",
        "Oslo\nOslo is a city.",
    ]


def test_a_row_per_decoder_and_a_column_per_text(tmp_path, text_file, capsys):
    decoder = make_decoder(tmp_path / "decoder")
    (tmp_path / "test.txt").write_text(WIKITEXT, encoding="utf8")
    # The tiny decoder was made for fewer positions than a window has; texts are shorter.
    main([str(decoder)], [f"a={text_file}", f"b={tmp_path / 'test.txt'}"], 3, 60)
    header, _, row = capsys.readouterr().out.splitlines()
    assert header == "| decoder | a | b |"
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == str(decoder)
    assert all(0 < float(cell) < 2 * math.log2(400) for cell in cells[1:])
