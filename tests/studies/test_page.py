"""The page of a report: complete, escaped, without empty boxes, and seen by a browser."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import SETTINGS, add_scores, config

from gtp_fast import report
from gtp_fast.runs import Run
from gtp_fast.runs.metrics import MetricsLog
from gtp_fast.studies import page
from gtp_fast.studies.page import html, read, svg

EVIL = "<script>alert(1)</script><img src=http://example.org/x onerror=alert(2)>\"'&"
WIDTHS = {"desk": 1280, "phone": 390}


def make(folder: Path, returns: dict[int, list[list[float]]], **changes: Any) -> Run:
    """Make a run folder with scores, metrics, summary and facts of the machine."""
    folder.mkdir()
    run = Run(folder)
    run.write_config(config(**changes))
    seeds = run.config()["seeds"]
    log = MetricsLog(run.metrics, seeds)
    for step, figures in returns.items():
        add_scores(run, step, figures, seeds)
        log.write(step, {"critic_loss": 1.0 / step, "weight_ess": 0.6, "weight_correlation": 0.7,
                         **{f"weight_quartile_{i}": 0.4 * i for i in range(1, 5)},
                         "map_error": 0.2, "euler_error": 0.1, "map_std": 0.2,
                         "action_std_one_jump": 0.25, "action_std_k_steps": 0.3})  # fmt: skip
    run.write_environment("all of it")
    run.write_summary({
        "dataset": run.config()["dataset"], "official_dataset": False, "updates_per_second": 250.0,
        "engine": "fused (all of it)", "data": {"description": "made up", "transitions": 1234},
    })  # fmt: skip
    return run


@pytest.fixture
def both(tmp_path: Path) -> list[str]:
    """Two agents with all that a page can show."""
    first = make(tmp_path / "one", {50: [[1, 0, 1], [1, 1, 0]], 100: [[1, 1, 1], [1, 1, 0]]})
    clone = SETTINGS | {"eta": [0.0]}
    other = make(tmp_path / "two", {50: [[0, 0, 0], [1, 0, 0]], 100: [[0, 0, 0], [1, 0, 0]]},
                 agent_settings=clone)  # fmt: skip
    (first.path / "videos").mkdir()
    (first.path / "videos" / "seed4-episode0.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    row = {"batch": 1, "k": 3, "device": "cpu", "backend": "fused", "p50_us": 9.5, "p99_us": None}
    bins = {"edges_us": [8.0, 9.0, 10.0, 50.0], "counts": [10, 80, 10]}
    rows = [row | {"p99.9_us": None, "actions_per_second": 1e5, "histogram": bins}]
    content = {"machine": {"processor": "Some CPU"}, "rows": rows}
    (first.path / "latency.json").write_text(json.dumps(content))
    return [str(first), str(other)]


def written(paths: list[str], out: Path) -> str:
    assert report.main([*paths, "--html", str(out)]) == 0
    return out.read_text()


def sections(text: str) -> list[str]:
    return re.findall(r'<h2 id="(\w+)"', text)


def test_a_run_of_two_configurations_shows_its_pieces_once(both: list[str], tmp_path: Path) -> None:
    run = Run(Path(both[0]))
    run.write_config(config(agent_settings=SETTINGS | {"eta": [0.5, 2.0]}))
    text = written([str(run)], tmp_path / "out.html")
    assert "gtp (eta=0.5), gtp (eta=2)" in text and "1 run, 2 seeds" in text
    assert text.count("<video") == 1 and text.count("a histogram holds") == 1
    assert text[text.index('id="latency"') :].count("Some CPU") == 1
    assert len(re.findall(r"<td[^>]*>9\.5</td>", text)) == 1
    warned = re.findall(r"<b>one</b>: [^<]*", text)
    assert warned and len(warned) == len(set(warned))


def test_the_page_has_every_piece(both: list[str], tmp_path: Path) -> None:
    text = written(both, tmp_path / "out.html")
    assert sections(text) == [
        "scores", "improvement", "curves", "health", "spread", "losses", "videos", "latency",
        "throughput", "settings", "data",
    ]  # fmt: skip
    for said in (
        "83.3", "[66.7, 100.0]", "gtp (eta=1)", "gtp (eta=0)", "made locally: do not compare",
        "1,234", "lags behind its flow", "data:video/mp4;base64,", "Some CPU", "250",
    ):  # fmt: skip
        assert said in text, said
    # Of four pairs of seeds the guided run wins all: 100 or 66.7 against 0 or 33.3.
    row = text[text.index('id="improvement"') :]
    assert row.index("1.00") < row.index("</section>")


def test_a_missing_piece_shows_no_box(tmp_path: Path) -> None:
    run = Run(tmp_path / "bare")
    run.path.mkdir()
    run.write_config(config(seeds=[4]))
    assert sections(written([str(run)], tmp_path / "a.html")) == ["settings", "data"]
    add_scores(run, 100, [[1.0]], [4])
    text = written([str(run)], tmp_path / "b.html")
    assert sections(text) == ["scores", "settings", "data"]
    assert "<svg" in text and "<figure" not in text


def test_quartiles_without_an_episode_are_left_out_of_their_panel(tmp_path: Path) -> None:
    run = make(tmp_path / "a", {100: [[1.0], [0.0]]})
    panel = "Weight against score"
    assert written([str(run)], tmp_path / "whole.html").count(panel) > 0
    # Episodes that reach the goal or not fill two quartiles.
    columns = {"weight_quartile_1": math.nan, "weight_quartile_2": 0.8}
    columns |= {"weight_quartile_3": math.nan, "weight_quartile_4": 1.2}
    MetricsLog(run.metrics, (4, 7), 100).write(200, {"weight_ess": 1.0, **columns})
    text = written([str(run)], tmp_path / "gaps.html")
    titles = re.findall(r"<title>([^<]*\((?:worst|2nd|3rd|best)\))", text)
    assert [title.split(": ")[1] for title in titles] == ["0.8 (2nd)", "1.2 (best)"]


def test_what_a_run_folder_says_is_text(tmp_path: Path) -> None:
    changes = {"dataset": EVIL, "agent_settings": SETTINGS | {"note": EVIL, EVIL: 1}}
    run = make(tmp_path / EVIL.replace("/", "_")[:60], {100: [[1.0], [0.0]]}, **changes)
    summary = {"dataset": EVIL, "engine": EVIL, "updates_per_second": 3, "environment": EVIL,
               "data": {"description": EVIL, "transitions": EVIL}}  # fmt: skip
    run.write_summary(summary)
    (run.path / "environment.json").write_text(json.dumps({"git": EVIL, "gpu": EVIL}))
    row = dict.fromkeys(("batch", "k", "device", "backend"), EVIL)
    latency = {"machine": {"processor": EVIL}, "rows": [row, None, 3]}
    (run.path / "latency.json").write_text(json.dumps(latency))
    text = written([str(run)], tmp_path / "out.html")
    assert html.escaped(EVIL) in text
    assert "<script" not in text and "<img" not in text
    assert "default-src 'none'" in text.replace("&#x27;", "'")


@pytest.mark.parametrize("content", ["[" * 100_000, "[1]", "{", '{"rows": {}}', "\xff"])
def test_broken_pieces_are_left_out(tmp_path: Path, content: str) -> None:
    run = make(tmp_path / "a", {100: [[1.0], [0.0]]})
    for name in ("environment.json", "latency.json"):
        (run.path / name).write_text(content, encoding="latin-1")
    assert "latency" not in sections(written([str(run)], tmp_path / "out.html"))


@pytest.mark.parametrize("number", [math.nan, math.inf, -1e308, 1e308])
def test_no_number_breaks_the_page(tmp_path: Path, number: float) -> None:
    run = make(tmp_path / "a", {50: [[1.0], [0.0]], 100: [[2.0], [0.0]]})
    log = MetricsLog(run.metrics, (4, 7), 100)
    for step in (150, 200):
        log.write(step, dict.fromkeys(("critic_loss", "map_error", "weight_quartile_1"), number))
    keys = ("updates_per_second", "data_return", "data_success_rate", "k", "engine", "data")
    run.write_summary({key: [number] for key in keys})
    with np.errstate(all="ignore"):
        text = written([str(run)], tmp_path / "out.html")
    drawn = re.findall(r'(?:points|[xyr][12]?|c[xy]|width|height)="([^"]*)"', text)
    assert len(drawn) > 20
    assert [shape for shape in drawn if re.search("nan|inf", shape)] == []


def test_no_link_leads_out_of_a_run_folder(tmp_path: Path) -> None:
    run = make(tmp_path / "a", {100: [[1.0], [0.0]]})
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"secret")
    (run.path / "video.mp4").symlink_to(secret)
    assert read.videos([run]) == ([], 0)
    (run.path / "own.mp4").write_bytes(b"own")
    assert [video.name for video in read.videos([run])[0]] == ["own"]


def test_ticks_are_round_and_cover_the_range() -> None:
    assert svg.ticks(0, 100, 5) == [0, 20, 40, 60, 80, 100]
    assert svg.ticks(-0.3, 1.1, 5)[0] <= -0.3
    for low, high in ((5.0, 5.0), (0.0, 0.0), (-3e11, 1e12)):
        found = svg.ticks(low, high, 5)
        assert found[0] <= low and found[-1] >= high and 1 < len(found) < 12
    assert [svg.short(v) for v in (0, 25_000, 1.5e6, 0.02)] == ["0", "25k", "1.5M", "0.02"]


def test_text_is_escaped_unless_it_was_made_here() -> None:
    made = html.tag("p", "<b>", html.tag("i", "&"), None, title='"')
    assert made == '<p title="&quot;">&lt;b&gt;<i>&amp;</i></p>'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    driver = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    with driver.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_a_browser_shows_the_page(
    both: list[str], tmp_path: Path, browser: Any, width: int, scheme: str
) -> None:
    """No word on the console, nothing loaded, no sideways scrolling, nothing without a name."""
    out = tmp_path / "out.html"
    page.write(both, out)
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(out.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert tab.title() == "pointmaze-umaze"
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    # Every chart has a name, every table heads its columns, levels of headings are not skipped.
    assert tab.locator("svg:not([aria-hidden]):not([aria-label])").count() == 0
    assert tab.locator("table:not(:has(th[scope=col]))").count() == 0
    assert tab.locator("h1").count() == 1
    style = "getComputedStyle(document.body)"
    paper, ink = (tab.evaluate(f"{style}.{name}") for name in ("backgroundColor", "color"))
    lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (paper, ink)]
    assert (lightness[0] > lightness[1]) == (scheme == "light")
    visible = tab.locator("figure svg:visible").count()
    assert visible == tab.locator("figure:has(svg)").count(), "each chart shows in one size"
    context.close()
