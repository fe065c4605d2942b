"""What a run refuses to go on with, and what it keeps where something else than it fails."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import fake_environments
import gymnasium
import numpy as np
import pytest
import sets
from train_runs import only_run

import gtp_fast
from gtp_fast import cli, evaluate, train
from gtp_fast.errors import UserError
from gtp_fast.runs import checkpoint

SMALL: dict[str, Any] = {
    "steps": 20, "width": 8, "k": 2, "batch_size": 8, "episodes": 2, "log_every": 5,
    "checkpoint_every": 10, "device": "cpu", "processes": 1,
}  # fmt: skip


class At10(gtp_fast.Callback):
    """Does something at the checkpoint of update 10."""

    def on_checkpoint(self, step: int, path: Path) -> bool | None:
        return self.do() if step == 10 else None

    def do(self) -> bool | None:
        return True


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def place(tmp_path: Path) -> dict[str, Any]:
    np.savez(tmp_path / "set.npz", **sets.flat(steps=40, width=2))
    return SMALL | {"dataset": tmp_path / "set.npz", "env": "none", "output": tmp_path / "runs"}


def test_a_run_goes_on_with_its_own_data_alone(
    place: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = gtp_fast.fit(**place, callbacks=[At10()])
    np.savez(tmp_path / "set.npz", **sets.flat(steps=24, width=2))
    said = "38 transitions in 3 episodes then, 22 transitions in 3 episodes now"
    with pytest.raises(UserError, match=said):
        gtp_fast.fit(resume=stopped)
    other = sets.flat(steps=40, width=2)
    other["rewards"] = other["rewards"] + 1e-3
    np.savez(tmp_path / "set.npz", **other)
    with pytest.raises(UserError, match="then, as many with other values now"):
        gtp_fast.fit(resume=stopped)
    assert cli.run(evaluate.main, [str(stopped), "--fqe", "--fqe-steps", "2"]) == 2
    assert "is not what the run was trained on" in capsys.readouterr().err
    np.savez(tmp_path / "set.npz", **sets.flat(steps=40, width=2))
    assert gtp_fast.fit(resume=stopped).summary["updates"] == 20


def test_standardised_observations_do_not_hide_other_data(place: dict[str, Any]) -> None:
    data, other = sets.flat(steps=40, width=2), sets.flat(steps=40, width=2)
    options = place | {"dataset": data, "normalise_observations": True}
    stopped = gtp_fast.fit(**options, callbacks=[At10()])
    other["observations"] = other["observations"] * 2
    with pytest.raises(UserError, match="as many with other values now"):
        gtp_fast.fit(other, resume=stopped)
    assert gtp_fast.fit(data, resume=stopped).summary["updates"] == 20


def test_a_run_that_goes_on_takes_no_agent_and_no_other_dataset(
    place: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = gtp_fast.fit(**place, callbacks=[At10()])
    with pytest.raises(UserError, match="leave out agent, dataset"):
        gtp_fast.fit("other.npz", agent="bc", resume=stopped)
    # Also where they have the default's value.
    words = ["--resume", str(stopped), "--agent", "gtp", "--log-every=500"]
    assert cli.run(train.main, words) == 2
    assert "leave out --agent, --log-every." in capsys.readouterr().err


def test_what_evaluate_does_not_serve_is_refused(place: dict[str, Any]) -> None:
    run = gtp_fast.fit(**place)
    with pytest.raises(UserError, match="leave fqe, video out; the command"):
        run.evaluate(1, fqe=True, video="there")


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_stop_signal_ends_a_script_of_several_runs(
    number: int, raised: type[BaseException], place: dict[str, Any], tmp_path: Path
) -> None:
    class Kill(At10):
        def do(self) -> None:
            os.kill(os.getpid(), number)

    with pytest.raises(raised):
        gtp_fast.fit(**place, callbacks=[Kill()])
    assert checkpoint.load(only_run(tmp_path / "runs")).step < 20


def test_numpys_true_stops_a_run(place: dict[str, Any]) -> None:
    class Stop(gtp_fast.Callback):
        def on_metrics(self, step: int, figures: Any) -> Any:
            return np.mean(figures.get("flow_loss", np.nan)) > 0

    assert gtp_fast.fit(**place, callbacks=[Stop()]).summary["updates"] == 5


def test_a_callback_that_fails_costs_no_update(place: dict[str, Any], tmp_path: Path) -> None:
    class Fails(gtp_fast.Callback):
        def on_metrics(self, step: int, figures: Any) -> None:
            if step == 15:
                raise KeyError("a name")

    with pytest.raises(KeyError, match="a name"):
        gtp_fast.fit(**place, callbacks=[Fails()])
    assert checkpoint.load(only_run(tmp_path / "runs")).step == 15


class Breaks(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose simulator fails."""

    def step(self, action: Any) -> Any:
        raise RuntimeError("the simulator is unstable")


def test_an_environment_that_fails_costs_no_update(place: dict[str, Any], tmp_path: Path) -> None:
    live = Breaks(fake_environments.make(fake_environments.spec(flat=True)))
    options = place | {"env": live, "evaluate_every": 15, "checkpoint_every": 20}
    with pytest.raises((RuntimeError, UserError), match="the simulator is unstable"):
        gtp_fast.fit(**options)
    assert checkpoint.load(only_run(tmp_path / "runs")).step == 15
