from pathlib import Path

import pytest

from spacy_lgu.corpora.formats import list_files, read_docs
from spacy_lgu.corpora.options import OPTIONS
from spacy_lgu.corpora.registry import FORMATS, find_format


def test_files_of_a_folder_are_sorted(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "c.txt"):
        (tmp_path / name).touch()
    names = [path.name for path in list_files(tmp_path, "char-jsonl")]
    assert names == ["a.jsonl", "b.jsonl"]
    assert list_files(tmp_path / "c.txt", "char-jsonl") == [tmp_path / "c.txt"]


def test_suffixes_of_json(tmp_path):
    for name in ("a.json", "a.jsonl"):
        (tmp_path / name).touch()
    assert [path.name for path in list_files(tmp_path, "gliner")] == ["a.json", "a.jsonl"]
    assert list_files(tmp_path / "a.json", "gliner") == [tmp_path / "a.json"]


def test_subfolders_are_searched_and_capitals_of_a_suffix_do_not_matter(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.jsonl", "sub/a.JSONL", "sub/x.txt"):
        (tmp_path / name).touch()
    files = list_files(tmp_path, "char-jsonl")
    assert files == [tmp_path / "b.jsonl", tmp_path / "sub" / "a.JSONL"]
    (tmp_path / "sub" / "x.ann").touch()
    assert list_files(tmp_path, "brat") == [tmp_path / "sub" / "x.ann"]


def test_what_is_hidden_is_no_part_of_a_folder(tmp_path):
    for name in ("a.jsonl", ".ipynb_checkpoints/a-checkpoint.jsonl", ".b.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_files(tmp_path, "char-jsonl") == [tmp_path / "a.jsonl"]
    assert list_files(tmp_path / ".b.jsonl", "char-jsonl") == [tmp_path / ".b.jsonl"]


def test_files_without_a_text_are_reported(tmp_path):
    (tmp_path / "a.conll").write_text("Ann B-PER\n")
    (tmp_path / "b.conll").write_text("\n-DOCSTART- O\n\n")
    notes = []
    files = [tmp_path / "a.conll", tmp_path / "b.conll"]
    assert [doc.text for doc in read_docs(files, "conll", report=notes.append)] == ["Ann"]
    assert notes == [
        ("tag scheme detected: iob2", str(files[0])),
        ("file without a text", str(files[1])),
    ]


def test_texts_may_be_longer_than_a_parser_could_take(tmp_path):
    (tmp_path / "a.txt").write_text("abcd " * 200_001)
    (doc,) = read_docs([tmp_path / "a.txt"], "inline", report=print)
    assert len(doc.text) == 1_000_005


def test_messages_are_short_and_have_a_place(tmp_path):
    (tmp_path / "a.txt").write_text("Ann slept")
    (tmp_path / "a.ann").write_text(f"T1\tP 0 {'9' * 5000}\tAnn\n")
    (tmp_path / "a.conll").write_text(f"a B-{'X' * 5000}\nb I-Y\n")
    for name, format_name in (("a.ann", "brat"), ("a.conll", "conll")):
        with pytest.raises(ValueError, match=rf"{name}:\d: ") as error:
            list(read_docs([tmp_path / name], format_name, report=print))
        assert len(str(error.value)) < 3000


def test_a_brat_folder_has_pairs(tmp_path):
    for name in ("a.txt", "a.ann", "b.txt", "c.ann", "annotation.conf"):
        (tmp_path / name).touch()
    # What lacks its other half is listed too, for the reader to complain about.
    assert [path.name for path in list_files(tmp_path, "brat")] == ["a.ann", "b.ann", "c.ann"]


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file or folder '.*b\.txt'"):
        list_files(tmp_path / "b.txt", "inline")
    with pytest.raises(FileNotFoundError, match=r"no file \*\.ann or \*\.txt in the folder"):
        list_files(tmp_path, "brat")
    with pytest.raises(ValueError, match="is a folder, but files of the format conll have no suff"):
        list_files(tmp_path, "conll")


def test_every_option_of_a_reader_is_told_of():
    of_readers = {name for format_ in FORMATS.values() for name in format_.options}
    assert of_readers | {"misaligned", "lang", "spaces"} == set(OPTIONS)
    assert FORMATS["webanno-tsv"].options == ["layer", "feature", "label", "misaligned"]
    assert FORMATS["germeval"].options == []


def test_formats_by_name():
    with pytest.raises(ValueError, match=r"one of the formats conll, .*, but got 'conllx'"):
        find_format("conllx")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "inline",
            {"scheme": "io"},
            r"inline has no option --scheme, only --spaces, --misaligned, --lang",
        ),
        ("inline", {"sentences_per_doc": 2}, r"inline has no option --sentences-per-doc"),
        (
            "conll",
            {"offsets": "utf16"},
            r"conll has no option --offsets, only --column, --token-column",
        ),
        (
            "litbank-events",
            {"label": "X"},
            r"no option --label, only --sentences-per-doc, --spaces, ",
        ),
    ],
)
def test_options_of_other_formats_are_refused(tmp_path, name, options, message):
    with pytest.raises(ValueError, match=message):
        read_docs([tmp_path], name, report=print, **options)


