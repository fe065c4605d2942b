"""The figure of the evidence: what is drawn, and in which way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from evidence_cells import CAMPAIGN, MAZES, ONE, cell, two_mazes
from fake_runs import SETTINGS

from benchmarks import evidence_page, evidence_plot, evidence_runs


@pytest.fixture
def found(tmp_path: Path) -> Path:
    return two_mazes(tmp_path)


def test_both_widths_of_a_compared_pair_are_drawn(
    found: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label, eta in (("gtp", 1.0), ("gtp-clone", 0.0)):
        wide = SETTINGS | {"width": 32, "eta": [eta]}
        cell(found / "wide", MAZES[0], label, 0, ONE, agent_settings=wide)
        cell(found, MAZES[0], label, 0, ONE, agent_settings=SETTINGS | {"eta": [eta]}, steps=300)
    drawn: list[str] = []
    draw = evidence_plot.draw
    monkeypatch.setattr(
        evidence_plot, "draw", lambda rows, *to: (drawn.extend(n for n, _ in rows), draw(rows, *to))
    )
    output = tmp_path_factory.mktemp("out")
    evidence_page.write(evidence_runs.collect(found), CAMPAIGN, output)
    assert drawn == ["gtp", "gtp-clone", "bc", "gtp, width 32", "gtp-clone, width 32"]
    assert (output / "results.png").stat().st_size > 0


def test_curves_stand_where_every_seed_was_evaluated() -> None:
    one = {"seeds": [0, 1], "curve": {"steps": [10, 20, 30], "scores": [[1, 2], [3, 4], [5, 6]]}}
    other = {"seeds": [2], "curve": {"steps": [20, 30], "scores": [[7], [8]]}}
    steps, scores = evidence_plot.curve([one, other])
    assert steps == [20, 30] and scores.tolist() == [[3, 4, 7], [5, 6, 8]]


def test_a_curve_of_equal_seeds_evaluated_again_is_drawn(tmp_path: Path) -> None:
    # The mean of three times 0.1 lies above 0.1.
    records = [
        {"curve": {"steps": [50], "scores": [[0.1]]}, "scores": [0.1], "evaluated_again": True,
         "measure": "success rate in percent", "data_level": None}
        for _ in range(3)
    ]  # fmt: skip
    evidence_plot.draw([("gtp", {MAZES[0]: records})], MAZES, tmp_path / "results.png")
    assert (tmp_path / "results.png").stat().st_size > 0


def test_single_scores_stand_side_by_side_and_curves_over_updates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(steps: list[int], scores: list[float]) -> dict[str, Any]:
        curve = {"steps": steps, "scores": [[score] for score in scores]}
        about = {"measure": "success rate in percent", "data_level": None}
        return {"curve": curve, "scores": scores[-1:]} | about

    axes: list[Any] = []
    finish = evidence_plot._finish
    monkeypatch.setattr(
        evidence_plot, "_finish", lambda axis, *more: (axes.append(axis), finish(axis, *more))
    )
    ends, curve = [record([50], [10.0]), record([50], [30.0])], [record([25, 50], [0.0, 40.0])]
    rows = [("gtp", {MAZES[0]: ends}), ("bc", {MAZES[0]: ends[:1]}), ("iql", {MAZES[0]: curve})]
    rows += [("fql", {MAZES[1]: curve})]
    evidence_plot.draw(rows, MAZES, tmp_path / "results.png")
    single, curves = axes
    places = [container.lines[0].get_xydata().tolist() for container in single.containers]
    assert places == [[[0.0, 20.0]], [[1.0, 10.0]], [[2.0, 40.0]]]
    bar = single.containers[0].lines[2][0].get_segments()[0]
    assert bar[:, 1].tolist() == [10.0, 30.0]
    assert curves.lines[0].get_xydata().tolist() == [[25.0, 0.0], [50.0, 40.0]]


def test_every_width_is_drawn_in_its_own_way() -> None:
    names = ["gtp", "gtp-clone", "gtp, width 256", "gtp, width 512", "gtp, 300,000", "other"]
    looks = evidence_plot._looks(names)
    assert len({looks[name] for name in names}) == len(names)
