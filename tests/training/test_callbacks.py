"""Callbacks: what they see, how they stop a run, and the loggers among them."""

from __future__ import annotations

import builtins
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_environments
import numpy as np
import pytest
import sets
import torch

import gtp_fast
from gtp_fast.agents.base import Agent
from gtp_fast.errors import UserError
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.runs import Run, checkpoint, evaluations
from gtp_fast.training.callbacks import Callback, Figures
from gtp_fast.training.judge import Judge
from gtp_fast.training.tensorboard import TensorBoard

OPTIONS: dict[str, Any] = {
    "width": 8, "k": 2, "batch_size": 8, "episodes": 4, "log_every": 5, "device": "cpu",
    "processes": 1, "steps": 40, "seeds": (0, 5), "evaluate_every": 10,
}  # fmt: skip


class Watcher(Callback):
    """Notes every call; asks for a stop at an update."""

    def __init__(self, stop: int | None = None):
        self.stop, self.seen = stop, []  # type: ignore[var-annotated]

    def on_start(self, agent: Agent, folder: Path) -> None:
        self.seen.append(("start", len(agent.seeds), folder.is_dir()))

    def on_metrics(self, step: int, figures: Figures) -> bool | None:
        self.seen.append(("metrics", step, len(figures.get("flow_loss", ()))))
        return step == self.stop

    def on_evaluation(self, step: int, evaluation: Evaluation) -> None:
        self.seen.append(("evaluation", step, evaluation.returns.shape))

    def on_checkpoint(self, step: int, path: Path) -> None:
        self.seen.append(("checkpoint", step, path.exists()))

    def on_end(self, step: int) -> None:
        self.seen.append(("end", step, None))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "cache"))
    arrays = sets.flat(steps=40, width=2)
    live = fake_environments.make(fake_environments.spec(flat=True))
    return OPTIONS | {"dataset": arrays, "env": live, "output": tmp_path}


def test_a_callback_sees_the_run_in_order(place: dict[str, Any]) -> None:
    watcher = Watcher()
    run = gtp_fast.fit(**place, callbacks=[watcher])
    seen = watcher.seen
    assert seen[0] == ("start", 2, True) and seen[-1] == ("end", 40, None)
    assert [s for _, s, count in seen if count == 2 and _ == "metrics"] == [*range(5, 45, 5)]
    evaluations = [entry for entry in seen if entry[0] == "evaluation"]
    assert evaluations == [("evaluation", step, (2, 4)) for step in (10, 20, 30, 40)]
    assert ("checkpoint", 40, True) in seen
    assert run.summary["updates"] == 40


@pytest.mark.parametrize(
    ("given", "evaluated", "saved", "noted"),
    [
        ({}, [*range(4, 44, 4)], [*range(4, 44, 4)], [*range(4, 44, 4)]),
        ({"evaluate_every": 3}, [*range(3, 42, 3), 40], [*range(3, 42, 3), 40], None),
        ({"evaluate_every": 0}, [40], [*range(4, 44, 4)], [*range(4, 40, 4), 40]),
        ({"evaluate_every": 20}, [20, 40], [*range(4, 44, 4)], [20, 40]),
        ({"evaluate_every": 20, "checkpoint_every": 16}, [20, 40], [16, 20, 32, 40], [20, 40]),
        ({"env": "none"}, [], [*range(4, 44, 4)], [*range(4, 44, 4)]),
    ],
)
def test_rows_evaluations_and_checkpoints_come_when_they_are_due(
    place: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
    evaluated: list[int],
    saved: list[int],
    noted: list[int] | None,
) -> None:
    monkeypatch.setattr(Judge, "episodes", lambda *_: 1)
    del place["evaluate_every"]
    watcher = Watcher()
    gtp_fast.fit(**place | {"log_every": 7} | given, callbacks=[watcher])
    seen = {
        name: [(step, what) for kind, step, what in watcher.seen if kind == name]
        for name in ("metrics", "evaluation", "checkpoint")
    }
    assert [step for step, _ in seen["evaluation"]] == evaluated
    assert [step for step, _ in seen["checkpoint"]] == saved
    # Losses, the last ones included; figures of health at evaluations, or else at checkpoints.
    assert [step for step, losses in seen["metrics"] if losses] == [7, 14, 21, 28, 35, 40]
    assert [step for step, losses in seen["metrics"] if not losses] == (noted or evaluated)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, [30, 40]),
        ({"keep_checkpoints": 1}, [40]),
        ({"keep_checkpoints": "all"}, [10, 20, 30, 40]),
    ],
)
@pytest.mark.parametrize("stop", [None, 25])
def test_as_many_checkpoints_stay_as_were_asked_for(
    place: dict[str, Any], given: dict[str, Any], kept: list[int], stop: int | None
) -> None:
    place |= {"env": "none", "checkpoint_every": 10, **given}
    run = gtp_fast.fit(**place, callbacks=[Watcher(stop=stop)] if stop else [])
    if stop:
        run = gtp_fast.fit(place["dataset"], resume=run)
        kept = kept if len(kept) < 3 else sorted({*kept, stop})
    left = sorted(path.name for path in Run(run.path).checkpoints.iterdir())
    assert left == [f"step_{step:09d}" for step in kept]
    assert checkpoint.load(run.path, left[0]).step == kept[0]


@pytest.mark.parametrize("keep", [0, -1, "best", None, True])
def test_a_number_of_checkpoints_that_cannot_be_kept_is_refused(
    place: dict[str, Any], keep: int | str | None
) -> None:
    with pytest.raises(UserError, match=f"must be at least 1, or all, not {keep}"):
        gtp_fast.fit(**place, keep_checkpoints=keep)


