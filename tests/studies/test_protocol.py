"""A study: its file under several processes, and runs that ended without their scores."""

from __future__ import annotations

import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from fake_runs import SETTINGS, empty_run, make_run

from gtp_fast.errors import UserError
from gtp_fast.runs import Run
from gtp_fast.runs.lock import Hold
from gtp_fast.studies import jobs, protocol
from gtp_fast.studies.protocol import Protocol, Study

PROTOCOL = Protocol("hopper-medium", (0,), steps=3, dataset="no-such-set.npz", device="cpu")


def study(folder: Path) -> Study:
    return Study(folder / "agents.json", PROTOCOL)


def test_two_studies_of_one_folder_keep_the_runs_of_both(tmp_path: Path) -> None:
    first, other = study(tmp_path), study(tmp_path)
    assert first.kept == other.kept == {}
    first.note("gtp", run="a")
    other.note("iql", run="b")
    first.note("gtp", diverged="all")
    assert json.loads(first.path.read_text()) == other.kept == first.kept
    assert first.kept == {"gtp": {"run": "a", "diverged": "all"}, "iql": {"run": "b"}}


def test_notes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    def note(writer: int) -> None:
        mine = study(tmp_path)
        for number in range(5):
            mine.note(f"{writer}-{number}", run="a")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(note, range(4)))
    assert len(study(tmp_path).kept) == 20


def test_a_file_that_another_process_holds_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = rf"Another command \(process {os.getpid()} on .*\) works in {tmp_path}: wait for its end"
    with ThreadPoolExecutor(1) as other:
        hold = other.submit(Hold, Run(tmp_path)).result()
        monkeypatch.setattr(protocol, "_PATIENCE", 0.0)
        with pytest.raises(UserError, match=said):
            study(tmp_path).note("gtp", run="a")
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(jobs, "_UNSAID", 0.01)
        monkeypatch.setattr(protocol, "_PATIENCE", 0.02)
        with pytest.raises(UserError, match=said):
            study(tmp_path).note("gtp", run="a")
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"waiting up to 0.02 seconds for process {os.getpid()} on ")
        assert line.endswith(f", which works in {tmp_path}")
        other.submit(hold.release).result()
    study(tmp_path).note("gtp", run="a")
    assert capsys.readouterr().err == ""


def test_what_fails_while_the_file_is_held_frees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, take = [], jobs.held
    # A hold that nobody refers to any more is freed even without its release.
    monkeypatch.setattr(jobs, "held", lambda *given: held.append(take(*given)) or held[-1])
    with pytest.raises(UserError, match=r"no-such-set\.npz"):
        study(tmp_path).train("iql", "iql", {})
    assert [one.lock.is_locked for one in held] == [False]


def test_a_job_that_fails_frees_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    monkeypatch.setattr(jobs, "Hold", lambda *given: held.append(Hold(*given)) or held[-1])
    job = jobs.Job(PROTOCOL.command("gtp", {}), tmp_path / "run")
    assert "no-such-set.npz" in jobs.run(job).reason
    assert [one.lock.is_locked for one in held] == [False]


def test_a_job_says_that_it_waits_for_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = jobs.Job(PROTOCOL.command("gtp", {}), tmp_path / "run")
    job.log.mkdir(parents=True)
    monkeypatch.setattr(jobs, "_UNSAID", 0.01)
    monkeypatch.setattr(jobs, "_PATIENCE", 0.02)
    with ThreadPoolExecutor(1) as other:
        hold = other.submit(Hold, Run(job.log)).result()
        result = jobs.run(job)
        (line,) = capsys.readouterr().err.splitlines()
        other.submit(hold.release).result()
    assert line.startswith(f"waiting up to 0.02 seconds for process {os.getpid()} on ")
    assert result.state == "failed" and f"works in {job.log}: wait for its end" in result.reason


def test_the_file_is_held_while_a_run_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = study(tmp_path), study(tmp_path)
    monkeypatch.setattr(protocol, "_PATIENCE", 0.0)
    begun = []

    class Training:
        run = empty_run(tmp_path / "run")

        def train(self) -> int:
            return 0

    def trainer(job: jobs.Job) -> Training:
        begun.append(job)
        if len(begun) == 1:
            with (
                ThreadPoolExecutor(1) as other,
                pytest.raises(UserError, match=r"Another command .* works in"),
            ):
                other.submit(second.train, "gtp", "gtp", {}).result()
        return Training()

    monkeypatch.setattr(jobs, "trainer", trainer)
    assert first.train("gtp", "gtp", {}) == 0
    assert len(begun) == 1


