"""Callbacks: what they see, how they stop a run, and the loggers among them."""

from __future__ import annotations

import builtins
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gtp_fast.errors import UserError
from gtp_fast.training.tensorboard import TensorBoard


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
