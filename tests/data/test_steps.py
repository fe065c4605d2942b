"""Which steps of stored demonstrations are terminal, and what follows them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gtp_fast.data.steps import Steps, recording


def terminals(success: list[int], done: list[int] | None) -> list[bool]:
    """Return the terminal steps of two episodes of three."""
    six: Any = np.arange(6.0)[:, None]
    marks = None if done is None else np.array(done, bool)
    steps = Steps(
        six, six, np.zeros(6), marks, np.repeat([0, 1], 3), six + 1, np.array(success, bool)
    )
    return recording("x", steps).terminals.tolist()


@pytest.mark.parametrize(
    ("success", "done", "expected"),
    [
        # A recording that goes on after its success ends where it says so.
        ([0, 1, 1, 0, 0, 0], [0, 0, 1, 0, 0, 1], [0, 0, 1, 0, 0, 0]),
        ([0, 1, 0, 0, 0, 1], None, [0, 1, 0, 0, 0, 1]),
    ],
)
def test_a_step_is_terminal_by_success_and_done_together(
    success: list[int], done: list[int] | None, expected: list[int]
) -> None:
    assert terminals(success, done) == [bool(x) for x in expected]
