"""The best checkpoint and the summary of a run, whenever its process ended."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_environments
import numpy as np
import pytest
import sets

import gtp_fast
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.runs import checkpoint, evaluations
from gtp_fast.training import judge
from gtp_fast.training.callbacks import Callback
from gtp_fast.training.trainer import Trainer

SMALL: dict[str, Any] = {
    "agent": "bc", "width": 8, "depth": 1, "batch_size": 8, "episodes": 2, "log_every": 10,
    "device": "cpu", "processes": 1, "steps": 40, "evaluate_every": 10, "checkpoint_every": 5,
}  # fmt: skip


class Ended(Exception):
    """Stands in for whatever ends a process."""


class Ending(Callback):
    """Ends the run once the checkpoint of an update is there."""

    def __init__(self, at: int):
        self.at, self.folder = at, Path()

    def on_start(self, agent: Any, folder: Path) -> None:
        self.folder = folder

    def on_checkpoint(self, step: int, path: Path) -> None:
        if step == self.at:
            raise Ended


class Scripted:
    """Stands in for the evaluator: returns and successes of each evaluation come from a list."""

    name = "Scripted-v0"
    script: Iterator[tuple[float, list[float]]]

    def __init__(self, _: Any, __: Any, seeds: Any, episodes: int, **___: Any):
        self.seeds, self.episodes = tuple(seeds), episodes

    def evaluate(self, _: Any, episodes: int, *__: Any) -> Evaluation:
        paid, successes = next(Scripted.script)
        shape = (len(self.seeds), episodes)
        told, drawn = np.full(shape, successes[:episodes]), np.arange(episodes)
        return Evaluation(self.seeds, np.full(shape, paid), np.full(shape, 5), told, drawn)

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(judge, "Evaluator", Scripted)
    live = fake_environments.make(fake_environments.spec(flat=True))
    arrays = sets.flat(steps=40, width=2)
    return SMALL | {"dataset": arrays, "env": live, "output": tmp_path}


def returns(*paid: float) -> None:
    """Let the coming evaluations give these returns, without successes."""
    Scripted.script = iter([(one, [np.nan, np.nan]) for one in paid])


def again(place: dict[str, Any], folder: Path) -> gtp_fast.TrainedRun:
    return gtp_fast.fit(place["dataset"], env=place["env"], resume=folder)


@pytest.mark.parametrize("lost", [False, True])
def test_the_best_checkpoint_outlives_an_end_of_the_process_at_it(
    place: dict[str, Any], monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    ending = Ending(10)
    if lost:
        # The process ends between the checkpoint and its mark.
        monkeypatch.setattr(checkpoint, "mark_best", lambda *_: None)
    returns(4.0, 1.0, 2.0, 3.0)
    with pytest.raises(Ended):
        gtp_fast.fit(**place, callbacks=[ending])
    assert (checkpoint.best(ending.folder) is None) == lost
    if lost:
        monkeypatch.undo()
        monkeypatch.setattr(judge, "Evaluator", Scripted)
    run = again(place, ending.folder)
    assert checkpoint.load(run, "best").step == 10
    assert run.summary["best_mean_score"] == 4.0


@pytest.mark.parametrize("marked", [False, True])
def test_a_best_figure_without_its_checkpoint_is_none(place: dict[str, Any], marked: bool) -> None:
    ending = Ending(20)
    returns(4.0, 1.0, 2.0, 3.0)
    with pytest.raises(Ended):
        gtp_fast.fit(**place, callbacks=[ending])
    checkpoints = ending.folder / "checkpoints"
    if marked:
        shutil.rmtree(checkpoints / "step_000000010")
    else:
        # As in folders of earlier versions: the best figure is logged, and nothing is marked.
        (checkpoints / "best.json").unlink()
    run = again(place, ending.folder)
    assert checkpoint.load(run, "best").step == 40


def test_a_run_that_ended_before_its_summary_gets_it(place: dict[str, Any]) -> None:
    ending = Ending(40)
    returns(4.0, 1.0, 2.0, 3.0)
    with pytest.raises(Ended):
        gtp_fast.fit(**place, callbacks=[ending])
    assert not gtp_fast.TrainedRun(ending.folder).summary
    run = again(place, ending.folder)
    assert run.summary["updates"] == 40 and run.summary["last"]["return"] == [3.0]
    # This process made no update, so it knows no rate.
    assert run.summary["updates_per_second"] is None
    written = (run.path / "summary.json").stat().st_mtime_ns
    again(place, ending.folder)
    assert (run.path / "summary.json").stat().st_mtime_ns == written


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_run_without_an_environment_gets_a_summary(
    place: dict[str, Any], interrupted: bool
) -> None:
    ending = Ending(40 if interrupted else -1)
    try:
        run = gtp_fast.fit(**place | {"env": "none"}, callbacks=[ending])
    except Ended:
        run = gtp_fast.fit(place["dataset"], env="none", resume=ending.folder)
    summary = run.summary
    assert (summary["updates"], summary["last"], summary["best_mean_score"]) == (40, {}, None)
    assert summary["environment"] is None and summary["mean_of_last_three"] is None
    assert (summary["updates_per_second"] is None) == interrupted


# An environment that reports a success when it happens, and nothing else.
YES, MIXED, NEVER = [1.0, 1.0], [np.nan, 1.0], [np.nan, np.nan]


@pytest.mark.parametrize(
    ("successes", "best", "score"),
    [([YES, MIXED, NEVER, NEVER], 10, 1.0), ([NEVER, NEVER, MIXED, YES], 40, 1.0),
     ([NEVER, MIXED, YES, NEVER], 30, 1.0), ([NEVER, NEVER, MIXED, NEVER], 30, 0.5)],
)  # fmt: skip
@pytest.mark.parametrize("end", [None, 20])
def test_a_success_that_is_not_reported_is_a_failure(
    place: dict[str, Any], successes: list[Any], best: int, score: float, end: int | None
) -> None:
    paid = [9.0, 700.0, 8.0, 500.0]
    Scripted.script = iter(zip(paid, successes, strict=True))
    ending = Ending(end or -1)
    try:
        run = gtp_fast.fit(**place, callbacks=[ending])
    except Ended:
        run = again(place, ending.folder)
    assert checkpoint.load(run, "best").step == best
    assert run.summary["best_mean_score"] == score
    assert run.summary["last"]["success_rate"] == [np.nan_to_num(successes[-1]).mean()]
    assert np.isfinite(evaluations.read(run.run.evaluations)["success"]).all()


def test_the_first_of_equal_evaluations_is_the_best(place: dict[str, Any]) -> None:
    returns(3.0, 4.0, 4.0, 1.0)
    assert checkpoint.load(gtp_fast.fit(**place), "best").step == 20


def test_an_evaluation_of_fewer_episodes_is_never_the_best(
    place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge.Judge, "episodes", lambda self, last, _: 2 if last else 1)
    returns(9.0, 9.0, 9.0, 1.0)
    run = gtp_fast.fit(**place)
    assert checkpoint.load(run, "best").step == 40 and run.summary["best_mean_score"] == 1.0


def test_a_last_evaluation_that_is_made_up_has_all_episodes(
    place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge.Judge, "episodes", lambda self, last, _: 2 if last else 1)
    returns(1.0, 2.0, 3.0, 4.0, 5.0)
    run = gtp_fast.fit(**place)
    run.run.evaluations.unlink()
    again(place, run.path)
    assert evaluations.read(run.run.evaluations)["return"].tolist() == [5.0, 5.0]


def test_a_stop_at_a_whole_evaluation_plays_no_other(place: dict[str, Any]) -> None:
    class Stop(Callback):
        def on_evaluation(self, step: int, evaluation: Evaluation) -> bool:
            return step == 20

    # Another evaluation would find the script at its end.
    returns(1.0, 2.0)
    assert gtp_fast.fit(**place, callbacks=[Stop()]).summary["updates"] == 20


def test_the_rate_is_that_of_own_updates_in_the_time_of_updates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = object.__new__(Trainer)
    trainer.start, trainer.began = 5, 100.0
    trainer.judge = SimpleNamespace(last=None, best=0.0, seconds=2.0)  # type: ignore[assignment]
    trainer.figures = SimpleNamespace(seconds=3.0)  # type: ignore[assignment]
    trainer.watch = SimpleNamespace(diverged=list)  # type: ignore[assignment]
    monkeypatch.setattr(time, "perf_counter", lambda: 110.0)
    assert trainer._outcome(25).updates_per_second == 4.0
    assert trainer._outcome(5).updates_per_second is None


def test_a_run_without_any_success_is_judged_by_its_return(place: dict[str, Any]) -> None:
    returns(3.0, 4.0, 2.0, 1.0)
    run = gtp_fast.fit(**place)
    assert checkpoint.load(run, "best").step == 20
    assert set(run.summary["last"]) == {"return", "length"}
    assert np.isnan(evaluations.read(run.run.evaluations)["success"]).all()
