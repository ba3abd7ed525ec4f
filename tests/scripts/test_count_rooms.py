"""Who imports whom: counted on a package made here, and the rules of this one."""

import sys

import pytest

from scripts.count_rooms import ROOT, find_arrows, find_circles, find_imports

PACKAGE = ROOT / "spacy_lgu"


@pytest.fixture
def package(tmp_path):
    files = {
        "__init__.py": "",
        "words.py": "import numpy\n",
        "low/__init__.py": "",
        "low/base.py": "from ..words import cut\n",
        "high/__init__.py": "",
        "high/top.py": "def f():\n    from ..low import base\n    from . import other\n",
        "high/other.py": "import house.low.base\n",
    }
    for name, text in files.items():
        file = tmp_path / "house" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "house"


def test_imports_are_found_wherever_they_stand(package):
    top = package / "high" / "top.py"
    assert list(find_imports(top, package)) == ["house.low.base", "house.high.other"]
    assert list(find_imports(package / "low" / "base.py", package)) == ["house.words.cut"]


def test_arrows_and_circles(package):
    arrows = find_arrows(package)
    assert arrows == {("low", "."), ("high", "low")}
    assert find_circles(arrows) == set()
    assert find_circles({*arrows, ("low", "high")}) == {"low", "high"}


def test_rooms_import_one_way():
    assert find_circles(find_arrows(PACKAGE)) == set()


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("decoder", {"spacy", "thinc", "spacy_transformers"}),
        ("pretraining", {"spacy", "thinc", "spacy_transformers"}),
        ("layers", {"peft", "spacy_transformers"}),
        ("pipeline", {"spacy_transformers"}),
        ("listeners", {"torch", "transformers", "peft"}),
        ("labeling", {"spacy", "thinc", "torch", "transformers"}),
        ("corpora", {"torch", "transformers", "peft"}),
        ("configs", {"torch", "transformers"}),
    ],
)
def test_a_room_does_not_know(room, forbidden):
    known = {
        name.split(".")[0]
        for file in (PACKAGE / room).rglob("*.py")
        for name in find_imports(file, PACKAGE)
    }
    assert known & forbidden == set()


def test_spacy_transformers_is_imported_in_one_room():
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if any(name.startswith("spacy_transformers") for name in find_imports(file, PACKAGE))
    }
    assert found == {f"listeners/{name}.py" for name in ("names", "over_stock", "stock")}


def test_ray_is_imported_in_one_file():
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] == "ray" for name in find_imports(file, PACKAGE))
    }
    assert found == {"cluster.py"}


def test_the_hub_is_asked_in_few_rooms():
    found = {
        file.relative_to(PACKAGE).parts[0]
        for file in PACKAGE.rglob("*.py")
        if any(name.startswith("huggingface_hub") for name in find_imports(file, PACKAGE))
    }
    assert found == {"cli", "decoder", "inspection", "sharing"}


def test_what_serves_is_imported_in_one_room():
    web = {"fastapi", "prometheus_client", "pydantic", "starlette", "uvicorn"}
    found = {
        file.relative_to(PACKAGE).parts[0]
        for file in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] in web for name in find_imports(file, PACKAGE))
    }
    assert found == {"serving"}


def test_listeners_know_no_other_room():
    rooms = {other for room, other in find_arrows(PACKAGE) if room == "listeners"}
    assert rooms == {"."}  # segments.py


@pytest.mark.parametrize("name", ["unmasking.py", "decoder/shape.py"])
def test_the_patterns_and_sizes_need_the_standard_library_alone(name):
    imports = {i for i in find_imports(PACKAGE / name, PACKAGE) if "unmasking" not in i}
    assert {i.split(".")[0] for i in imports} <= sys.stdlib_module_names
