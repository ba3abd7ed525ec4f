"""The command, run in this process."""

import shutil

import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_lgu.cli import app
from tests.killing import kill_everywhere

from .conftest import run

CONLL = "Ann B-PER\nran O\n\nBo B-PER\nfell O\n\nOslo B-LOC\n\nRain O\n"


def convert(*args) -> str:
    """What `spacy lgu convert` prints; what it raises is raised."""
    result = CliRunner().invoke(app, ["--traceback", "convert", *map(str, args)])
    if result.exception is not None:
        raise result.exception
    return result.output


def load(path) -> list:
    return list(DocBin().from_disk(path).get_docs(spacy.blank("en").vocab))


@pytest.fixture
def conll(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text(CONLL, encoding="utf8")
    return path


def test_writes_entities_and_prints_counts(conll, tmp_path):
    output = tmp_path / "new" / "train.spacy"
    printed = convert(conll, output, "--format", "conll")
    docs = load(output)
    assert [doc.text for doc in docs] == ["Ann ran", "Bo fell", "Oslo", "Rain"]
    assert [(ent.text, ent.label_) for ent in docs[2].ents] == [("Oslo", "LOC")]
    assert f"tag scheme detected: iob2: 1\n  {conll}\n" in printed.replace("\x1b[0m", "")
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert f"{output} 4 4 6 2 3 0" in lines
    assert lines.index("PER 2") < lines.index("LOC 1")


def test_the_format_is_detected(conll, tmp_path):
    printed = convert(conll, tmp_path / "a.spacy")
    assert f"format detected: conll: 1\n  {conll}\n" in printed.replace("\x1b[0m", "")
    (tmp_path / "a.txt").write_text("Ann ran")
    (tmp_path / "a.ann").write_text("T1\tPER 0 3\tAnn\n")
    convert(tmp_path / "a.ann", tmp_path / "b.spacy")
    (doc,) = load(tmp_path / "b.spacy")
    assert [span.text for span in doc.spans["sc"]] == ["Ann"]


def test_long_lists_of_notes_are_cut(tmp_path):
    source = tmp_path / "a.jsonl"
    source.write_text('{"tokens": ["a"], "spans": null}\n' * 1002)
    printed = convert(source, tmp_path / "a.spacy").splitlines()
    assert printed[printed.index(f"  {source}:1000") + 1] == "  ... and 2 more"


def test_nested_formats_go_to_spans(tmp_path):
    source = tmp_path / "tsv"
    source.mkdir()
    (source / "a.tsv").write_text("Ann\tB-PER\tB-PER\n's\tO\tI-PER\nson\tO\tI-PER\n")
    (source / "b.tsv").write_text("Rain\tO\n")
    output = tmp_path / "a.spacy"
    printed = convert(source, output, "--format", "litbank-entities", "-n", "0")
    first, second = load(output)
    assert [span.text for span in first.spans["sc"]] == ["Ann 's son", "Ann"]
    assert len(second.spans["sc"]) == 0
    assert f"{output} 2 2 4 3 2 1" in [" ".join(line.split()) for line in printed.splitlines()]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (["--spans-key", "x"], "x"),
        (["--target", "spans"], "sc"),
        (["--target", "spans", "--spans-key", "x"], "x"),
    ],
)
def test_spans_on_request(conll, tmp_path, options, key):
    output = tmp_path / "a.spacy"
    convert(conll, output, "--format", "conll", *options)
    doc = load(output)[0]
    assert [span.text for span in doc.spans[key]] == ["Ann"]


CONLLU = "1\tVive\tO\tO\tx=O\n2-3\tdel\t_\t_\t_\n2\tde\t-\tO\tx=B-A\n3\tel\tB\tO\tx=I-A\n"
COLUMNS = f"# global.columns = ID FORM T U MISC\n{CONLLU}"