def test_tokenizer_of_another_language(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("[z.B.|X] so", encoding="utf8")
    (doc,) = read_docs([path], "inline", report=print, lang="de")
    assert [token.text for token in doc] == ["z.B.", "so"]


def test_files_are_documents_of_their_own(tmp_path):
    paths: list[Path] = []
    for name in ("a.conll", "b.conll"):
        paths.append(tmp_path / name)
        paths[-1].write_text("Ann B-PER\n\nBo B-PER\n", encoding="utf8")
    docs = list(read_docs(paths, "conll", report=print, sentences_per_doc=0))
    assert [doc.text for doc in docs] == ["Ann Bo", "Ann Bo"]


def test_columns_of_nested_tags_overlap(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("1\tFC\tB-ORG\tO\n2\tLund\tI-ORG\tB-LOC\n")
    for name, options in (("germeval", {}), ("conll", {"column": [2, 3], "token_column": 1})):
        (doc,) = read_docs([path], name, report=print, spans_key="sc", **options)
        assert [(span.text, span.label_) for span in doc.spans["sc"]] == [
            ("FC Lund", "ORG"),
            ("Lund", "LOC"),
        ]
        with pytest.raises(
            ValueError, match=r"must not overlap(.|\n)*'FC Lund' \(ORG\) and 'Lund'"
        ):
            list(read_docs([path], name, report=print, **options))


def test_texts_of_exports_are_exact(tmp_path):
    path = tmp_path / "a.tsv"
    rows = ("1-1\t0-2\t😀\t_\t", "1-2\t4-8\tLund\tLOC\t", "1-3\t8-9\t.\t_\t")
    head = ("#FORMAT=WebAnno TSV 3.3", "#T_SP=x.Entity|value", "", "", "#Text=😀  Lund.")
    path.write_text("\n".join((*head, *rows)), encoding="utf8")
    (doc,) = read_docs([path], "webanno-tsv", report=print)
    assert doc.text == "😀  Lund."
    assert [(span.text, span.label_) for span in doc.ents] == [("Lund", "LOC")]
    path = tmp_path / "a.conllu"
    path.write_text("# text = Em Lund.\n1\tEm\tO\n2\tLund\tB-LOC\n3\t.\tO\n", encoding="utf8")
    (doc,) = read_docs([tmp_path], "conllu", report=print, column=[2])
    assert doc.text == "Em Lund."


def test_a_brat_document_given_as_both_files_is_read_once(tmp_path):
    (tmp_path / "a.txt").write_text("Ann slept.")
    (tmp_path / "a.ann").write_text("T1\tP 0 3\tAnn\n")
    given = [tmp_path / "a.ann", tmp_path / "a.txt", tmp_path]
    docs = list(read_docs(given, "brat", report=print, spans_key="sc"))
    assert [doc.text for doc in docs] == ["Ann slept."]
