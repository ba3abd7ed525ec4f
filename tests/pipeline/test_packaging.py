"""Packages are whole or not there, whatever the pipeline's meta.json says."""

import ast
import json
import shutil
import subprocess
import sys
import tomllib
from email import message_from_bytes
from zipfile import ZipFile

import pytest
import spacy

from spacy_lgu.pipeline.packaging import package_pipeline
from tests.conftest import make_nlp
from tests.killing import kill_everywhere

from ..conftest import PASSING_PIPE

# spaCy's package command does not close the files it writes.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

ODD = 'Finds "names" \\d |\n\U0001f600 \U00020000 \x00\x0b\x7f\u2028 {x} """\'\'\''


@pytest.fixture
def pipeline(tmp_path):
    """A blank pipeline, which takes least time."""
    spacy.blank("en").to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def edit(pipeline, **values):
    file = pipeline / "meta.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def description(package):
    return tomllib.loads((package / "pyproject.toml").read_text())["project"]["description"]


@pytest.mark.parametrize("key", ["description", "author", "license", "url", "email", "notes"])
def test_any_text_in_the_meta(pipeline, tmp_path, key):
    edit(pipeline, **{key: ODD})
    made = package_pipeline(pipeline, tmp_path, name="odd", version="1.0", build=False)
    project = tomllib.loads((made / "pyproject.toml").read_text(encoding="utf8"))["project"]
    module = ast.parse((made / "odd" / "__init__.py").read_text(encoding="utf8"))
    table = (made / "README.md").read_text(encoding="utf8").partition("| Feature")[2].split("\n")
    assert [line[-1] for line in table[:11]] == ["|"] * 11
    assert json.loads((made / "odd" / "meta.json").read_text())[key] == ODD
    if key == "description":
        assert project["description"] == ('Finds "names" \\d | \U0001f600 \U00020000 {x} """\'\'\'')
        assert ast.get_docstring(module, clean=False) == ODD
    if key == "license":
        assert project["license"] == "LicenseRef-Finds-names-d-x"


def test_a_wheel_of_an_odd_pipeline(pipeline, tmp_path):
    edit(pipeline, description=ODD, author=ODD, url=ODD, license=ODD, email=ODD)
    wheel = package_pipeline(pipeline, tmp_path, name="odd", version="1.0")
    with ZipFile(wheel) as archive:
        metadata = message_from_bytes(archive.read("odd-1.0.dist-info/METADATA"))
    assert metadata["Name"] == "odd"
    parts = ["README.md", "dist", "odd", "odd.egg-info", "pyproject.toml"]
    assert names(wheel.parent.parent) == parts


def test_an_own_readme_is_kept(pipeline, tmp_path):
    (pipeline / "README.md").write_text("My own | words")
    made = package_pipeline(pipeline, tmp_path, name="own", version="1.0", build=False)
    assert (made / "README.md").read_text() == "My own | words"
    assert (made / "own" / "en_own-1.0" / "README.md").read_text() == "My own | words"


@pytest.mark.parametrize(
    "name", ["", "1a", "my-name", "a b", "_a", "a_", "naïve", "class", "a.b", "a\n"]
)
def test_names_that_no_package_can_have(pipeline, tmp_path, name):
    with pytest.raises(ValueError, match="is not a valid package name"):
        package_pipeline(pipeline, tmp_path / "out", name=name, version="1.0")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("version", ["", "one", "1.0 beta 2!", "1.0 ", "../1", "1.0\n"])
def test_versions_that_no_package_can_have(pipeline, tmp_path, version):
    with pytest.raises(ValueError, match="is not a valid package version: expected one such as"):
        package_pipeline(pipeline, tmp_path / "out", name="x", version=version)
    edit(pipeline, version=version)
    with pytest.raises(ValueError, match="is not a valid package version: expected one such as"):
        package_pipeline(pipeline, tmp_path / "out", name="x")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"requirements": ["a", "b c"]},
            "'b c' in .*meta.json' is not a valid requirement of a package",
        ),
        ({"requirements": ["a\nb"]}, "is not a valid requirement of a package"),
        ({"requirements": ["\U0001f600"]}, "is not a valid requirement of a package"),
        ({"requirements": [1]}, "1 in .*meta.json' is not a valid requirement of a package"),
        ({"requirements": "a"}, "requirements in .* are 'a': expected a list"),
        ({"spacy_version": "new"}, "'spacy new' in .* is not a valid requirement of a package"),
        ({"description": 5}, "description in .*meta.json' is 5: expected a string"),
        ({"version": 1.0}, "version in .*meta.json' is 1.0: expected a string"),
        ({"license": None}, "license in .*meta.json' is None: expected a string"),
        ({"author": "\ud83d"}, "meta.json' is damaged: .*surrogates not allowed"),
    ],
)
def test_metas_that_no_package_can_have(pipeline, tmp_path, values, message):
    edit(pipeline, **values)
    with pytest.raises(ValueError, match=message):
        package_pipeline(pipeline, tmp_path / "out", name="x")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, "\udcff"])
