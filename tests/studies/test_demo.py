"""The demo's table: what it says of several seeds and of one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from gtp_fast import demo
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.runs import Run


def test_several_seeds_have_a_sample_deviation_and_one_has_none() -> None:
    facts: Any = SimpleNamespace(statistics=SimpleNamespace(success_rate=0.25, mean_length=170.2))
    success = np.array([[1.0, 0.0], [1.0, 1.0]])
    lengths = np.array([[100, 110], [120, 130]])
    shown = demo.table({"GTP": (Run(Path("run")), played(success, lengths))}, facts)
    # Of 50 and 100, and of 105 and 125.
    assert "75.0 +- 35.4 %" in shown and "115 +- 14\n" in shown
    assert shown.endswith("mean and standard deviation over 2 seeds, 2 episodes each")
    shown = demo.table({"GTP": (Run(Path("run")), played(success[:1], lengths[:1]))}, facts)
    assert "+-" not in shown and "deviation" not in shown and shown.endswith("1 seed, 2 episodes")


def played(success: Any, lengths: Any) -> Evaluation:
    """Return an evaluation of so many seeds with these episodes."""
    seeds = tuple(range(len(success)))
    return Evaluation(seeds, success, lengths, success, np.arange(2), None)