@pytest.mark.parametrize(
    ("content", "options", "words", "spans"),
    [
        (CONLL, [], ["Ann", "ran"], ["Ann"]),
        ("Ann PER\nran _\n", ["--scheme", "bare", "--outside", "_"], ["Ann", "ran"], ["Ann"]),
        ("Ann B\nran -\n", ["--label", "X", "--outside", "-"], ["Ann", "ran"], ["Ann"]),
        ("Ann\tPER\nran\t\n", ["--scheme", "bare", "--outside", ""], ["Ann", "ran"], ["Ann"]),
        ("Ann B-A O\nLee I-A B-B\n", ["--column", "1", "--column", "2"], ["Ann", "Lee"], None),
    ],
)
def test_options_of_columns(tmp_path, content, options, words, spans):
    source, output = tmp_path / "a.txt", tmp_path / "a.spacy"
    source.write_text(content)
    convert(source, output, "--format", "conll", "--target", "spans", *options)
    doc = load(output)[0]
    assert [token.text for token in doc] == words
    assert [span.text for span in doc.spans["sc"]] == (spans or ["Ann Lee", "Lee"])


@pytest.mark.parametrize(
    ("options", "words", "entity"),
    [
        (["--misc-key", "x", "--subtokens", "split"], ["Vive", "de", "el"], "deel"),
        (["--misc-key", "x"], ["Vive", "del"], "del"),
        (
            ["--column", "2", "--label", "X", "--outside", "-", "--subtokens", "split"],
            ["Vive", "de", "el"],
            "el",
        ),
    ],
)
def test_options_of_conllu(tmp_path, options, words, entity):
    source, output = tmp_path / "a.conllu", tmp_path / "a.spacy"
    source.write_text(COLUMNS)
    convert(source, output, "--format", "conllu", *options)
    (doc,) = load(output)
    assert [token.text for token in doc] == words
    assert [ent.text for ent in doc.ents] == [entity]


def test_options_of_webanno(tmp_path):
    source, output = tmp_path / "a.tsv", tmp_path / "a.spacy"
    head = "#FORMAT=WebAnno TSV 3.3\n#T_SP=x.A|v|w\n#T_SP=x.B|v\n\n\n#Text=Ann\n"
    source.write_text(f"{head}1-1\t0-3\tAnn\tV\t*\tB\t\n")
    names = ["--format", "webanno-tsv", "--layer", "A", "--feature", "w", "--label", "X"]
    convert(source, output, *names)
    (doc,) = load(output)
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("Ann", "X")]


def test_options_reach_the_reader(tmp_path):
    source, output = tmp_path / "a.jsonl", tmp_path / "a.spacy"
    source.write_text('{"txt": "unfold", "spans": [{"start": 0, "end": 2, "label": "X"}]}\n')
    printed = convert(
        source, output, "--format", "char-jsonl", "--text-field", "txt", "--misaligned", "split"
    )
    (doc,) = load(output)
    assert [token.text for token in doc] == ["un", "fold"]
    assert f"{source}:1: 'unfold' -> 'un' 'fold'" in printed
    row = next(line.split() for line in printed.splitlines() if line.startswith(str(output)))
    assert row[1:3] == ["1", "-"]


def test_notes_without_detail_are_counted(tmp_path):
    (tmp_path / "a.txt").write_text("Ann ran")
    (tmp_path / "a.ann").write_text("T1\tPER 0 3\tAnn\nA1\tSure T1\nA2\tSure T1\n")
    printed = convert(tmp_path, tmp_path / "a.spacy", "--format", "brat")
    assert "attribute left out: 2" in printed


def test_hold_out(conll, tmp_path):
    output, held_out = tmp_path / "train.spacy", tmp_path / "dev.spacy"
    options = ["--format", "conll", "--hold-out", "1", "--hold-out-to", held_out, "--seed", "3"]
    printed = convert(conll, output, *options)
    kept, drawn = load(output), load(held_out)
    assert (len(kept), len(drawn)) == (3, 1)
    assert sorted(doc.text for doc in kept + drawn) == ["Ann ran", "Bo fell", "Oslo", "Rain"]
    rows = [line.split() for line in printed.splitlines()]
    assert ["label", "train.spacy", "dev.spacy"] in rows
    convert(conll, output, *options)
    assert [doc.text for doc in load(held_out)] == [doc.text for doc in drawn]


