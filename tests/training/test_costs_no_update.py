"""Where something else than the run fails, no update and no evaluation is lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import fake_environments
import gymnasium
import numpy as np
import pytest
import torch
from train_runs import only_run

import gtp_fast
from gtp_fast.errors import UserError
from gtp_fast.runs import checkpoint
from gtp_fast.training.line import ProgressLine


class Stop(gtp_fast.Callback):
    """Ends a run at update 15."""

    def on_metrics(self, step: int, figures: Any) -> bool:
        return step == 15


def test_a_callback_that_fails_costs_no_update(place: dict[str, Any], tmp_path: Path) -> None:
    class Fails(gtp_fast.Callback):
        def on_metrics(self, step: int, figures: Any) -> None:
            if step == 15:
                raise KeyError("a name")

    with pytest.raises(KeyError, match="a name"):
        gtp_fast.fit(**place, callbacks=[Fails()])
    assert checkpoint.load(only_run(tmp_path / "runs")).step == 15


def test_the_first_error_is_the_one_that_is_raised(place: dict[str, Any], tmp_path: Path) -> None:
    class Fails(gtp_fast.Callback):
        def on_metrics(self, step: int, figures: Any) -> None:
            raise KeyError("the first")

        def on_checkpoint(self, step: int, path: Path) -> None:
            raise ValueError("the second")

    with pytest.raises(KeyError, match="the first"):
        gtp_fast.fit(**place, callbacks=[Fails()])
    assert checkpoint.load(only_run(tmp_path / "runs")).step == 5


def test_a_disk_that_is_full_is_said_once(
    place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_durably", full)
    with pytest.raises(UserError, match="No space left on device") as caught:
        gtp_fast.fit(**place)
    assert not getattr(caught.value, "__notes__", [])


def test_what_is_saved_after_an_error_is_up_to_date(
    place: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = place | {"seeds": (0, 1), "log_every": 10**6, "checkpoint_every": 10**6}
    whole = gtp_fast.fit(**options | {"steps": 3000, "output": tmp_path / "whole"})

    def fails(line: ProgressLine, done: int) -> None:
        raise OSError("the terminal is gone")

    with monkeypatch.context() as patch:
        patch.setattr(ProgressLine, "reach", fails)
        with pytest.raises(OSError, match="the terminal is gone"):
            gtp_fast.fit(**options | {"steps": 3000, "processes": 2})
    stopped = only_run(tmp_path / "runs")
    # Between two intervals the processes alone have the new weights.
    assert 0 < checkpoint.load(stopped).step < 3000
    gtp_fast.fit(resume=stopped)
    one, two = (checkpoint.load(run).tensors for run in (whole.path, stopped))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


class Breaks(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose simulator fails."""

    def step(self, action: Any) -> Any:
        raise RuntimeError("the simulator is unstable")


@pytest.mark.parametrize("stops", [False, True])
def test_an_environment_that_fails_costs_no_update(
    stops: bool, place: dict[str, Any], tmp_path: Path
) -> None:
    live = Breaks(fake_environments.make(fake_environments.spec(flat=True)))
    every = 0 if stops else 15
    options = place | {"env": live, "evaluate_every": every, "checkpoint_every": 20}
    with pytest.raises((RuntimeError, UserError), match="the simulator is unstable"):
        gtp_fast.fit(**options, callbacks=[Stop()] * stops)
    assert checkpoint.load(only_run(tmp_path / "runs")).step == 15


def test_an_environment_that_cannot_be_closed_costs_a_note(
    place: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    gymnasium.register("Sticks-v0", "fake_environments:Sticks")
    try:
        run = gtp_fast.fit(**place | {"env": "Sticks-v0"})
    finally:
        del gymnasium.registry["Sticks-v0"]
    note = "note: Sticks-v0 failed when it was closed (RuntimeError: the window is gone)"
    assert capsys.readouterr().err.count(note) >= 2
    assert checkpoint.load(run.path).step == run.summary["updates"] == 20


def test_episodes_that_cannot_be_written_are_not_lost(
    place: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    live = fake_environments.make(fake_environments.spec(flat=True))
    run = gtp_fast.fit(**place | {"env": live})
    # As root a test cannot make a folder read-only.
    (run.path / "evaluations").write_text("in the way")
    assert run.evaluate(episodes=3).returns.shape == (1, 3)
    assert "note: the episodes are returned and not written: " in capsys.readouterr().err


class Interrupted(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment with a Ctrl-C in its second step."""

    steps = 0

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.steps == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return super().step(action)


def test_an_evaluation_cut_short_twice_is_still_made(place: dict[str, Any], tmp_path: Path) -> None:
    quiet = gymnasium.wrappers.TimeLimit(fake_environments.Chaos(flat=True), 5)
    options = place | {"evaluate_every": 10}
    with pytest.raises(KeyboardInterrupt):
        gtp_fast.fit(**options | {"env": Interrupted(quiet)})
    run = only_run(tmp_path / "runs")
    # The second one comes while the first evaluation is made up for.
    with pytest.raises(KeyboardInterrupt):
        gtp_fast.fit(resume=run, env=Interrupted(quiet))
    assert checkpoint.last(run) == run / "checkpoints" / "step_000000010"
    gtp_fast.fit(resume=run, env=quiet)
    assert np.unique(np.load(run / "evaluations.npz")["step"]).tolist() == [10, 20]


def test_an_evaluation_cut_short_after_a_callbacks_stop_is_no_end(
    place: dict[str, Any], tmp_path: Path
) -> None:
    quiet = gymnasium.wrappers.TimeLimit(fake_environments.Chaos(flat=True), 5)
    late = Interrupted(quiet)
    late.steps = -1000

    class At15(gtp_fast.Callback):
        def on_metrics(self, step: int, figures: Any) -> bool:
            late.steps = 0 if step == 15 else late.steps
            return step == 15

    with pytest.raises(KeyboardInterrupt):
        gtp_fast.fit(**place | {"evaluate_every": 10, "env": late}, callbacks=[At15()])
    run = only_run(tmp_path / "runs")
    assert checkpoint.last(run) == run / "checkpoints" / "step_000000015"
    assert np.unique(np.load(run / "evaluations.npz")["step"]).tolist() == [10]
    # Its last figures are of update 10, and no summary says that they are of update 15.
    assert not (run / "summary.json").exists()
    assert gtp_fast.fit(resume=run, env=quiet).summary["updates"] == 20
