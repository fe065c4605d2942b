"""The rivals of the update's benchmark do the same update: equal losses on equal inputs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from agent_cases import TINY, build, synthetic_table
from tolerance import assert_as_accurate

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import update_rivals as rivals

STEP = 7


@pytest.mark.parametrize("rival", ["plain", "jax"])
def test_a_rival_has_the_losses_of_the_agent(rival: str) -> None:
    if rival == "jax":
        pytest.importorskip("jax", reason="JAX is not installed")
    table = synthetic_table()
    exact, plain = (
        build(TINY, (5,), backend="reference", **options)
        for options in ({"dtype": torch.float64}, {})
    )
    for agent in (exact, plain):
        agent.prepare(1000)
    losses = {"plain": rivals.plain_losses, "jax": rivals.jax_losses}[rival](plain, table, STEP)
    expected = [agent.update(table, STEP)[: rivals.LOSSES, 0] for agent in (plain, exact)]
    assert_as_accurate("losses", losses, *expected, floor_eps=4)
