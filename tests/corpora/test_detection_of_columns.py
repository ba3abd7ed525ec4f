"""Which files of columns, with numbers or offsets, say what they are."""

import pytest

from spacy_lgu.corpora.formats import detect_format

WORD = "{}\tMira\tMira\tPROPN\t_\t_\t0\troot\t_\tname=B-PER\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Mira B-PER\nleft O\n", "conll"),
        ("# text = Mira Mira\n" + WORD.format(1) + WORD.format("2-3"), "conllu"),
        ("#\thttp://example.org\t[2010]\n1\tMira\tB-PER\tO\n", "germeval"),
        ("#FORMAT=WebAnno TSV 3.3\n\n\n#Text=[a|B]\n1-1\t0-5\t[a|B]\t\n", "webanno-tsv"),
        ("11|t|Of [a|B]\n11|a|Mira\n11\t0\t2\tOf\tX\t1\n", "pubtator"),
    ],
)
def test_formats_are_detected(tmp_path, content, expected):
    path = tmp_path / "a.txt"
    path.write_text(content)
    assert detect_format([path], report=print) == expected
