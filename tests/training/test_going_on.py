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
import torch
from gymnasium.envs.registration import EnvSpec
from train_runs import only_run

import gtp_fast
from gtp_fast import cli, collect, evaluate, train
from gtp_fast.data import hold_out
from gtp_fast.errors import UserError
from gtp_fast.runs import checkpoint
from gtp_fast.training import start
from gtp_fast.training.line import ProgressLine
from gtp_fast.training.options import RunConfig

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


class Stop(gtp_fast.Callback):
    """Ends a run at update 15."""

    def on_metrics(self, step: int, figures: Any) -> bool:
        return step == 15


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


def test_a_run_that_goes_on_takes_no_agent_and_no_setting(
    place: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = gtp_fast.fit(**place, callbacks=[At10()])
    with pytest.raises(UserError, match="leave out steps, agent"):
        gtp_fast.fit(agent="bc", steps=40, resume=stopped)
    # Also where they have the default's value.
    words = ["--resume", str(stopped), "--agent", "gtp", "--log-every=500"]
    assert cli.run(train.main, words) == 2
    assert "leave out --agent, --log-every." in capsys.readouterr().err


def test_what_evaluate_does_not_serve_is_refused(place: dict[str, Any]) -> None:
    run = gtp_fast.fit(**place)
    with pytest.raises(UserError, match=r"leave fqe, video out; fqe\(\) judges"):
        run.evaluate(1, fqe=True, video="there")
    with pytest.raises(UserError, match="Unknown option 'envs': did you mean env"):
        run.evaluate(1, envs="Pendulum-v1")
    with pytest.raises(UserError, match="Unknown option 'run'"):
        run.evaluate(1, run="another")
    with pytest.raises(UserError, match="--fqe plays no episodes: leave --episodes out"):
        run.fqe(episodes=3)
    assert cli.run(evaluate.main, [str(run), "--dataset", "set.npz"]) == 2


def test_data_that_have_moved_are_held_to_those_of_training(
    place: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = gtp_fast.fit(**place, callbacks=[At10()])
    moved = (tmp_path / "set.npz").rename(tmp_path / "of another name.npz")
    words = [str(stopped), "--fqe", "--fqe-steps", "2"]
    assert cli.run(evaluate.main, words) == 2
    assert cli.run(train.main, ["--resume", str(stopped)]) == 2
    assert capsys.readouterr().err.count("say by it where its data lie now") == 2
    assert cli.run(evaluate.main, [*words, "--dataset", str(moved)]) == 0
    assert "set on set.npz, without an environment" in capsys.readouterr().out
    assert cli.run(train.main, ["--resume", str(stopped), "--dataset", str(moved)]) == 0
    assert stopped.summary["updates"] == 20 and stopped.summary["dataset"] == "set.npz"
    assert gtp_fast.fit(moved, resume=stopped).path == stopped.path
    np.savez(moved, **sets.flat(steps=24, width=2))
    assert cli.run(train.main, ["--resume", str(stopped), "--dataset", str(moved)]) == 2
    assert "set.npz is not what the run was trained on" not in (said := capsys.readouterr().err)
    assert "is not what the run was trained on" in said
    # An older folder could be given anything.
    config = stopped.run.config()
    del config["data"]
    stopped.run.write_config(config)
    with pytest.raises(UserError, match="older version and does not tell its data from others"):
        gtp_fast.fit(moved, resume=stopped)


def test_data_from_memory_judge_a_run(
    place: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = sets.flat(steps=40, width=2)
    run = gtp_fast.fit(**place | {"dataset": arrays, "hold_out": 0.4, "seeds": (0, 1)})
    assert "`gtp_fast.TrainedRun(RUN).fqe(data)` judges by the data" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"or gtp_fast.TrainedRun\(RUN\).fqe\(data\)"):
        run.fqe(fqe_steps=2)
    found = run.fqe(arrays, fqe_steps=2, seed=3)
    assert len(found["means"]["fqe_value"]) == 2
    assert found["held_out"]["seen_in_training"] is False
    assert [path.name[:4] for path in (run.path / "evaluations").iterdir()] == ["fqe-"]
    with pytest.raises(UserError, match="is not what the run was trained on"):
        run.fqe(sets.flat(steps=24, width=2), fqe_steps=2)


def test_arrays_of_a_task_are_not_sought_by_name(
    place: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = sets.flat(steps=40, width=2)
    run = gtp_fast.fit(**place | {"dataset": arrays, "task": "hopper-medium"})
    assert run.run.config()["dataset"] is None
    assert "`gtp_fast.TrainedRun(RUN).fqe(data)` judges by the data" in capsys.readouterr().out
    with pytest.raises(UserError, match="This run took its data from memory"):
        gtp_fast.fit(resume=run)
    assert run.fqe(arrays, fqe_steps=2)["dataset"] == "arrays"


def test_a_run_that_is_complete_says_so(
    place: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = gtp_fast.fit(**place, reward="minus_one")
    said, first = "The run has all of its 20 updates: nothing was left", capsys.readouterr().out
    assert said not in first and "            changed as asked: reward minus_one\n" in first
    assert cli.run(train.main, ["--resume", str(run)]) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("given", [At10(), [At10], [lambda step: None], "At10"])
def test_what_is_no_callback_is_a_sentence_before_anything_is_made(
    place: dict[str, Any], given: Any
) -> None:
    with pytest.raises(UserError, match="callbacks takes a list of objects"):
        gtp_fast.fit(**place, callbacks=given)
    assert not place["output"].exists()


@pytest.mark.parametrize("at", [10, 20])
@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_stop_signal_ends_a_script_of_several_runs(
    number: int, raised: type[BaseException], at: int, place: dict[str, Any], tmp_path: Path
) -> None:
    class Kill(gtp_fast.Callback):
        def on_checkpoint(self, step: int, path: Path) -> None:
            if step == at:
                os.kill(os.getpid(), number)

    with pytest.raises(raised):
        gtp_fast.fit(**place, callbacks=[Kill()])
    assert at <= checkpoint.load(only_run(tmp_path / "runs")).step < at + 5


def test_episodes_that_an_older_version_held_out_are_not_trained_on(place: dict[str, Any]) -> None:
    stopped = gtp_fast.fit(**place, hold_out=0.3, callbacks=[At10()])
    config = stopped.run.config()
    del config["data"]
    stopped.run.write_config(config)
    with pytest.raises(UserError, match="held out other episodes: train a new one"):
        gtp_fast.fit(resume=stopped)
    assert hold_out.share_of({}) == hold_out.share_of({"hold_out": 0.0}) == 0.0


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


def test_a_run_goes_on_in_a_named_maze_as_its_task_plays_it(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium_robotics")
    made = collect.collect("pointmaze-demo", 600, output=tmp_path / "sets", progress=False)
    options = SMALL | {"env": "none", "output": tmp_path / "runs", "task": "pointmaze-demo"}
    stopped = gtp_fast.fit(made.path, **options, callbacks=[At10()])
    trainer = start.resume(RunConfig(resume=str(stopped), env="PointMaze_UMaze-v3"))
    assert trainer.judge.evaluator is not None
    assert isinstance(trainer.judge.evaluator.environment, EnvSpec)
    assert trainer.judge.evaluator.environment.kwargs["continuing_task"] is False
    trainer.hold.release()


def test_a_live_environment_needs_no_trust_in_the_stored_one(place: dict[str, Any]) -> None:
    live = fake_environments.make(fake_environments.spec(flat=True))
    stopped = gtp_fast.fit(**place | {"env": live, "evaluate_every": 0}, callbacks=[At10()])
    config = stopped.run.config()
    spec = EnvSpec("Nowhere-v0", entry_point="nowhere:Nothing")
    config["evaluation"] = {"environment": spec.to_json(), "reason": ""}
    stopped.run.write_config(config)
    with pytest.raises(UserError, match="asks to run code from nowhere:Nothing"):
        gtp_fast.fit(resume=stopped)
    assert gtp_fast.fit(env=live, resume=stopped).summary["updates"] == 20


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
