"""Small runs of the training command, and its refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from gtp_fast import cli, train

SMALL = ["--width", "16", "--k", "2", "--batch-size", "32", "--episodes", "2", "--log-every", "5"]


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
