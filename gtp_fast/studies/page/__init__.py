"""`gtp_fast report --html`: one page with everything that run folders tell, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gtp_fast
from gtp_fast.studies.page import about, extras, health, html, read, scores
from gtp_fast.studies.page.html import Html, tag
from gtp_fast.studies.page.read import Member
from gtp_fast.studies.page.style import SHEET
from gtp_fast.system.files import write_atomically

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; media-src data:; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
"""The page loads nothing and runs nothing, whatever a run folder says."""


def write(paths: Sequence[str], out: Path) -> None:
    """Write the page of run folders; UserError when that is impossible."""
    text = render(read.members(paths))
    write_atomically(out, text.encode("utf-8", "xmlcharrefreplace"))


def render(members: Sequence[Member]) -> str:
    """Return the page; a section without content is left out."""
    found = [
        ("scores", "Scores", scores.scores(members)),
        ("improvement", "Probability of improvement", scores.improvement(members)),
        ("curves", "Learning curves", scores.curves(members)),
        ("health", "Health of the guidance", health.health(members)),
        ("spread", "Spread of the actions", health.spread(members)),
        ("losses", "Losses", health.losses(members)),
        ("videos", "Videos", extras.recordings(members)),
        ("latency", "Latency", extras.latency(members)),
        ("throughput", "Throughput", about.throughput(members)),
        ("settings", f"Settings{' that differ' * (len(members) > 1)}", about.settings(members)),
        ("data", "Data and runs", about.provenance(members)),
    ]  # fmt: skip
    shown = [(name, title, content) for name, title, content in found if content]
    links = (tag("li", tag("a", name, href=f"#{name}")) for name, _, _ in shown)
    title = _title(members)
    body = tag(
        "body",
        tag("header", tag("h1", title), tag("p", _lead(members), class_="lead"),
            tag("nav", tag("ul", *links), aria_label="sections")),
        tag("main", *(html.section(*one) for one in shown)),
        tag("footer", f"gtp_fast {gtp_fast.__version__}"),
    )  # fmt: skip
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        html.raw("style", SHEET),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _title(members: Sequence[Member]) -> str:
    tasks = scores.tasks(members)
    return tasks[0] if len(tasks) == 1 else f"{len(tasks)} tasks"


def _lead(members: Sequence[Member]) -> Html:
    runs = len({run for member in members for run in member.group.runs})
    agents = ", ".join(dict.fromkeys(member.name for member in members))
    seeds = len({seed for member in members for seed in member.group.seeds})
    return html.joined([
        agents, tag("br"),
        f"{runs} run{'s' * (runs > 1)}, {seeds} seed{'s' * (seeds > 1)}",
    ])  # fmt: skip
