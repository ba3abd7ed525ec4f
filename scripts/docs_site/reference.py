"""Pages of the API reference: one for each room of the package, one for the modules beside them."""

import ast
from pathlib import Path

from scripts.docs_site.docstrings import to_markdown

PACKAGE = Path(__file__).parents[2] / "spacy_lgu"


def list_rooms() -> dict[str, list[Path]]:
    """RETURNS (dict[str, list[Path]]): Modules of each room, and of the package itself as
    "spacy_lgu"; those with nothing public are left out.
    """
    rooms: dict[str, list[Path]] = {}
    for folder in [PACKAGE, *sorted(PACKAGE.iterdir())]:
        if (folder / "__init__.py").is_file():
            modules = [
                path
                for path in sorted(folder.glob("*.py"))
                if path.name != "__init__.py" and _has_public(path)
            ]
            if modules:
                rooms[folder.name] = modules
    return rooms


def write_room(name: str, modules: list[Path]) -> str:
    """The page of a room.

    name (str): Of the room.
    modules (list[Path]): Its modules.
    RETURNS (str): Markdown: what the room is for, then each module for mkdocstrings.
    """
    package = ast.parse((modules[0].parent / "__init__.py").read_text("utf8"))
    purpose = to_markdown(ast.get_docstring(package) or "")
    title = name if name == PACKAGE.name else f"{PACKAGE.name}.{name}"
    parts = [f"# {title}", purpose]
    for path in modules:
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        parts.append(
            f"## {path.stem} {{ #{module}-module }}\n\n::: {module}\n    options:\n"
            "      show_root_heading: false\n      show_root_toc_entry: false"
        )
    return "\n\n".join(parts) + "\n"


def _has_public(path: Path) -> bool:
    """Whether a module has a function or class of its own that is public."""
    nodes = ast.parse(path.read_text("utf8")).body
    kinds = (ast.FunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) and node.name[0] != "_" for node in nodes)
