"""Whole updates of GTP through the kernels and by the reference; runs as test_kernels.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from tolerance import assert_as_accurate
from torch import Tensor

pytest.importorskip("triton")
pytest.importorskip("gymnasium", reason="the agent's data package needs gymnasium")

from agent_cases import TINY, synthetic_table
from test_kernels import DEVICE, pytestmark  # noqa: F401

from gtp_fast.agents.gtp import GTP

TABLE = synthetic_table().to(DEVICE)
CONFIG = dataclasses.replace(TINY, width=16, eta=(1.0, 2.0), max_q_backup=2, max_gradient_norm=1.0)


def agent(backend: str, dtype: torch.dtype = torch.float32, seeds: tuple[int, ...] = (3, 5)) -> GTP:
    config = CONFIG
    if len(seeds) == 1:
        config = dataclasses.replace(CONFIG, eta=(CONFIG.eta[seeds[0] == 5],))
    made = GTP(config, 3, 2, seeds, DEVICE, backend, dtype)
    made.prepare(10)
    return made


def states(made: GTP, steps: int = 10) -> Iterator[tuple[int, dict[str, Tensor]]]:
    for step in range(steps):
        metrics = made.update(TABLE, step)
        yield (
            step + 1,
            {"metrics": metrics.T} | {k: v.clone() for k, v in made.state_dict().items()},
        )


def test_updates_match_the_reference_agent_and_a_seed_alone_the_same_seed_among_others() -> None:
    fast = agent("auto")
    assert fast.ops.choices["mlp"] == ("fused", "")
    runs = (
        states(fast),
        states(agent("reference")),
        states(agent("reference", torch.float64)),
        states(agent("auto", seeds=(5,))),
    )
    for (updates, one), (_, plain), (_, exact), (_, alone) in zip(*runs, strict=True):
        for name, value in one.items():
            assert torch.equal(value[1:], alone[name]), f"{name} after {updates} updates"
            if updates in (1, 3, 10) and value.is_floating_point():
                assert_as_accurate(
                    f"{name} after {updates} updates", value, plain[name], exact[name]
                )
