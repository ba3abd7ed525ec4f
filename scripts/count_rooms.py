"""How the package is divided: its rooms, who imports whom, and how long its files are.

    python scripts/count_rooms.py [FOLDER OF A CLONE]

A room is a folder of spacy_lgu; the files beside the folders are one as well, named ".".
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).parents[1]
LONG = 300  # lines


def find_imports(file: Path, package: Path) -> Iterator[str]:
    """What a file imports, wherever in it.

    file (Path): A Python file.
    package (Path): The folder of its package.
    RETURNS (Iterator[str]): Dotted names; those from the package itself begin with its name.
    """
    place = (package.name, *file.relative_to(package).parent.parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = place[: len(place) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            # Of `from . import name`, the name may be a module.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def find_arrows(package: Path) -> set[tuple[str, str]]:
    """Which room imports from which other one."""
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    arrows = set()
    for file in package.rglob("*.py"):
        room = _room(file, package)
        for name in find_imports(file, package):
            parts = name.split(".")
            if parts[0] == package.name:
                other = parts[1] if len(parts) > 1 and parts[1] in rooms else "."
                arrows.add((room, other))
    return {(room, other) for room, other in arrows if room != other}


def find_circles(arrows: set[tuple[str, str]]) -> set[str]:
    """Rooms from which arrows lead back to them. The files at the top are left out: they hold what
    all build on and what builds on all."""
    found = set()
    for start in {room for room, _ in arrows} - {"."}:
        reached, left = set(), [start]
        while left:
            room = left.pop()
            new = {b for a, b in arrows if a == room and b != "."} - reached
            reached |= new
            left += new
        if start in reached:
            found.add(start)
    return found


def _room(file: Path, package: Path) -> str:
    parts = file.relative_to(package).parts
    return parts[0] if len(parts) > 1 else "."


def main(
    clone: Annotated[Path, typer.Argument(help="Folder of a clone, this one or another")] = ROOT,
) -> None:
    """Print the rooms, the arrows between them and the longest files."""
    package = clone.resolve() / "spacy_lgu"
    lines = {file: len(file.read_text("utf8").splitlines()) for file in package.rglob("*.py")}
    arrows = find_arrows(package)
    rooms = sorted({_room(file, package) for file in lines})
    print(f"{len(rooms)} rooms: {' '.join(rooms)}")
    print(f"{len(arrows)} arrows; in a circle: {' '.join(sorted(find_circles(arrows))) or 'none'}")
    for room in rooms:
        print(f"  {room} -> {' '.join(sorted(b for a, b in arrows if a == room)) or 'nothing'}")
    longest = max(lines, key=lines.__getitem__)
    n_long = sum(n > LONG for n in lines.values())
    print(
        f"{len(lines)} files of {sum(lines.values()):,} lines, {n_long} over {LONG}; the longest:"
    )
    print(f"  {longest.relative_to(package)} with {lines[longest]}")


if __name__ == "__main__":
    typer.run(main)
