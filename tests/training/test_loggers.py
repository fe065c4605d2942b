"""Loggers: the same figures in each, offline; a broken one never ends a training."""

from __future__ import annotations

import builtins
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sets

import gtp_fast
from gtp_fast.agents.base import Agent
from gtp_fast.errors import UserError
from gtp_fast.training import loggers
from gtp_fast.training.callbacks import Figures, Logger
from gtp_fast.training.options import RunConfig

OPTIONS: dict[str, Any] = {
    "width": 8, "k": 2, "batch_size": 8, "log_every": 5, "device": "cpu", "processes": 1,
    "steps": 10, "seeds": (0, 5), "env": "none",
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "cache"))
    return OPTIONS | {"dataset": sets.flat(steps=40, width=2), "output": tmp_path / "runs"}


class Broken(Logger):
    """Fails at one of its calls and counts all of them."""

    def __init__(self, where: str):
        self.where = where
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.where:
            raise ConnectionError(f"no service at {name}\nand much more")

    def open(self, agent: Agent, folder: Path) -> None:
        self._call("open")

    def log(self, step: int, figures: Figures) -> None:
        self._call("log")

    def close(self) -> None:
        self._call("close")


@pytest.mark.parametrize(
    ("where", "calls"),
    [("open", ["open"]), ("log", ["open", "log"]), ("close", ["open", "log", "log", "close"])],
)
def test_a_logger_that_fails_is_left_alone(
    place: dict[str, Any], capsys: pytest.CaptureFixture[str], where: str, calls: list[str]
) -> None:
    logger = Broken(where)
    run = gtp_fast.fit(**place, callbacks=[logger])
    # The figures of health come with the checkpoint, in a call of their own.
    assert list(dict.fromkeys(logger.calls)) == list(dict.fromkeys(calls))
    assert logger.calls.count(where) == 1
    said = capsys.readouterr().err
    assert said.count(f"Broken failed (no service at {where}): the training goes on") == 1
    assert run.metrics["step"][-1] == 10


def test_loggers_have_names_on_the_command_line() -> None:
    assert RunConfig(logger=("wandb", "tensorboard"), tensorboard=True).loggers == (
        "wandb", "tensorboard",
    )  # fmt: skip
    assert RunConfig(tensorboard=True).loggers == ("tensorboard",)
    with pytest.raises(UserError, match=r"choose among tensorboard, wandb, trackio"):
        loggers.named(["mlflow"])


@pytest.mark.parametrize("name", loggers.LOGGERS)
def test_a_logger_that_is_not_installed_is_a_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = builtins.__import__

    def without(wanted: str, *rest: Any, **more: Any) -> Any:
        if name in wanted and not wanted.startswith("gtp_fast"):
            raise ImportError(wanted)
        return real(wanted, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=rf"pip install 'gtp_fast\[{name}\]'"):
        loggers.named([name])


def run_folder(place: dict[str, Any]) -> str:
    (folder,) = place["output"].iterdir()
    return str(folder.name)


def test_wandb_gets_the_figures_offline(
    place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    found: dict[tuple[str, int], float] = {}
    real = wandb.Run.log

    def log(self: Any, data: dict[str, Any], *rest: Any, **more: Any) -> None:
        assert (self.group, self.project) == (run_folder(place), "gtp_fast")
        if "flow_loss" in data:
            found[self.name, data["update"]] = data["flow_loss"]
        real(self, data, *rest, **more)

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    monkeypatch.setattr(wandb.Run, "log", log)
    run = gtp_fast.fit(**place, logger=("wandb",))
    files = sorted(run.path.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2, "one for each seed"
    # Its own process may still be writing when it says that it has finished.
    for path in files:
        while b"flow_loss" not in path.read_bytes():
            time.sleep(0.1)
    table = run.metrics
    for seed in (0, 5):
        for step in (5, 10):
            (row,) = ((table["step"] == step) & (table["seed"] == seed)
                      & (table["flow_loss"] == table["flow_loss"])).nonzero()[0]  # fmt: skip
            value = found[f"{run.path.name}-seed{seed}", step]
            assert value == pytest.approx(table["flow_loss"][row], rel=1e-7)


def test_trackio_gets_the_figures_in_a_local_folder(tmp_path: Path) -> None:
    """In a process of its own: trackio reads its folder once, when it is imported."""
    pytest.importorskip("trackio")
    np.savez(tmp_path / "data.npz", **sets.flat(steps=40, width=2))
    environment = os.environ | {
        "TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1",
        "GTP_FAST_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    words = "--width 8 --k 2 --batch-size 8 --log-every 5 --steps 10 --seeds 0 5 --env none"
    done = subprocess.run(
        [sys.executable, "-m", "gtp_fast.train", "--dataset", str(tmp_path / "data.npz"),
         "--output", str(tmp_path / "runs"), "--logger", "trackio", "tensorboard",
         *words.split()],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "tensorboard" / "seed5").is_dir()
    (database,) = (tmp_path / "trackio").glob("gtp_fast*.db")
    with sqlite3.connect(database) as opened:
        rows = opened.execute("SELECT run_name, step, metrics FROM metrics").fetchall()
    assert {name for name, _, _ in rows} == {run.name}
    told = [(step, str(figures)) for _, step, figures in rows if "flow_loss" in str(figures)]
    assert sorted(step for step, _ in told) == [5, 10]
    assert all("flow_loss/seed5" in figures for _, figures in told)
