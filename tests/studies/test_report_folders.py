"""What a report finds below a folder: runs, studies and sweeps, each run once."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_runs import add_scores, config

from gtp_fast import cli, report
from gtp_fast.runs import Run
from gtp_fast.studies import folders


def made(folder: Path, scored: bool = True, **changes: object) -> Run:
    """Make a run folder, evaluated or not."""
    folder.mkdir(parents=True)
    run = Run(folder)
    run.write_config(config(**changes))
    if scored:
        add_scores(run, 10, [[1.0], [0.0]], run.config()["seeds"])
    return run


def test_runs_below_a_folder_and_in_a_study_are_found(tmp_path: Path) -> None:
    alone = made(tmp_path / "runs" / "b")
    study = made(tmp_path / "runs" / "compare-x" / "a")
    (tmp_path / "runs" / "compare-x" / "agents.json").write_text("{}")
    made(tmp_path / "runs" / "begun", scored=False)
    both = {str(alone), str(study)}
    assert set(folders.spread([str(tmp_path / "runs")])[0]) == both
    # As a shell spells runs/*, with one of them named once more.
    below = [str(path) for path in sorted((tmp_path / "runs").iterdir()) if path.name != "begun"]
    assert set(folders.spread([*below, str(alone), f"{alone}/"])[0]) == both
    assert len(folders.spread([*below, str(alone), f"{alone}/"])[0]) == 2
    assert len(folders.spread([str(tmp_path / "runs")], unscored=True)[0]) == 3


def test_a_run_named_twice_is_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(tmp_path / "a")
    assert cli.run(report.main, [str(run), f"{run}/."]) == 0
    assert capsys.readouterr().out.count("| last ") == 1


def test_a_folder_without_a_run_and_one_with_runs_just_begun_are_sentences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert cli.run(report.main, [str(tmp_path / "empty")]) == 2
    assert "empty is no run folder" in capsys.readouterr().err
    made(tmp_path / "runs" / "a", scored=False)
    assert cli.run(report.main, [str(tmp_path / "runs")]) == 2
    assert "runs/a has not been evaluated yet" in capsys.readouterr().err
