"""Charts as inline SVG, in the colours and fonts of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gtp_fast.studies.page.html import COLOURS, Html, tag

Values = NDArray[np.float64]
PHONE = (350, 210)
"""Width and height of a chart on a narrow screen, in its own units."""
_RIGHT, _TOP, _BOTTOM, _CHARACTER = 10, 10, 34, 6.6
_MOST_DOTS = 24
_MOST = 1e300


@dataclass(frozen=True)
class Line:
    """A curve with an optional band."""

    name: str
    colour: int
    x: Values
    y: Values
    low: Values | None = None
    high: Values | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """What one chart shows."""

    title: str
    lines: Sequence[Line]
    unit: str = ""
    """What the vertical axis shows."""
    levels: Sequence[tuple[float, str]] = ()
    """Horizontal marks with their names."""
    names: Sequence[str] = ()
    """Names of x = 0, 1, ... instead of numbers."""
    x_label: str = "updates"
    pinned: Sequence[float] = field(default=())
    """Values that the vertical axis includes."""


def drawable(values: Values) -> NDArray[np.bool_]:
    """Return which values have a place on an axis: a run folder may hold any number."""
    return np.abs(values) < _MOST


def figure(chart: Chart, width: int, height: int) -> Html | None:
    """Return a chart with its caption for both screens; None where it is empty."""
    if not any(drawable(line.y).any() for line in chart.lines):
        return None
    caption = tag("figcaption", tag("strong", chart.title), chart.unit)
    if width == PHONE[0]:
        return tag("figure", caption, draw(chart, width, height))
    return tag(
        "figure",
        caption,
        tag("div", draw(chart, width, height), class_="desk"),
        tag("div", draw(chart, *PHONE), class_="phone"),
    )


def panels(charts: Sequence[Chart], least: int = 2, most: int = 3) -> Html | None:
    """Return charts side by side, in 1 to 3 columns; None where all are empty."""
    charts = [c for c in charts if any(drawable(line.y).any() for line in c.lines)]
    if not charts:
        return None
    columns = min(max(len(charts), least), most)
    width, height = {1: (1080, 330), 2: (526, 270)}.get(columns, PHONE)
    found = [figure(chart, width, height) for chart in charts]
    return tag("div", *found, class_=f"panels columns{columns}")


def draw(chart: Chart, width: int, height: int) -> Html:
    """Return the lines of a chart with grid, levels and tick labels."""
    every = [v for line in chart.lines for v in (line.y, line.low, line.high) if v is not None]
    values = np.concatenate([*every, [level for level, _ in chart.levels], list(chart.pinned)])
    values = values[drawable(values)]
    y_ticks = ticks(float(values.min()), float(values.max()), 5)
    bottom, top = y_ticks[0], y_ticks[-1]
    said = [short(v) for v in y_ticks]
    left = 8 + _CHARACTER * max(map(len, said))
    xs = np.concatenate([line.x for line in chart.lines])
    start, end = (0.0, len(chart.names) - 1.0) if chart.names else (min(0.0, xs.min()), xs.max())
    end = end if end > start else start + 1.0

    def across(x: float) -> float:
        return round(left + (x - start) / (end - start) * (width - left - _RIGHT), 1)

    def down(y: float) -> float:
        return round(_TOP + (top - y) / (top - bottom) * (height - _TOP - _BOTTOM), 1)

    parts: list[Html] = []
    for value, text in zip(y_ticks, said, strict=True):
        parts.append(
            tag("line", x1=round(left, 1), x2=width - _RIGHT, y1=down(value), y2=down(value),
                class_="grid")
        )  # fmt: skip
        parts.append(_text(text, left - 6, down(value) + 4, "end"))
    floor = height - _BOTTOM
    if chart.names:
        marks = [(float(i), name) for i, name in enumerate(chart.names)]
    else:
        marks = [(x, short(x)) for x in ticks(start, end, 4 if width < 500 else 8) if x <= end]
    for x, text in marks:
        anchor = "end" if across(x) > width - 24 else "middle" if across(x) > left + 10 else "start"
        parts.append(_text(text, across(x), floor + 16, anchor))
    parts.append(_text(chart.x_label, width - _RIGHT, height - 3, "end"))
    for level, name in chart.levels:
        parts.append(
            tag("line", x1=round(left, 1), x2=width - _RIGHT, y1=down(level), y2=down(level),
                class_="level")
        )  # fmt: skip
        above = down(level) - 4 if down(level) > _TOP + 12 else down(level) + 13
        parts.append(_text(name, left + 4, above, "start", "halo"))
    bands = [_band(line, across, down) for line in chart.lines]
    curves = [part for line in chart.lines for part in _curve(line, across, down, chart)]
    return tag(
        "svg", *parts, *bands, *curves,
        viewBox=f"0 0 {width} {height}", role="img", aria_label=_spoken(chart),
    )  # fmt: skip


def _band(line: Line, across: object, down: object) -> Html | None:
    # A band around dashes too would hide the line that they are compared with.
    if line.dashed or line.low is None or line.high is None:
        return None
    held = drawable(line.low) & drawable(line.high)
    if held.sum() < 2:
        return None
    edge = [*zip(line.x[held], line.high[held], strict=True)]
    edge += [*zip(line.x[held][::-1], line.low[held][::-1], strict=True)]
    points = " ".join(f"{across(x)},{down(y)}" for x, y in edge)  # type: ignore[operator]
    return tag("polygon", points=points, class_=f"band c{line.colour % COLOURS}")


def _curve(line: Line, across: object, down: object, chart: Chart) -> list[Html]:
    held = drawable(line.y)
    places = [
        (across(x), down(y), x, y)  # type: ignore[operator]
        for x, y in zip(line.x[held].tolist(), line.y[held].tolist(), strict=True)
    ]
    kind = f"curve c{line.colour % COLOURS}{' dashed' * line.dashed}"
    parts = [tag("polyline", points=" ".join(f"{x},{y}" for x, y, _, _ in places), class_=kind)] * (
        len(places) > 1
    )
    if len(places) <= _MOST_DOTS:
        for x, y, step, value in places:
            at = chart.names[int(step)] if chart.names else f"{step:,.0f} {chart.x_label}"
            said = tag("title", f"{line.name}: {value:.4g} ({at})")
            parts.append(
                tag("circle", said, cx=x, cy=y, r=2.6, class_=f"dot c{line.colour % COLOURS}")
            )
    return parts


def _text(text: str, x: float, y: float, anchor: str, kind: str | None = None) -> Html:
    return tag("text", text, x=round(x, 1), y=round(y, 1), text_anchor=anchor, class_=kind)


def _spoken(chart: Chart) -> str:
    """Return the chart in a sentence, for those who cannot see it."""
    ends = [
        f"{line.name} ends at {line.y[drawable(line.y)][-1]:.3g}"
        for line in chart.lines
        if drawable(line.y).any()
    ]
    return f"{chart.title} {chart.unit}: {'; '.join(ends)}"


def strip(value: float, low: float, high: float, span: tuple[float, float], colour: int) -> Html:
    """Return a dot with its interval on a common scale; nan ends leave the interval out."""
    width = span[1] - span[0] or 1.0

    def across(x: float) -> float:
        return round(4 + 152 * (x - span[0]) / width, 1)

    kind = f"c{colour % COLOURS}"
    parts = [tag("line", x1=4, x2=156, y1=9, y2=9, class_="grid")]
    if np.isfinite([low, high]).all():
        parts.append(
            tag("line", x1=across(low), x2=across(high), y1=9, y2=9, class_=f"whisker {kind}")
        )
    parts.append(tag("circle", cx=across(value), cy=9, r=4.2, class_=f"dot {kind}"))
    return tag(
        "svg", *parts, viewBox="0 0 160 18", class_="strip", aria_hidden="true", focusable="false"
    )


def bar(share: float, colour: int) -> Html:
    """Return a bar of a share of its cell, 0 to 1."""
    filled = tag("rect", x=0, y=4, width=round(160 * share, 1), height=10, rx=1.5,
                 class_=f"fill c{colour % COLOURS}")  # fmt: skip
    return tag(
        "svg", filled, viewBox="0 0 160 18", class_="strip", aria_hidden="true", focusable="false"
    )


def histogram(edges: Values, counts: Values, title: str, unit: str) -> Html:
    """Return counts [B] over their bins' edges [B + 1] as a chart with its caption.

    All bars are equally wide: the last bin holds the long tail.
    """
    width, height = PHONE
    floor, tallest = height - _BOTTOM, float(counts.max()) or 1.0
    places = np.linspace(10, width - 10, len(edges)).tolist()
    parts = []
    for i, count in enumerate(counts.tolist()):
        tall = (floor - _TOP) * count / tallest
        said = tag("title", f"{edges[i]:.4g} to {edges[i + 1]:.4g} {unit}: {count:,.0f} calls")
        parts.append(
            tag("rect", said, x=round(places[i] + 0.5, 1), y=round(floor - tall, 1),
                width=round(max(places[i + 1] - places[i] - 1, 0.5), 1), height=round(tall, 1),
                class_="fill c0")
        )  # fmt: skip
    parts.append(tag("line", x1=10, x2=width - 10, y1=floor, y2=floor, class_="grid"))
    for i, anchor in ((0, "start"), (len(counts) // 2, "middle"), (len(counts), "end")):
        parts.append(_text(_measured(edges[i]), places[i], floor + 16, anchor))
    parts.append(_text(unit, width - 10, height - 3, "end"))
    said_all = f"{title}: {counts.sum():,.0f} calls from {edges[0]:.3g} to {edges[-1]:.3g} {unit}"
    drawn = tag("svg", *parts, viewBox=f"0 0 {width} {height}", role="img", aria_label=said_all)
    return tag("figure", tag("figcaption", tag("strong", title)), drawn)


def _measured(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return about `count` round numbers that cover a range."""
    spread = high - low
    if not spread > 1e-12 * max(abs(low), abs(high), 1e-300):
        spread = abs(high) or 1.0
        low, high = low - spread / 2, high + spread / 2
    rough = spread / count
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(power * next(m for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999))
    first, last = int(np.floor(low / step + 1e-9)), int(np.ceil(high / step - 1e-9))
    return [i * step for i in range(first, last + 1)]


def short(value: float) -> str:
    """Return a number as a tick label: 20k, 1.5M, 0.02."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}" if value else "0"
