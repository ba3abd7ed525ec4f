import pytest

from spacy_lgu.corpora.germeval import read_germeval

NEWS = """#\thttp://example.org/a\t[2010-01-02]
1\tErster\tB-ORG\tO
2\tFC\tI-ORG\tO
3\tLindberg\tI-ORG\tB-LOC

#\thttp://example.org/b\t[2010-01-03]
1\t#\tO\tO
2\t1\tO\tO
"""


def test_both_columns(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(NEWS)
    notes = []
    texts = list(read_germeval(path, report=notes.append))
    assert [text.words for text in texts] == [["Erster", "FC", "Lindberg"], ["#", "1"]]
    assert [text.spans for text in texts] == [[(0, 3, "ORG"), (2, 3, "LOC")], []]
    assert [text.document for text in texts] == [f"{path}:1", f"{path}:6"]
    assert notes == []


def test_errors_name_the_line(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(NEWS.replace("B-LOC", "I-LOC"))
    with pytest.raises(ValueError, match=r"a\.tsv:4: not iob2: I-LOC follows O"):
        list(read_germeval(path, report=print))
