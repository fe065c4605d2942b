"""Cells of the evidence: found, missing, resumed; one tiny campaign."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from evidence_cells import CAMPAIGN, HALF, MAZES, NONE, ONE, OPTIONS, cell, finish, line, two_mazes
from fake_runs import SETTINGS, config, make_run

from benchmarks import evidence, evidence_page, evidence_runs
from gtp_fast import cli, collect, runs, train
from gtp_fast.errors import UserError


@pytest.fixture
def found(tmp_path: Path) -> Path:
    return two_mazes(tmp_path)


def test_missing_cells_are_named(found: Path) -> None:
    page = evidence_page.page(evidence_runs.collect(found), CAMPAIGN)
    assert "6 of 12 cells" in page
    assert "- pointmaze-umaze: seeds 0 1 of bc\n" in page
    assert "- pointmaze-large: seed 1 of gtp, bc; seeds 0 1 of gtp-clone" in page
    records = [
        record | {"task": task, "label": label, "seeds": [seed]}
        for seed, task, label in CAMPAIGN.cells()
        for record in evidence_runs.collect(found)[:1]
    ]
    assert "all 12 cells have been run" in evidence_page.page(records, CAMPAIGN)


def test_the_same_seed_twice_is_refused(found: Path) -> None:
    cell(found / "again", MAZES[0], "gtp", 0, ONE)
    with pytest.raises(UserError, match=r"are both pointmaze-umaze, gtp, seed 0, .*move one"):
        evidence_runs.collect(found)


def test_seeds_without_their_run_are_kept_of_a_record_of_several(tmp_path: Path) -> None:
    run = cell(tmp_path / "old", MAZES[0], "gtp", 0, ONE)
    run.write_config(config(seeds=[3, 5, 7], agent_settings=SETTINGS, episodes=2))
    run.evaluations.unlink()
    finish(run, {50: [NONE, HALF, NONE], 100: [ONE, HALF, NONE]}, diverged={"5": 7, "7": 8})
    evidence_page.write(evidence_runs.collect(tmp_path / "old"), CAMPAIGN, tmp_path)
    cell(tmp_path / "new", MAZES[0], "gtp", 5, NONE)
    kept, new = evidence_runs.collect(tmp_path / "new", tmp_path / "results.json")
    assert (new["seeds"], new["scores"]) == ([5], [0.0])
    assert (kept["seeds"], kept["scores"]) == ([3, 7], [100.0, 0.0])
    assert kept["curve"] == {"steps": [50, 100], "scores": [[0.0, 0.0], [100.0, 0.0]]}
    assert kept["diverged"] == {"7": 8} and len(kept["intervals"]) == 2


def test_earlier_results_are_kept_where_their_runs_are_gone(found: Path, tmp_path: Path) -> None:
    written = tmp_path / "out"
    evidence_page.write(evidence_runs.collect(found), CAMPAIGN, written)
    gone = next(found.rglob("summary.json")).parent
    shutil.rmtree(gone)
    kept = evidence_runs.collect(found, written / "results.json")
    assert len(kept) == len(evidence_runs.collect(found)) + 1
    assert evidence_page.page(kept, CAMPAIGN) == (written / "results.md").read_text().rstrip("\n")
    for broken in ("{", "[]"):
        (written / "results.json").write_text(broken)
        with pytest.raises(UserError, match="restore it"):
            evidence_runs.collect(found, written / "results.json")


def test_done_cells_are_skipped_stopped_ones_resumed(
    found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = make_run(
        found / MAZES[0] / "bc" / "seed0-100" / "run",
        task=MAZES[0], agent="bc", seeds=[0], agent_settings={"width": 16, "depth": 2},
    )  # fmt: skip
    calls: list[list[str]] = []

    def trained(argv: Sequence[str]) -> int:
        calls.append(list(argv))
        if len(calls) == 3:
            raise UserError("it went wrong")
        return 130 if len(calls) == 5 else 0

    monkeypatch.setattr(train, "main", trained)
    given = [*OPTIONS, "--runs", str(found), "--output", str(tmp_path / "out")]
    assert cli.run(evidence.main, given) == 130
    assert calls[0] == ["--resume", str(stopped)]
    cells = [(c[c.index("--seeds") + 1], c[c.index("--task") + 1], "--eta" in c) for c in calls[1:]]
    umaze, large = MAZES
    assert cells == [
        ("0", large, True),
        ("1", umaze, False),
        ("1", large, False),
        ("1", large, True),
    ]
    assert calls[1][calls[1].index("--output") + 1].endswith("pointmaze-large/gtp-clone/seed0-100")
    calls.clear()
    assert cli.run(evidence.main, [*given, "--hours", "0"]) == 0 and not calls
    assert cli.run(evidence.main, [*given, "--write-only"]) == 0 and not calls


def test_commands_of_cells(tmp_path: Path) -> None:
    options = evidence.Options()
    words = evidence.command(options, 2, "hopper-medium-expert", "iql")
    assert " ".join(words) == (
        "--agent iql --task hopper-medium-expert --seeds 2 --steps 100000 --width 128 "
        "--episodes 20 --evaluate-every 20000"
    )
    words = evidence.command(options, 0, "antmaze-umaze", "gtp-clone")
    assert " ".join(words[-4:]) == "--eta 0 --collect 200000" and "100" in words
    placed = evidence.command(evidence.Options(maze_data=tmp_path), 0, "antmaze-umaze", "gtp")
    assert placed[-2:] == ["--dataset", str(tmp_path / "local/antmaze/umaze-v0")]


def test_wrong_options_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--runs", str(tmp_path), "--output", str(tmp_path / "docs")]
    for given, said in (
        (["--labels", "gtp-clon"], "Unknown agent 'gtp-clon'"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--write-only", *folders], "no finished run below"),
    ):
        assert cli.run(evidence.main, given) == 2
        assert said in capsys.readouterr().err


def test_without_matplotlib_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(train, "main", lambda argv: pytest.fail("a cell was trained"))
    assert cli.run(evidence.main, [*OPTIONS, "--output", str(tmp_path)]) == 2
    assert "Figures need matplotlib" in capsys.readouterr().err


def test_a_tiny_campaign_runs_from_end_to_end(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium_robotics")
    data = tmp_path / "data"
    collect.collect("pointmaze-demo", 1500, output=data, progress=False)
    given = [
        "--tasks", "pointmaze-demo", "--labels", "gtp", "gtp-clone", "--seeds", "0", "--steps", "5",
        "--width", "8", "--episodes", "1", "--runs", str(tmp_path / "runs"), "--output",
        str(tmp_path / "out"), "--maze-data", str(data),
    ]  # fmt: skip
    assert cli.run(evidence.main, given) == 0
    made = sorted((tmp_path / "runs").rglob("summary.json"))
    assert [path.parts[-4:-2] for path in made] == [("gtp", "seed0-5"), ("gtp-clone", "seed0-5")]
    for path in made:
        settings = runs.open_run(path.parent).config()["agent_settings"]
        assert settings["width"] == 8
        assert (settings["eta"] == [0.0]) == ("gtp-clone" in path.parts)
    page = (tmp_path / "out" / "results.md").read_text()
    assert line(page, "task")[2:] == ["gtp", "gtp-clone"] and "all 2 cells have been run" in page
    assert str(tmp_path) not in page
    assert str(tmp_path) not in (tmp_path / "out" / "results.json").read_text()
    before = [path.stat().st_mtime_ns for path in made]
    assert cli.run(evidence.main, given) == 0
    assert [
        p.stat().st_mtime_ns for p in sorted((tmp_path / "runs").rglob("summary.json"))
    ] == before
