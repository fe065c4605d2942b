"""Sizes beyond a fused form: training by it is refused, acting asks for the sampler alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sets
from native_cases import needs_native

import gtp_fast
from gtp_fast import policy
from gtp_fast.errors import UserError

pytest.importorskip("triton")

WIDE: dict[str, Any] = {
    "agent": "bc", "steps": 2, "width": 600, "depth": 1, "batch_size": 8, "env": "none",
    "device": "cpu", "processes": 1,
}  # fmt: skip


@needs_native
def test_a_network_wider_than_triton_holds_acts_by_its_sampler_and_does_not_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = sets.flat(steps=40, width=3)
    run = gtp_fast.fit(arrays, **WIDE, output=tmp_path)
    # Triton trains, as on a GPU, and C++ samples.
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    observation = np.zeros(3, np.float32)
    acts = policy.load(run.path, backend="fused")
    assert np.array_equal(acts.act(observation), policy.load(run.path).act(observation))
    refused = "--backend fused is not available for actor: the kernel holds .* of 8 to 512"
    with pytest.raises(UserError, match=refused):
        gtp_fast.fit(arrays, **WIDE, output=tmp_path, backend="fused")
    assert list(tmp_path.iterdir()) == [run.path], "what is refused leaves no folder"
    with pytest.raises(UserError, match=refused):
        gtp_fast.fit(arrays, resume=run.path, backend="fused")
