"""Whole updates of the agents with layer norms in their critics, native against the reference."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from agent_cases import make, synthetic_table, tiny
from native_cases import needs_native
from tolerance import assert_as_accurate
from torch import Tensor

from gtp_fast import ops
from gtp_fast.errors import UserError

pytestmark = needs_native
NAMES = ("fql", "sscql")


def updated(name: str, updates: int, backend: str, dtype: torch.dtype) -> dict[str, Tensor]:
    # Sixteen seeds: the largest error of one may be luck.
    config = tiny(name, width=24, depth=3, batch_size=33)
    agent = make(name, range(16), config, backend=backend, dtype=dtype)
    agent.prepare(100)
    metrics = [agent.update(synthetic_table(), step) for step in range(updates)]
    state = {key: x for key, x in agent.state_dict().items() if x.is_floating_point()}
    return state | {"metrics": torch.stack(metrics)}


@pytest.mark.parametrize("updates", [1, 10])
@pytest.mark.parametrize("name", NAMES)
def test_an_update_stays_as_close_to_float64_as_plain_pytorch(name: str, updates: int) -> None:
    fast = updated(name, updates, "fused", torch.float32)
    plain = updated(name, updates, "reference", torch.float32)
    exact = updated(name, updates, "reference", torch.float64)
    # Adam's first steps divide a gradient by its own size, however small: where that is of rounding
    # alone the parameter is luck. Actors have thousands of such gradients, so their moments judge.
    judged = [key for key in exact if "adam" in key or not key.startswith(("actor", "flow"))]
    assert {"critic.online", "actor.adam_first", "critic.adam_second", "metrics"} <= {*judged}
    for key in judged:
        assert_as_accurate(f"{name} {key}", fast[key], plain[key], exact[key])


@pytest.mark.parametrize("name", NAMES)
def test_no_norm_of_an_update_runs_through_pytorch(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Tensor:
        raise AssertionError("a norm runs through PyTorch")

    monkeypatch.setattr(sys.modules["gtp_fast.reference.mlp"], "layer_norm", refuse)
    assert ops.resolve().forms["mlp"].name == "native"
    agent = make(name, (0, 1))
    agent.prepare(10)
    agent.update(synthetic_table(), 0)
    with pytest.raises(AssertionError, match="through PyTorch"):
        make(name, (0, 1), backend="reference").update(synthetic_table(), 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_alone_equals_itself_among_others(name: str) -> None:
    among, alone = (make(name, seeds) for seeds in ((3, 5, 9), (5,)))
    for agent in (among, alone):
        agent.prepare(10)
        for step in range(4):
            agent.update(synthetic_table(), step)
    whole, one = among.state_dict(), alone.state_dict()
    for key, value in one.items():
        assert torch.equal(whole[key][1:2] if value.dim() else whole[key], value), key


@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_says_that_pytorch_computes_the_critic(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton")
    said = "reference: critic (no Triton kernel has layer norms)"
    assert "critic" not in make(name, (0,)).ops.describe()
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert said in make(name, (0,)).ops.describe()
    with pytest.raises(UserError, match="not available for this agent's critic: no Triton kernel"):
        make(name, (0,), backend="fused")
