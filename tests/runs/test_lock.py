"""One training at a time in a run folder, and nothing lost between two saves of one step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from fake_runs import empty_run, make_run

from gtp_fast.errors import UserError
from gtp_fast.runs import Run, checkpoint
from gtp_fast.runs.lock import Hold
from gtp_fast.training.trainer import Trainer


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return empty_run(tmp_path / "run")


def test_a_second_training_is_told_who_holds_the_folder(run: Run) -> None:
    first = Hold(run)
    with pytest.raises(UserError, match=rf"is being trained by process {os.getpid()} on .*: wait"):
        Hold(run)
    first.release()
    Hold(run).release()


def test_a_kill_between_two_renames_loses_no_checkpoint(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = checkpoint.save(run, 5, {"x": torch.ones(2)}, {})
    real = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if self.name.endswith(".tmp"):
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(run, 5, {"x": torch.zeros(2)}, {})
    monkeypatch.undo()
    assert not saved.exists()
    assert checkpoint.last(run) == saved
    assert torch.equal(checkpoint.load(saved).tensors["x"], torch.ones(2))


def test_the_name_of_a_checkpoint_finds_one_that_was_moved_aside(run: Run) -> None:
    saved = checkpoint.save(run, 5, {"x": torch.ones(2)}, {})
    saved.rename(saved.with_name(f".{saved.name}.old"))
    assert checkpoint.load(saved).step == 5


def test_a_checkpoint_that_holds_nan_is_refused(run: Run) -> None:
    checkpoint.save(run, 5, {"x": torch.tensor([1.0, float("nan")])}, {})
    with pytest.raises(UserError, match="x holds NaN or infinite numbers: delete that folder"):
        checkpoint.load(run)


def test_two_resumed_runs_do_not_share_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    made = make_run(tmp_path / "run")
    held = Hold(made)
    with pytest.raises(UserError, match="is being trained by"):
        Trainer.held(made, None, None, None, 0)
    held.release()