def test_damaged_metas(pipeline, tmp_path, content):
    (pipeline / "meta.json").write_text(content, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"meta.json' is damaged: "):
        package_pipeline(pipeline, tmp_path / "out", name="x")
    (pipeline / "meta.json").unlink()
    with pytest.raises(ValueError, match=r"There is no saved pipeline in .*: meta.json is missing"):
        package_pipeline(pipeline, tmp_path / "out", name="x")


def test_code_that_cannot_be_imported(pipeline, tmp_path):
    for name in ("my-parts.py", "class.py", "__init__.py", "parts.txt"):
        (tmp_path / name).touch()
        with pytest.raises(ValueError, match=r"Expected a Python file .* but got '.*" + name):
            package_pipeline(pipeline, tmp_path / "out", name="x", code=[tmp_path / name])
    with pytest.raises(ValueError, match="Expected a Python file that can be imported"):
        package_pipeline(pipeline, tmp_path / "out", name="x", code=[tmp_path / "missing.py"])
    (tmp_path / "other").mkdir()
    files = [tmp_path / "parts.py", tmp_path / "other" / "parts.py"]
    for file in files:
        file.touch()
    with pytest.raises(
        ValueError, match=r"different names for --code, but got \['parts', 'parts'\]"
    ):
        package_pipeline(pipeline, tmp_path / "out", name="x", code=files)
    assert not (tmp_path / "out").exists()


def test_a_failed_build_leaves_the_earlier_package(pipeline, tmp_path, monkeypatch):
    run, commands = subprocess.run, []

    def fail(command, **options):
        commands.append(command)
        script = "import sys; print('begun'); print('no disk left'); sys.exit(3)"
        return run([sys.executable, "-c", script], **options)

    def package(**options):
        return package_pipeline(pipeline, tmp_path / "out", name="x", version="1.0", **options)

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", fail)
        with pytest.raises(
            ChildProcessError, match=r"could not be built.*said:\nbegun\nno disk left"
        ):
            package()
    assert names(tmp_path / "out") == []
    edit(pipeline, description="earlier")
    wheel = package()
    content = wheel.read_bytes()
    edit(pipeline, description="later")
    with pytest.raises(FileExistsError, match=r"exists already. Use --force to"):
        package()
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", fail)
        with pytest.raises(ChildProcessError, match="no disk left"):
            package(force=True)
    assert wheel.read_bytes() == content
    assert description(tmp_path / "out" / "x-1.0") == "earlier"
    package(force=True)
    assert wheel.read_bytes() != content
    assert names(tmp_path / "out") == ["x-1.0"]


def test_packaging_that_is_killed_anywhere(pipeline, tmp_path):
    def package():
        package_pipeline(pipeline, place, name="x", version="1.0", build=False, force=True)

    def prepare():
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(tmp_path / "before", place)

    place = tmp_path / "place"
    edit(pipeline, description="earlier")
    package()
    place.rename(tmp_path / "before")
    edit(pipeline, description="later")
    found = []
    for _ in kill_everywhere(package, below=place, prepare=prepare, every=9):
        found.append(description(place / "x-1.0"))
        files = {path.relative_to(place / "x-1.0") for path in (place / "x-1.0").rglob("*")}
        assert len(files) == len(list((tmp_path / "before" / "x-1.0").rglob("*")))
    n_later = found.count("later")
    assert found == ["earlier"] * (len(found) - n_later) + ["later"] * n_later
    assert 0 < n_later < len(found)
    package()
    assert names(place) == ["x-1.0"]


def test_a_pipeline_whose_last_save_was_killed(decoder_folder, tmp_path):
    pipeline = tmp_path / "pipeline"
    make_nlp(decoder_folder, pipes=()).to_disk(pipeline)
    (pipeline / "transformer").rename(pipeline / ".transformer.previous")
    (pipeline / ".transformer.partial-1-0123abcd").mkdir()
    (pipeline / ".transformer.partial-1-0123abcd" / "lgu.json").touch()
    before = names(pipeline)
    made = package_pipeline(pipeline, tmp_path, name="x", version="1.0", build=False)
    assert names(pipeline) == before
    assert names(made / "x" / "en_x-1.0") == [
        "README.md", "config.cfg", "meta.json", "tokenizer", "transformer", "vocab",
    ]  # fmt: skip
    pipeline.rename(tmp_path / ".pipeline.previous")
    made = package_pipeline(pipeline, tmp_path, name="y", version="1.0", build=False)
    assert "transformer" in names(made / "y" / "en_y-1.0")


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_all_files_of_code_are_included_and_imported(tmp_path):
    from spacy_lgu.pipeline.packaging import package_pipeline

    spacy.blank("en").to_disk(tmp_path / "nlp")
    code = [tmp_path / "one_part.py", tmp_path / "two_parts.py"]
    for i, file in enumerate(code):
        file.write_text(PASSING_PIPE.format(f"test_package_{i}"))
    package_pipeline(tmp_path / "nlp", tmp_path, name="test_code", code=code, build=False)
    package = tmp_path / "test_code-0.0.0" / "test_code"
    assert all((package / file.name).is_file() for file in code)
    init = (package / "__init__.py").read_text()
    assert "from . import one_part\nfrom . import two_parts\n" in init
