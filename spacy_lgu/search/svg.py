"""Marks of pages and pictures as text. All that comes from outside is escaped here."""

from collections.abc import Iterable
from html import escape


def tag(name: str, *content: str, **attributes: object) -> str:
    """An element.

    name (str): Its name.
    content (str): Marked-up text; plain text goes through `text` first.
    attributes (object): By name, _ for -; a _ at the end is dropped (class_). They are escaped.
    RETURNS (str): The element.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_spell(value))}"'
        for key, value in attributes.items()
    )
    return f"<{name}{given}>{''.join(content)}</{name}>"


def text(value: object) -> str:
    """Plain text, escaped."""
    return escape(_spell(value))


def picture(width: float, height: float, parts: Iterable[str], *, title: str) -> str:
    """An SVG that fills its place, but is not larger than its size.

    width, height (float): In pixels.
    parts (Iterable[str]): Its elements.
    title (str): What it shows, for those who do not see it.
    RETURNS (str): The element.
    """
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {_spell(width)} {_spell(height)}",
        role="img",
        aria_label=title,
        # On a narrow screen smaller, but not so small that it cannot be read.
        style=f"max-width:{_spell(width)}px;min-width:min(20rem,{_spell(width)}px)",
    )


def label(x: float, y: float, content: object, **attributes: object) -> str:
    """Text in a picture."""
    return tag("text", text(content), x=x, y=y, **attributes)


def tip(content: str) -> str:
    """What is shown when a mouse rests on the element that it stands in."""
    return tag("title", text(content))


def _spell(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