def test_a_callback_stops_a_run_that_can_go_on(place: dict[str, Any], tmp_path: Path) -> None:
    run = gtp_fast.fit(**place, callbacks=[Watcher(stop=15)])
    assert run.summary["updates"] == 15 and checkpoint.load(run.path).step == 15
    whole = gtp_fast.fit(**place | {"output": tmp_path / "whole"})
    with pytest.raises(UserError, match=r"fit\(resume=...\) takes the settings of the run"):
        gtp_fast.fit(place["dataset"], resume=run, eta=2.0)
    gtp_fast.fit(place["dataset"], env=place["env"], resume=run)
    one, other = (checkpoint.load(one.path).tensors for one in (run, whole))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_stop_at_a_row_of_metrics_counts_none_of_it_twice(
    place: dict[str, Any], tmp_path: Path, processes: int
) -> None:
    place |= {"evaluate_every": 0, "checkpoint_every": 40, "processes": processes}
    whole = gtp_fast.fit(**place | {"output": tmp_path / "whole"})
    run = gtp_fast.fit(**place, callbacks=[Watcher(stop=10)])
    sums = checkpoint.load(run.path).meta["metrics"]
    assert sums["count"] == 0 and not np.any(sums["total"])
    gtp_fast.fit(place["dataset"], env=place["env"], resume=run, processes=1)
    for name in ("flow_loss", "consistency_loss"):
        one, other = (found.metrics for found in (run, whole))
        at, where = (np.flatnonzero(found["step"] == 15)[:2] for found in (one, other))
        assert one[name][at].tolist() == other[name][where].tolist()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_stop_between_two_rows_of_metrics_loses_none_of_them(
    place: dict[str, Any], tmp_path: Path, processes: int
) -> None:
    place |= {"evaluate_every": 0, "log_every": 20, "checkpoint_every": 8, "processes": processes}
    whole = gtp_fast.fit(**place | {"output": tmp_path / "whole"})

    class Stop(Callback):
        def on_checkpoint(self, step: int, path: Path) -> bool:
            return step == 8

    run = gtp_fast.fit(**place, callbacks=[Stop()])
    assert checkpoint.load(run.path).meta["metrics"]["count"] == 8
    gtp_fast.fit(place["dataset"], env=place["env"], resume=run, processes=processes)
    assert "count" in checkpoint.load(run.path).meta["metrics"]
    one, other = run.metrics, whole.metrics
    at, where = (np.flatnonzero(found["step"] == 20)[:2] for found in (one, other))
    for name in ("flow_loss", "consistency_loss"):
        assert one[name][at].tolist() == other[name][where].tolist()


def test_evaluations_between_take_their_share_of_the_time(
    place: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    watcher = Watcher()
    del place["evaluate_every"]
    spec = fake_environments.spec(flat=True)
    place["env"] = fake_environments.make(spec)
    # Whole episodes cost more than these few updates, so nothing but the last one is complete.
    gtp_fast.fit(**place, callbacks=[watcher])
    played = {step: shape[1] for name, step, shape in watcher.seen if name == "evaluation"}
    assert played[40] == 4
    assert all(count <= 4 for count in played.values())
    few = any(count < 4 for count in played.values()) or len(played) < 10
    assert few == ("have fewer episodes" in capsys.readouterr().err)


def test_an_early_stop_ends_with_all_episodes(
    place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judge, "episodes", lambda self, last, training: 4 if last else 1)

    class Stop(Callback):
        def on_evaluation(self, step: int, evaluation: Evaluation) -> bool:
            return True

    del place["evaluate_every"]
    run = gtp_fast.fit(**place, callbacks=[Stop()])
    assert run.summary["updates"] == 4 and run.summary["episodes_per_seed"] == 4
    rows = evaluations.read(run.run.evaluations)
    assert (rows["step"] == 4).sum() == 2 * 4
    # It holds its folder no longer, and another environment than the live one may play.
    with pytest.raises(UserError, match="there is no environment Nowhere-v0"):
        run.evaluate(env="Nowhere-v0")


def test_a_failed_resume_frees_the_folder(place: dict[str, Any]) -> None:
    run = gtp_fast.fit(**place)
    run.run.evaluations.write_bytes(b"no archive")
    kept = []
    for _ in range(2):
        with pytest.raises(UserError, match="cannot be read") as caught:
            gtp_fast.fit(place["dataset"], env=place["env"], resume=run)
        # As a notebook does, whose traceback keeps what failed alive.
        kept.append(caught)


def test_the_budget_of_an_evaluation() -> None:
    judge = object.__new__(Judge)
    judge.evaluator = SimpleNamespace(episodes=100)  # type: ignore[assignment]
    judge.given, judge.cost, judge.between = False, 0.5, 0.0
    assert judge.episodes(last=False, training=20.0) == 10
    judge.between = 5.0
    assert judge.episodes(last=False, training=20.0) == 0
    assert judge.episodes(last=True, training=20.0) == 100
    judge.given = True
    assert judge.episodes(last=False, training=20.0) == 100


def test_tensorboard_gets_the_same_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = TensorBoard()
    log.on_start(SimpleNamespace(seeds=(3, 9)), tmp_path)  # type: ignore[arg-type]
    log.on_metrics(100, {"loss": [0.5, 0.25]})
    log.on_end(100)
    events = EventAccumulator(str(tmp_path / "tensorboard" / "seed9"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(100, 0.25)]


def test_tensorboard_that_is_not_there_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if "tensorboard" in name:
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'gtp_fast\[tensorboard\]'"):
        TensorBoard()
