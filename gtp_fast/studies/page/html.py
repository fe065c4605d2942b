"""HTML in which every string is escaped unless it was made here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

_VOID = ("meta", "br")


class Html(str):
    """Markup made by `tag`; all other strings are text and are escaped."""


def escaped(text: object) -> Html:
    """Return markup as it is and everything else as escaped text."""
    return text if isinstance(text, Html) else Html(html.escape(str(text)))


def joined(parts: Iterable[object], between: str = "") -> Html:
    """Return several parts as one; None is left out."""
    return Html(escaped(between).join(escaped(part) for part in parts if part is not None))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Return an element; children that are None are left out.

    attributes: `class_` is class, other underscores are hyphens; None leaves one out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    end = "" if name in _VOID else f"</{name}>"
    return Html(f"<{name}{given}>{joined(children)}{end}")


def raw(name: str, text: str) -> Html:
    """Return an element with our own style sheet, which must stay as it is."""
    return Html(f"<{name}>{text}</{name}>")


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    label: str,
    numbers: Sequence[int] = (),
) -> Html:
    """Return a table that scrolls by itself where it is too wide.

    label: says what it holds. numbers: columns set to the right. The first cell heads its row.
    """
    lines = [tag("tr", *(cell("td" if i else "th", c, i, numbers) for i, c in enumerate(row)))
             for row in rows]  # fmt: skip
    titles = tag("tr", *(cell("th", c, i, numbers, "col") for i, c in enumerate(head)))
    return scrolling(tag("table", tag("thead", titles), tag("tbody", *lines)), label)


def cell(
    kind: str, content: object, column: int, numbers: Sequence[int] = (), scope: str = "row"
) -> Html:
    """Return one cell of a table; numbers: columns set to the right."""
    return tag(
        kind,
        content,
        scope=scope if kind == "th" else None,
        class_="number" if column in numbers else None,
    )


def scrolling(content: Html, label: str) -> Html:
    """Return a region that keyboards and fingers can scroll."""
    return tag("div", content, class_="scroll", role="region", aria_label=label, tabindex=0)


def section(name: str, title: str, *content: object) -> Html | None:
    """Return a section with its heading; None where there is no content."""
    parts = [part for part in content if part]
    if not parts:
        return None
    return tag("section", tag("h2", title, id=name), *parts, aria_labelledby=name)


def note(*content: object) -> Html:
    """Return a paragraph in small print."""
    return tag("p", *content, class_="note")


def pairs(values: Mapping[str, object]) -> Html:
    """Return names with their values as a list."""
    both = ((tag("dt", name), tag("dd", value)) for name, value in values.items())
    return tag("dl", *(part for pair in both for part in pair))


def details(summary: str, *content: object) -> Html:
    """Return content that is shown when it is asked for."""
    return tag("details", tag("summary", summary), *content)


def legend(names: Sequence[tuple[str, int]]) -> Html | None:
    """Return the colours of several charts, with their names; None for a single one."""
    if len(names) < 2:
        return None
    return tag("ul", *(tag("li", swatch(colour), name) for name, colour in names), class_="legend")


def swatch(colour: int) -> Html:
    """Return a spot of a colour."""
    return tag("span", class_=f"swatch c{colour % COLOURS}", aria_hidden="true")


COLOURS = 8
"""Colours of the style sheet; more groups than these share them."""
