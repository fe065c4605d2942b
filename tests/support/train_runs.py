"""Small runs of the training command, and its refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sets

from gtp_fast import cli, train

SMALL = ["--width", "16", "--k", "2", "--batch-size", "32", "--episodes", "2", "--log-every", "5"]

TINY: dict[str, Any] = {
    "steps": 20, "width": 8, "k": 2, "batch_size": 8, "episodes": 2, "log_every": 5,
    "checkpoint_every": 10, "device": "cpu", "processes": 1,
}  # fmt: skip


def arguments(dataset: Path, output: Path, *more: str) -> list[str]:
    return [
        "--task",
        "pointmaze-demo",
        "--dataset",
        str(dataset),
        "--output",
        str(output),
        *SMALL,
        *more,
    ]


def on_a_file(folder: Path) -> dict[str, Any]:
    """Write a small dataset; return options of `fit` that train on it without an environment."""
    np.savez(folder / "set.npz", **sets.flat(steps=40, width=2))
    return TINY | {"dataset": folder / "set.npz", "env": "none", "output": folder / "runs"}


def only_run(output: Path) -> Path:
    (run,) = output.iterdir()
    return run


def refusal(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    code = cli.run(train.main, args)
    said = capsys.readouterr().err
    assert code == 2
    assert "Traceback" not in said
    line = said.strip().splitlines()[-1]
    assert line.startswith("gtp_fast: ")
    return line