def test_two_processes_do_not_train_one_agent_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = study(tmp_path), study(tmp_path)
    assert not second.kept
    trainer = jobs.trainer

    class Training:
        run = empty_run(tmp_path / "run")

        def train(self) -> int:
            monkeypatch.setattr(jobs, "trainer", trainer)
            with pytest.raises(UserError, match=r"run is being trained by process"):
                second.train("gtp", "gtp", {})
            return 0

    hold = Hold(Training.run)
    monkeypatch.setattr(jobs, "trainer", lambda job: Training())
    assert first.train("gtp", "gtp", {}) == 0
    hold.release()
    assert first.kept["gtp"]["run"] == second.kept["gtp"]["run"] == str(Training.run)


def test_a_study_without_a_place_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/a cannot be made \(Not a directory\): choose"):
        study(tmp_path / "file" / "a").note("gtp", run="a")


def test_a_study_that_was_moved_finds_its_runs_next_to_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    make_run(old / "run-1", 100, evaluation={"environment": None})
    facts = PROTOCOL.facts("gtp", {})
    # A path that was relative to the folder in which the command ran.
    study(old).note("gtp", run="runs/compare/run-1", protocol=facts)
    old.rename(new)
    assert study(new).train("gtp", "gtp", {}) == 0
    assert capsys.readouterr().out == f"done before: {new / 'run-1'}\n"
    assert study(new).unfinished(["gtp"]) == []


def test_a_run_folder_that_is_gone_is_a_sentence_and_no_second_training(tmp_path: Path) -> None:
    study(tmp_path).note("gtp", run="run-1", protocol=PROTOCOL.facts("gtp", {}))
    said = rf"There is no run folder {tmp_path / 'run-1'}, which .*agents\.json names for gtp: put"
    for asked in (study(tmp_path).finished, study(tmp_path).scored):
        with pytest.raises(UserError, match=said):
            asked("gtp")
    with pytest.raises(UserError, match=said):
        study(tmp_path).train("gtp", "gtp", {})
    assert "gtp" in study(tmp_path).kept


def test_a_second_start_that_fails_can_be_tried_again(tmp_path: Path) -> None:
    """A run without a checkpoint makes room before its data are loaded again."""
    empty_run(tmp_path / "run-1")
    study(tmp_path).note("gtp", run="run-1", protocol=PROTOCOL.facts("gtp", {}))
    for _ in range(2):
        with pytest.raises(UserError, match=r"no-such-set\.npz"):
            study(tmp_path).train("gtp", "gtp", {})


def test_settings_that_no_new_run_may_have_are_refused() -> None:
    with pytest.raises(UserError, match="--learning-rate inf is out of range"):
        Protocol("hopper-medium", (0,)).settings("gtp", {"learning_rate": (math.inf,)})


@pytest.mark.parametrize("asked", [None, 128, 256])
def test_the_width_of_a_run_that_its_data_narrowed_is_the_one_it_was_trained_with(
    asked: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, changes = study(tmp_path), {} if asked is None else {"width": asked}

    class Training:
        run = make_run(tmp_path / "run", agent_settings=SETTINGS | {"width": 128})

        def train(self) -> int:
            return 0

    monkeypatch.setattr(jobs, "trainer", lambda job: Training())
    assert begun.train("gtp", "gtp", {}) == 0
    refused = pytest.raises(UserError, match=r"holds gtp under another protocol \(settings differ")
    with refused if asked == 256 else nullcontext():
        begun.train("gtp", "gtp", changes)
    # What was asked of it later changes nothing of how it began.
    begun.check("gtp", "gtp", {})


def test_a_run_of_a_width_that_was_asked_for_is_none_of_the_default(tmp_path: Path) -> None:
    begun = study(tmp_path)
    begun.note("gtp", run="run", protocol=PROTOCOL.facts("gtp", {"width": 128}))
    with pytest.raises(UserError, match=r"holds gtp under another protocol \(settings differ\)"):
        begun.check("gtp", "gtp", {})
    facts = PROTOCOL.facts("gtp", {"width": 256})
    begun.note("gtp", protocol=facts | {"width_by_data": False})
    with pytest.raises(UserError, match=r"holds gtp under another protocol \(settings differ\)"):
        begun.check("gtp", "gtp", {})
    # Before widths followed from the data a study's was 256, and goes on so.
    begun.note("gtp", protocol=facts)
    begun.check("gtp", "gtp", {})
    # No data narrow the networks of a rival.
    begun.note("bc", run="run", protocol=PROTOCOL.facts("bc", {}) | {"width_by_data": False})
    begun.check("bc", "bc", {})
