"""What mkdocs runs as it builds the site: pages from the root, the reference, generated tables."""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
# mkdocs loads this file by its path.
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from scripts.docs_site.reference import list_rooms, write_room  # noqa: E402
from scripts.docs_site.tables import fill_tables  # noqa: E402

# Files of the root that are also pages of the site.
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
NOTEBOOKS = "examples"
_LINK = re.compile(r"(?P<start>\]\()(?P<target>[\w./-]+)(?P<anchor>#[\w-]*)?\)")


def on_config(config: Any) -> Any:
    """Add the rooms of the package to the navigation."""
    for entry in config.nav:
        if "API reference" in entry:
            entry["API reference"] += [{name: f"reference/{name}.md"} for name in list_rooms()]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    for name, page in PAGES.items():
        text = move_links((ROOT / name).read_text("utf8"))
        files.append(File.generated(config, page, content=text))
    for name, modules in list_rooms().items():
        text = write_room(name, modules)
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    for path in sorted((ROOT / NOTEBOOKS).glob("*.ipynb")):
        files.append(File.generated(config, f"{NOTEBOOKS}/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Fill in the tables of settings and options, and lead links to the root to the site."""
    return fill_tables(lower_links(markdown, page.file.src_uri.count("/")))


def lower_links(text: str, depth: int) -> str:
    """Turn links of a page of docs/ to files of the root into links of the site.

    text (str): Markdown, in which links to files lead to them: `../SECURITY.md`.
    depth (int): Folders between docs/ and the page.
    RETURNS (str): Markdown in which they lead to where on_files has put these files.
    """

    def lower(matched: re.Match[str]) -> str:
        above, target = matched["above"], matched["target"]
        if above != "../" * (depth + 1):
            return matched[0]
        return f"]({above[3:]}{PAGES.get(target, target)}"

    return re.sub(r"\]\((?P<above>(?:\.\./)+)(?P<target>[\w./-]+)", lower, text)


def move_links(text: str) -> str:
    """Turn the links of a file of the root into links of the site.

    text (str): Markdown. Links into docs/ lose that folder, links to pages of the root become those
        of the site.
    RETURNS (str): Markdown for docs/.
    """

    def move(matched: re.Match[str]) -> str:
        target = matched["target"]
        moved = PAGES.get(target, target.removeprefix("docs/"))
        return f"]({moved}{matched['anchor'] or ''})"

    return _LINK.sub(move, text)
