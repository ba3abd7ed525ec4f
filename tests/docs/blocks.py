"""The code blocks of a page, and the marks above them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import typer

ROOT = Path(__file__).parents[2]

RUN = ("python", "bash")
PARSED = ("ini", "json", "jsonl", "yaml", "toml", "xml")
SHOWN = ("text", "output")
_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,})(?P<info>.*)$")
_MARK = re.compile(r"^ *<!-- *(?P<kind>not run|not compared|test): *(?P<text>.*?) *-->$")
_LIKE_A_MARK = re.compile(r"^ *<!-- *(not (run|compared)|test)\b")
_HIDDEN = re.compile(r"^ *<!-- *(?P<language>python|bash) *$")
_TITLE = re.compile(r'title="(?P<title>[^"]+)"')


@dataclass(kw_only=True)
class Block:
    """A fenced block, or an invisible one.

    page (str): Path of the page, from the repository's root.
    line (int): Line of the page on which the block's text begins, from 1.
    language (str): What its fence says.
    text (str): What is between its fences.
    title (str | None): Name of the file that it is.
    not_run (str | None): Why it is not run, or, of an output, not compared.
    tests (list[str]): What the marks `test:` above it say.
    """

    page: str
    line: int
    language: str
    text: str
    title: str | None = None
    not_run: str | None = None
    tests: list[str] = field(default_factory=list)

    @property
    def place(self) -> str:
        """RETURNS (str): Page and line, as an editor opens them."""
        return f"{self.page}:{self.line}"

    @property
    def fate(self) -> str:
        """RETURNS (str): What the tests do with it: run, checked, shown or not run."""
        if self.not_run is not None:
            return "not run"
        if self.language == "output" or self.language in PARSED:
            return "checked"
        if self.language in RUN:
            # A file of Python is compiled and written, and a later command runs it.
            return "checked" if self.title else "run"
        return "shown"


def list_pages() -> list[str]:
    """RETURNS (list[str]): README.md, CONTRIBUTING.md and all pages of docs/, from the root."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page.relative_to(ROOT).as_posix() for page in pages if page.exists()]


def read_blocks(text: str, page: str = "page.md") -> list[Block]:
    """Find all blocks of a page.

    text (str): The page.
    page (str): Its path, for messages.
    RETURNS (list[Block]): In order. Raises ValueError for a language that nothing is done with, a
        mark without a reason or without a block, and a fence that stays open, with page and line.
    """
    blocks = []
    not_run, tests = None, []
    marked = None  # place of a mark whose block has not come yet
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if hidden := _HIDDEN.match(line):
            body = _until(lines, re.compile(r"^ *-->$"), f"{page}:{number}", indent=0)
            fence = {"language": hidden["language"], "title": None}
        elif fence_ := _FENCE.match(line):
            closing = re.compile(rf"^ *{fence_['ticks'][0]}{{{len(fence_['ticks'])},}} *$")
            body = _until(lines, closing, f"{page}:{number}", indent=len(fence_["indent"]))
            fence = _parse_info(fence_["info"].strip(), f"{page}:{number}")
        else:
            if mark := _MARK.match(line):
                marked = f"{page}:{number}"
                if not mark["text"]:
                    raise ValueError(f"{marked}: expected a reason after '{mark['kind']}:'.")
                if mark["kind"] == "test":
                    tests.append(mark["text"])
                else:
                    not_run = mark["text"]
            elif _LIKE_A_MARK.match(line):
                raise ValueError(
                    f"{page}:{number}: expected a mark such as '<!-- not run: REASON -->' on one "
                    f"line, but got {line.strip()!r}."
                )
            elif line.strip() and marked:
                raise ValueError(f"{marked}: expected a code block below this mark, but got text.")
            continue
        blocks.append(
            Block(page=page, line=number + 1, text=body, not_run=not_run, tests=tests, **fence)
        )
        not_run, tests, marked = None, [], None
    if marked:
        raise ValueError(f"{marked}: expected a code block below this mark, but the page ends.")
    return blocks


def _until(
    lines: Iterator[tuple[int, str]], end: re.Pattern[str], place: str, *, indent: int
) -> str:
    body = []
    for _, line in lines:
        if end.match(line):
            return "".join(f"{line}\n" for line in body)
        body.append(line[indent:] if not line[:indent].strip() else line)
    raise ValueError(f"{place}: this block is never closed.")


def _parse_info(info: str, place: str) -> dict[str, str | None]:
    language = info.split(" ", 1)[0]
    if language not in (*RUN, *PARSED, *SHOWN):
        raise ValueError(
            f"{place}: the language of a block is {language!r}: expected one of "
            f"{', '.join((*RUN, *PARSED, *SHOWN))}. What is only shown is 'text'."
        )
    title = _TITLE.search(info)
    return {"language": language, "title": title["title"] if title else None}


def main() -> None:
    """Print what is done with the blocks of each page."""
    fates = ("run", "checked", "shown", "not run")
    typer.echo(f"{'page':<36}{'blocks':>8}" + "".join(f"{fate:>9}" for fate in fates))
    everything = []
    for page in list_pages():
        blocks = read_blocks((ROOT / page).read_text("utf8"), page)
        everything += blocks
        if blocks:
            _print_row(page, [block.fate for block in blocks], fates)
    _print_row("all", [block.fate for block in everything], fates)
    for block in everything:
        if block.not_run:
            typer.echo(f"not run: {block.place}: {block.not_run}")


def _print_row(name: str, found: list[str], fates: tuple[str, ...]) -> None:
    typer.echo(f"{name:<36}{len(found):>8}" + "".join(f"{found.count(fate):>9}" for fate in fates))


if __name__ == "__main__":
    main()