def test_a_run_that_is_killed_anywhere_leaves_no_text_in_both_files(conll, tmp_path):
    place = tmp_path / "place"
    files = place / "train.spacy", place / "dev.spacy"
    vocab = spacy.blank("en").vocab

    def run(seed=1):
        options = ["--format", "conll", "--hold-out", "1", "--seed", seed]
        convert(conll, files[0], *options, "--hold-out-to", files[1])

    def prepare():
        shutil.rmtree(place)
        shutil.copytree(tmp_path / "before", place)

    def texts(file):
        return [doc.text for doc in DocBin().from_disk(file).get_docs(vocab)]

    run(seed=0)
    shutil.copytree(place, tmp_path / "before")
    states = []
    for _ in kill_everywhere(run, below=place, prepare=prepare):
        state = [texts(file) if file.exists() else None for file in files]
        if state not in states:
            states.append(state)
    assert states == [
        [["Ann ran", "Bo fell", "Oslo"], ["Rain"]],
        [["Ann ran", "Bo fell", "Oslo"], None],
        [["Bo fell", "Oslo", "Rain"], None],
        [["Bo fell", "Oslo", "Rain"], ["Ann ran"]],
    ]
    run()
    assert sorted(place.iterdir()) == sorted(files)


def test_hold_out_a_share(conll, tmp_path):
    convert(
        conll, tmp_path / "a.spacy", "--format", "conll", "--hold-out", "0.5",
        "--hold-out-to", tmp_path / "b.spacy",
    )  # fmt: skip
    assert len(load(tmp_path / "b.spacy")) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "x"], "Expected one of the formats conll, .*got 'x'"),
        (["--format", "conll", "--target", "x"], "Expected --target ents or spans, but got 'x'"),
        (
            ["--format", "conll", "--target", "ents", "--spans-key", "x"],
            "--spans-key x needs --target spans",
        ),
        (["--format", "conll", "--offsets", "utf16"], "conll has no option --offsets"),
        (["--format", "conll", "--hold-out", "1"], "--hold-out and --hold-out-to need each other"),
        (
            ["--format", "conll", "--hold-out", "1", "--hold-out-to", "dev"],
            r"Expected a file named \*\.spacy to write, but got 'dev'",
        ),
        (
            ["--format", "conll", "--hold-out", "10%", "--hold-out-to", "dev.spacy"],
            "a number of Docs such as 300, or a share such as 0.1, .*got '10%'",
        ),
        (
            ["--format", "conll", "--hold-out", "4", "--hold-out-to", "dev.spacy"],
            "between 1 and 3 of 4 Docs",
        ),
    ],
)
def test_errors_come_before_anything_is_written(conll, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        convert(conll, tmp_path / "a.spacy", *options)
    assert list(tmp_path.rglob("*.spacy")) == []


def test_output_is_no_input(conll):
    # A forgotten output must not overwrite the last input.
    with pytest.raises(
        ValueError, match=r"Expected a file named \*\.spacy to write, but got '.*a\."
    ):
        convert(conll, conll, "--format", "conll")
    assert conll.read_text() == CONLL


def test_held_out_docs_need_another_file(conll, tmp_path):
    output = tmp_path / "a.spacy"
    (tmp_path / "link.spacy").symlink_to(output)
    for held_out in (output, tmp_path / "link.spacy"):
        with pytest.raises(ValueError, match="Expected --hold-out-to to be another file"):
            convert(
                conll, output, "--format", "conll", "--hold-out", "1", "--hold-out-to", held_out
            )


def test_inputs_without_text(tmp_path):
    (tmp_path / "a.conll").write_text("\n\n")
    with pytest.raises(ValueError, match=r"There is no text in .*a\.conll"):
        convert(tmp_path / "a.conll", tmp_path / "a.spacy", "--format", "conll")


def test_the_seed_draws_other_docs(tmp_path):
    rows = "".join(f"w{i} O\n\n" for i in range(20))
    (tmp_path / "a.conll").write_text(rows)
    drawn = []
    for seed in (0, 1, 1):
        run(
            "lgu", "convert", tmp_path / "a.conll", tmp_path / "a.spacy", "--format", "conll",
            "--hold-out", 5, "--hold-out-to", tmp_path / "b.spacy", "--seed", seed,
        )  # fmt: skip
        docs = DocBin().from_disk(tmp_path / "b.spacy").get_docs(spacy.blank("en").vocab)
        drawn.append([doc.text for doc in docs])
    assert drawn[0] != drawn[1] == drawn[2]
