"""A sweep as it runs: its jobs and folders, its table, and what goes wrong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
from fake_runs import add_scores, make_run
from sweep_cases import SMALL, jobs_of, write

from gtp_fast import cli, report, sweep
from gtp_fast.errors import UserError
from gtp_fast.runs import Run
from gtp_fast.runs.lock import Hold
from gtp_fast.studies import jobs
from gtp_fast.studies.jobs import Job, Result
from gtp_fast.studies.sweeps import board, drive, estimate, plan, record


class Plain:
    """Runs jobs one after another in this process."""

    device, slots, where = "cpu", 1, "this process"

    def __init__(self) -> None:
        self.ran: list[str] = []

    def results(self, given: Sequence[Job]) -> Generator[Result | None]:
        for job in given:
            yield None
            self.ran.append(job.home.name)
            yield jobs.run(job)


def test_a_failed_job_is_a_sentence_and_does_not_stop_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, grid={"eta": [0, 1]}, jobs=[{"dataset": str(tmp_path / "gone.npz")}])
    folder, engine = tmp_path / "out", Plain()
    given = jobs_of(file, folder)
    assert drive.run(given, engine, folder) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "3 jobs, 0 finished before; 3 on this process"
    assert [line.split()[0] for line in said[1:]] == ["finished", "finished", "failed"]
    assert "gone.npz" in said[-1] and "(2 of 3 finished, 1 failed)" in said[-1]

    assert drive.run(given, engine, folder) == 1
    assert engine.ran == [*(job.home.name for job in given), given[-1].home.name]
    assert cli.run(report.main, [str(folder)]) == 0
    table = capsys.readouterr().out
    for job in given:
        assert job.home.name in table
    assert "| failed " in table and table.count("| finished ") == 2 and "gone.npz" in table


def test_a_seed_that_stands_in_two_entries_is_one_job(tmp_path: Path) -> None:
    file = write(tmp_path, jobs=[{"seeds": [0, 1]}, {"seeds": [1, 2]}])
    given, engine = jobs_of(file, tmp_path / "out"), Plain()
    assert [job.command.run.seeds for job in given] == [(0,), (1,), (2,)]
    assert drive.run(given, engine, tmp_path / "out") == 0
    assert engine.ran == [job.home.name for job in given]


def test_a_seed_of_two_entries_trains_once_on_a_gpu_too(tmp_path: Path) -> None:
    more = [{"seeds": [1, 2, 0]}, {"seeds": [2, 1]}, {"seeds": [1, 3], "k": 3}, {"seeds": [5, 0]}]
    commands = plan.read(write(tmp_path, jobs=[{"seeds": [0, 1]}, *more]))
    packed = plan.packed(commands, "cuda")
    # Another configuration has seeds of its own; an entry whose seeds all train elsewhere is gone.
    assert [(c.agent.k, c.run.seeds) for c in packed] == [
        (2, (0, 1)), (2, (2,)), (3, (1, 3)), (2, (5,)),
    ]  # fmt: skip
    assert {c.run.device for c in packed} == {"cuda"}
    on_both = [dataclasses.replace(c, run=dataclasses.replace(c.run, device=on))
               for c, on in zip(commands[:2], ("cpu", "cuda"), strict=True)]  # fmt: skip
    found = [(c.run.device, c.run.seeds) for c in plan.packed(on_both, "cpu")]
    assert found == [("cpu", (0,)), ("cpu", (1,)), ("cuda", (2,))]


def test_a_sweep_without_an_environment_has_a_page_and_losses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    given = jobs_of(write(tmp_path, grid={"eta": [0, 1]}), tmp_path / "out")
    assert drive.run(given[:1], Plain(), tmp_path / "out") == 0
    page, plot = tmp_path / "page.html", tmp_path / "plot.svg"
    for option in (["--html", str(page)], ["--plot", str(plot), "--losses"]):
        assert cli.run(report.main, [str(tmp_path / "out"), *option]) == 0
    assert given[0].home.name in page.read_text() and "<svg" in plot.read_text()
    plot.unlink()
    # What is asked for and cannot be made is said.
    capsys.readouterr()
    assert cli.run(report.main, [str(tmp_path / "out"), "--plot", str(plot)]) == 2
    said = capsys.readouterr()
    assert given[0].home.name in said.out and "No run has been evaluated yet" in said.err


def test_a_job_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    (job,) = jobs_of(write(tmp_path), tmp_path / "out")
    assert job.folder is not None

    def stopped() -> int:
        trainer = jobs.trainer(job)
        began = trainer.start
        if not began:
            trainer.callbacks.stop = True
        return began if trainer.train() == 0 else -1

    # A folder without a checkpoint, as a kill leaves it, is begun again.
    (job.folder / "checkpoints").mkdir(parents=True)
    assert stopped() == 0
    assert not jobs.finished(Run(job.folder))
    assert 0 < stopped() < SMALL["steps"]
    assert jobs.finished(Run(job.folder))
    assert jobs.run(job).state == "finished"


def test_what_no_user_did_fails_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = jobs_of(write(tmp_path), tmp_path / "out")
    monkeypatch.setattr(jobs, "trainer", lambda job: 1 // 0)
    result = jobs.run(job)
    assert result.state == "failed" and result.reason.startswith("ZeroDivisionError: ")
    assert "Traceback" in result.trace


def test_results_come_without_a_shared_disk(tmp_path: Path) -> None:
    there = make_run(tmp_path / "there" / "some-job", 100)
    add_scores(there, 100, [[1.0] * 100, [0.0] * 100], [4, 7])
    there.write_summary({"last": {"success": [1.0, 0.0]}})
    files = {name: (there.path / name) for name in ("config.yaml", "evaluations.npz")}
    result = Result("some-job", "finished", files=jobs.files(there))
    assert sum(map(len, result.files.values())) < 100_000
    result.write(tmp_path / "here" / "some-job")
    for name, path in files.items():
        assert (tmp_path / "here" / "some-job" / name).read_bytes() == path.read_bytes()
    # Where the run itself stands, its own files stay.
    (there.path / "config.yaml").write_text("own")
    result.write(there.path)
    assert (there.path / "config.yaml").read_text() == "own"


def test_one_process_at_a_time_drives_a_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    hold = Hold(Run(folder))
    with pytest.raises(UserError, match=r"Another command \(process .*\) works in .*out: wait"):
        drive.run(jobs_of(write(tmp_path), folder), Plain(), folder)
    hold.release()
    (folder / "sweep.json").write_text("{")
    with pytest.raises(UserError, match=r"sweep\.json cannot be read: delete it"):
        drive.run(jobs_of(write(tmp_path), folder), Plain(), folder)


def test_the_time_left_follows_from_the_jobs_that_ended(tmp_path: Path) -> None:
    given = jobs_of(write(tmp_path, grid={"seeds": [0, 1, 2]}), tmp_path / "out")
    shown = board.Board(given, 2, 0)
    assert shown.left() is None
    shown.ended(Result(given[0].home.name, "finished", seconds=30.0))
    # Two jobs are left for two places.
    assert shown.left() == pytest.approx(30.0)
    metrics = tmp_path / "out" / given[1].home.name / "metrics.csv"
    metrics.parent.mkdir(parents=True)
    metrics.write_text("step,seed,x\n15,0,1\n30,1,1\n")
    assert board.progress(metrics.parent) == 30
    assert shown.left() == pytest.approx(22.5)


def test_a_terminal_shows_what_runs_below_what_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = jobs_of(write(tmp_path, grid={"seeds": [0, 1]}), tmp_path / "out")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    shown = board.Board(given, 1, 0)
    given[1].log.mkdir(parents=True)
    (given[1].log / "output.txt").touch()
    shown.show()
    shown.ended(Result(given[0].home.name, "failed", "no such file"))
    shown.close()
    first, second = (job.home.name for job in given)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["running", second] and lines[1] == "0 of 2 finished"
    # Both lines make room for the one of the job that ended.
    assert lines[2].startswith("\x1b[2F\x1b[J") and first in lines[2] and "no such file" in lines[2]
    assert lines[3].split()[:2] == ["running", second] and lines[4].endswith("1 failed")
    assert lines[5] == "\x1b[2F\x1b[J"


def test_a_dry_run_lists_jobs_and_hours_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, grid={"seeds": [0, 1]})
    args = [str(file), "--dry-run", "--workers", "2", "--output", str(tmp_path / "out")]
    assert cli.run(sweep.main, [*args, "--device", "cpu"]) == 0
    *listed, estimate = capsys.readouterr().out.strip().splitlines()
    assert [line.split()[2] for line in listed] == ["0", "1"]
    assert estimate.startswith("estimate: 0.0 h for 2 jobs") and "from a probe" in estimate
    assert not (tmp_path / "out").exists()


def test_jobs_share_a_probe_unless_their_updates_cost_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[Job] = []

    def probe(job: Job) -> float:
        probed.append(job)
        return 1.0

    monkeypatch.setattr(estimate, "_probe", probe)
    base = {"task": "hopper-medium", "steps": 10, "trajectory_eta": 0}
    free = [{"learning_rate": rate} for rate in (1e-3, 3e-4)] + [{"task": "walker2d-medium"}]
    dear = [
        {"eta": 0, "advantage_start": None}, {"advantage_start": 0}, {"objective": "linear-q"},
        {"precision": "bf16"}, {"value_samples": 4, "advantage_start": 0}, {"width": 64},
    ]  # fmt: skip
    file = write(tmp_path, base=base, jobs=free + dear)
    assert estimate.seconds(jobs_of(file, tmp_path)) == [10.0] * len(free + dear)
    assert len(probed) == 1 + len(dear)


def test_a_machine_without_the_gpus_of_the_jobs_lists_them_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    file = write(tmp_path, base={"device": "cuda"}, grid={"seeds": [0, 1]})
    assert cli.run(sweep.main, [str(file), "--dry-run", "--output", str(tmp_path / "out")]) == 0
    job, estimate = capsys.readouterr().out.strip().splitlines()
    assert job.endswith("seeds 0 1") and estimate.startswith("estimate: none")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "Name one file of a sweep, or --paper."),
        (["a.yaml", "--paper"], "Name one file of a sweep, or --paper."),
        (["a.yaml", "--workers", "0"], "--workers must be at least 1"),
        (["a.yaml"], "a.yaml cannot be read"),
    ],
)
def test_refusals_of_the_command(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(sweep.main, args) == 2
    assert said in capsys.readouterr().err


def test_slurm_needs_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    file = write(tmp_path)
    with pytest.raises(UserError, match="There is no Slurm here"):
        sweep.main([str(file), "--on", "slurm"])


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"return": [3.0, 5.0], "length": [9.0, 9.0]}, "return 4"),
        ({"return": [3.0], "success_rate": [0.5]}, "success_rate 0.5"),
        ({"return": [3.0], "success_rate": [0.5], "score": [50.0]}, "score 50"),
        ({}, ""),
    ],
)
def test_a_job_is_shown_by_the_figure_that_policies_are_judged_by(
    tmp_path: Path, last: dict[str, list[float]], said: str
) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"last": last}))
    assert record.headline(Run(tmp_path)) == said


def test_a_job_that_ends_without_its_summary_is_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = jobs_of(write(tmp_path), tmp_path / "out")
    (job,) = given
    home = make_run(job.home, 100, evaluation={"environment": "{}"})

    class Ended:
        start = 100

        def train(self) -> int:
            return 0

    monkeypatch.setattr(jobs, "trainer", lambda job: Ended())
    engine = Plain()
    assert drive.run(given, engine, tmp_path / "out") == 1
    sentence = f"{home} has ended without summary.json, where its scores belong: repeat the command"
    assert sentence in capsys.readouterr().out
    # An older version has called such a job finished.
    kept = tmp_path / "out" / "sweep.json"
    kept.write_text(kept.read_text().replace('"failed"', '"finished"'))
    assert drive.run(given, engine, tmp_path / "out") == 1 and len(engine.ran) == 2
    home.write_summary({"updates": 100})
    assert drive.run(given, engine, tmp_path / "out") == 0 and len(engine.ran) == 3
    assert drive.run(given, engine, tmp_path / "out") == 0 and len(engine.ran) == 3
