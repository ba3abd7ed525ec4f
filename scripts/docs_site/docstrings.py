"""spaCy's docstrings for mkdocstrings: `name (type): text`, `RETURNS (type): text` as sections."""

import re
from typing import Any

from griffe import Docstring, Extension, Object

# What Markdown or HTML would take as markup, outside `code`.
_MARKUP = re.compile(r"[*<\[\]](?=[^`]*(?:`[^`]*`[^`]*)*$)")
_COLUMNS = re.compile(r"\S {2,}\S")
_ENTRY = re.compile(r"(?P<name>\w+) \((?P<type>[^()]*(?:\([^()]*\)[^()]*)*)\): (?P<text>.*)")


def split_docstring(text: str) -> tuple[str, list[tuple[str, str, str]]]:
    """Take the entries out of a docstring.

    text (str): A docstring in spaCy's form, without indentation.
    RETURNS (tuple[str, list[tuple[str, str, str]]]): The rest; name, type and text of each entry.
        The name of what is returned is "RETURNS", of what is yielded "YIELDS".
    """
    rest: list[str] = []
    entries: list[list[str]] = []
    is_open = False
    for line in text.splitlines():
        if matched := _ENTRY.fullmatch(line):
            entries.append([matched["name"], matched["type"], matched["text"]])
            is_open = True
        elif is_open and line.startswith("    "):
            entries[-1][2] += " " + line.strip()
        else:
            rest.append(line)
            is_open = False
    return "\n".join(rest).strip(), [(name, kind, words) for name, kind, words in entries]


def to_google(text: str, *, of_class: bool) -> str:
    """Write a docstring in the form that griffe parses.

    text (str): A docstring in spaCy's form, without indentation.
    of_class (bool): Whether its entries are attributes, not parameters.
    RETURNS (str): The same in Google's form.
    """
    rest, entries = split_docstring(text)
    entries = [(name, kind, _escape(words)) for name, kind, words in entries]
    parts = [to_markdown(rest)]
    own = [f"    {n} ({kind}): {words}" for n, kind, words in entries if not n.isupper()]
    if own:
        parts.append("\n".join(["Attributes:" if of_class else "Args:", *own]))
    for name, header in (("RETURNS", "Returns:"), ("YIELDS", "Yields:")):
        found = [f"    {kind}: {words}" for n, kind, words in entries if n == name]
        if found:
            parts.append("\n".join([header, *found]))
    return "\n\n".join(part for part in parts if part)


def to_markdown(text: str) -> str:
    """Write the prose of a docstring, which is plain text except `code`, as Markdown.

    text (str): Paragraphs; those with columns, and those that are indented, are drawings.
    RETURNS (str): The same with drawings as code, and without accidental markup.
    """
    paragraphs = []
    for paragraph in re.split(r"\n{2,}", text):
        lines = paragraph.split("\n")
        if all(line.startswith("    ") for line in lines):
            paragraphs.append(paragraph)
        elif any(_COLUMNS.search(line) for line in lines):
            paragraphs.append("\n".join(f"    {line}" for line in lines))
        else:
            paragraphs.append(_escape(paragraph))
    return "\n\n".join(paragraphs)


def _escape(text: str) -> str:
    return _MARKUP.sub(_as_entity, text)


def _as_entity(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"


class SpacyDocstrings(Extension):
    """Rewrites docstrings once they are collected, before griffe parses them."""

    def on_module_instance(self, *, mod: Object, **kwargs: Any) -> None:
        """mod (Object): A module that was collected."""
        _rewrite(mod.docstring, of_class=False)

    def on_function_instance(self, *, func: Object, **kwargs: Any) -> None:
        """func (Object): A function that was collected."""
        _rewrite(func.docstring, of_class=False)

    def on_class_instance(self, *, cls: Object, **kwargs: Any) -> None:
        """cls (Object): A class that was collected."""
        _rewrite(cls.docstring, of_class=True)


def _rewrite(docstring: Docstring | None, *, of_class: bool) -> None:
    if docstring is not None:
        docstring.value = to_google(docstring.value, of_class=of_class)
