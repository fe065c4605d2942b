"""What a run goes on with, and what it refuses to go on with."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import fake_environments
import numpy as np
import pytest
import sets
from gymnasium.envs.registration import EnvSpec
from train_runs import TINY, only_run

import gtp_fast
from gtp_fast import cli, collect, evaluate, train
from gtp_fast.data import hold_out
from gtp_fast.errors import UserError
from gtp_fast.runs import checkpoint
from gtp_fast.training import start
from gtp_fast.training.options import RunConfig


class At10(gtp_fast.Callback):
    """Does something at the checkpoint of update 10."""

    def on_checkpoint(self, step: int, path: Path) -> bool | None:
        return self.do() if step == 10 else None

    def do(self) -> bool | None:
        return True


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


def test_a_run_goes_on_in_a_named_maze_as_its_task_plays_it(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium_robotics")
    made = collect.collect("pointmaze-demo", 600, output=tmp_path / "sets", progress=False)
    options = TINY | {"env": "none", "output": tmp_path / "runs", "task": "pointmaze-demo"}
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
