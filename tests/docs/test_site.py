"""The site is built from docs/ and docstrings, without a warning and without another host."""

import ast
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import typer
from filelock import FileLock

from scripts.docs_site.docstrings import split_docstring, to_google, to_markdown
from scripts.docs_site.hooks import lower_links, move_links
from scripts.docs_site.reference import list_rooms
from scripts.docs_site.tables import fill_tables, options_table, settings_table
from spacy_lgu.cli import app

from .blocks import ROOT, list_pages

DOCSTRING = """Add two things.

first (int): The first, which
    may be 0.
second (tuple[int, ...] | None): The other.
RETURNS (int): Their sum. Raises ValueError for none.
"""


@pytest.fixture(scope="module")
def site(shared):
    """What `make docs` builds; the first worker builds it."""
    folder, new = shared / "built", shared / "building"
    with FileLock(shared / "built.lock"):
        if not folder.exists():
            command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(new)]
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
            result = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf8",
            )
            if result.returncode:
                pytest.fail(result.stdout, pytrace=False)
            new.rename(folder)
    return folder


class _Addresses(HTMLParser):
    """What a page loads by itself; links, which a reader may follow, are none of it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(page.read_text("utf8"))

    def handle_starttag(self, tag, attrs):
        names = {"link": "href"} if tag == "link" else {} if tag == "a" else {tag: "src"}
        self.found |= {value for name, value in attrs if name == names.get(tag) and value}


def test_no_page_loads_anything_from_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        outside = [found for found in _Addresses(page).found if re.match(r"(https?:)?//", found)]
        assert not outside, page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", sheet.read_text("utf8")), sheet


def test_pictures_are_where_pages_show_them(site):
    page = site / "results" / "index.html"
    pictures = [found for found in _Addresses(page).found if found.endswith(".svg")]
    assert len(pictures) > 5
    for picture in pictures:
        assert (page.parent / picture).resolve().is_file(), picture


def test_every_module_is_on_a_page_of_the_reference(site):
    for room, modules in list_rooms().items():
        page = (site / "reference" / room / "index.html").read_text("utf8")
        for module in modules:
            assert f">{module.stem}<" in page, module


def test_the_tree_of_the_design_is_that_on_disk():
    design = (ROOT / "docs" / "design.md").read_text("utf8")
    shown = re.findall(r"^ {6}([\w.]+/?) {2,}\S", design, re.MULTILINE)
    package = ROOT / "spacy_lgu"
    found = [f"{path.parent.name}/" for path in package.glob("*/__init__.py")]
    found += [path.name for path in package.glob("*.py") if path.name != "__init__.py"]
    assert sorted(shown) == sorted(found)


def test_every_room_says_what_it_is():
    for room in list_rooms():
        path = ROOT / "spacy_lgu" / ("" if room == "spacy_lgu" else room) / "__init__.py"
        assert ast.get_docstring(ast.parse(path.read_text("utf8"))), path


@pytest.mark.parametrize("page", [*list_pages(), "CHANGELOG.md", "SECURITY.md"])
def test_links_to_files_lead_to_them_in_the_repository(page):
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text("utf8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([\w./-]+)(?:#[\w-]*)?\)", text):
        assert ((ROOT / page).parent / target).resolve().exists(), target


def test_all_that_is_registered_has_a_table_of_settings():
    shown = re.findall(
        r"<!-- settings: \w+ (\S+) -->", (ROOT / "docs" / "configuration.md").read_text("utf8")
    )
    text = (ROOT / "docs" / "configuration.md").read_text("utf8")
    groups = ["factories", "architectures", "scorers", "batchers", "readers", "misc"]
    groups += ["span_getters", "annotation_setters"]
    for group in [*(f"spacy_{name}" for name in groups), "thinc_schedules"]:
        for entry in entry_points(group=group):
            if entry.value.startswith("spacy_lgu."):
                # Those of spacy-transformers are told of together.
                name = entry.name.replace("spacy-transformers.", "spacy-lgu.")
                assert name in shown or f"`{name}` is" in " ".join(text.split()), entry.name


def test_every_command_has_a_page_with_its_options():
    for name, command in typer.main.get_command(app).commands.items():
        page = (ROOT / "docs" / "commands" / f"{name}.md").read_text("utf8")
        for part in getattr(command, "commands", [""]):
            assert f"<!-- options: {f'lgu {name} {part}'.strip()} -->" in page, (name, part)


def test_tables_are_made_from_the_code():
    table = settings_table("misc", "spacy-lgu.lora.v1").splitlines()
    assert table[0] == "| setting | type | default |  |"
    assert table[3] == "| `rank` | `int` | `64` | Rank of each update, at least 1. |"
    factory = settings_table("factories", "lgu_transformer")
    assert '| `max_batch_items` | `int | str` | `"auto"` |' in factory
    assert '| `--unmasking` | `"cccc"` |' in options_table(["lgu", "fetch"])
    assert '| `STUDY` | `"benchmarks/study.yml"` |' in options_table(["lgu", "study", "run"])
    assert "| `--valid` | required |" in options_table(["lgu", "adapt"])
    page = fill_tables("A\n\n<!-- options: lgu verify -->\n\nB")
    assert page.startswith("A\n\n| argument or option |")
    with pytest.raises(ValueError, match="There is no command 'python -m spacy lgu fletch'"):
        options_table(["lgu", "fletch"])


def test_docstrings_in_the_form_that_the_reference_is_made_from():
    rest, entries = split_docstring(DOCSTRING)
    assert rest == "Add two things."
    assert entries == [
        ("first", "int", "The first, which may be 0."),
        ("second", "tuple[int, ...] | None", "The other."),
        ("RETURNS", "int", "Their sum. Raises ValueError for none."),
    ]
    assert to_google(DOCSTRING, of_class=False) == (
        "Add two things.\n\nArgs:\n    first (int): The first, which may be 0.\n"
        "    second (tuple[int, ...] | None): The other.\n\n"
        "Returns:\n    int: Their sum. Raises ValueError for none."
    )


def test_prose_of_docstrings_is_plain_text():
    text = "Ids [1] of <s>, as in `a[0] * b`:\n\nrow   1 [2]\ncell  3\n\n    drawn <s>"
    assert to_markdown(text) == (
        "Ids &#91;1&#93; of &#60;s>, as in `a[0] * b`:\n\n"
        "    row   1 [2]\n    cell  3\n\n    drawn <s>"
    )


def test_links_of_files_in_the_root_lead_to_pages_of_the_site():
    text = "[a](docs/subtokens.md#x) [b](SECURITY.md) [c](https://example.org/docs/a.md)"
    assert move_links(text) == (
        "[a](subtokens.md#x) [b](security.md) [c](https://example.org/docs/a.md)"
    )
    text = "[a](../SECURITY.md#x) [b](../examples/a.ipynb) [c](faq.md)"
    assert lower_links(text, 0) == "[a](security.md#x) [b](examples/a.ipynb) [c](faq.md)"
    text = "[a](../../CHANGELOG.md) [b](../faq.md)"
    assert lower_links(text, 1) == "[a](../changelog.md) [b](../faq.md)"
