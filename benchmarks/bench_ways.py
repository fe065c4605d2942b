"""Ways to act by one map: jumps, Euler steps, several candidates."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.sampler_rivals import ACTIONS, DEPTH, OBSERVATIONS, WIDTH
from benchmarks.stage import Stage
from benchmarks.workload import Results, Row, Subject, Workload, in_turns
from gtp_fast.agents.acting import Acting
from gtp_fast.agents.gtp import GTP, GTPConfig
from gtp_fast.agents.setup import Setup
from gtp_fast.policy import Policy
from gtp_fast.policy.file import Packed

WAYS: dict[Row, dict[str, Any]] = {
    Row("ours map, K = 5", "ours"): {"k": 5},
    Row("ours map, K = 2", "ours"): {"k": 2},
    Row("ours Euler, K = 5", "ours"): {"k": 5, "act_by": "euler"},
    Row("ours mean of 16, K = 5", "ours"): {"k": 5, "num_candidates": 16, "candidate_rule": "mean"},
    Row("ours best of 16 by Q, K = 5", "ours"): {
        "k": 5, "num_candidates": 16, "candidate_rule": "argmax",
    },
}  # fmt: skip
ROWS = 64
"""Observations that the gate judges a way by."""


class Ways(Workload):
    """One action as a control loop asks for it: Policy.act with NumPy in and out."""

    group = "Policy.act, one observation"
    plain = next(iter(WAYS))

    def __init__(self) -> None:
        self.facts = {
            "dtype": "float32", "shape": [1, 1, OBSERVATIONS, ACTIONS], "width": WIDTH,
            "depth": DEPTH,
        }  # fmt: skip
        self.ours = agent("auto", torch.float32)
        self.eager, self.right = (agent("reference", x) for x in (torch.float32, torch.float64))
        for other in (self.eager, self.right):
            for name, part in other.learners().items():
                part.average.flat.copy_(self.ours.learners()[name].average.flat)
        draw = torch.Generator().manual_seed(1)
        self.observation = torch.randn(1, ROWS, OBSERVATIONS, generator=draw)
        self.noise = torch.randn(1, 17, ROWS, ACTIONS, generator=draw)

    def exact(self) -> Results:
        """Return nothing: every way is judged by a truth of its own."""
        return {}

    def build(self, row: Row) -> Subject:
        """Take the agent as it acts in this way."""
        found, plain, exact = (
            self._values(one, WAYS[row]) for one in (self.ours, self.eager, self.right)
        )
        acting = self.ours.acting(**WAYS[row])
        one = np.ones(ACTIONS, np.float32)
        content = Packed(self.ours.acting_policy(k=acting.steps), -one, one, {})
        act = Policy(content, acting=acting).act
        state = self.observation[0, 0].numpy()
        note = f"{acting.sampler.describe()}, K = {acting.steps}, candidates: {acting.candidates}"
        return Subject(lambda: act(state), found, note, (plain, exact))

    def _values(self, of: GTP, way: dict[str, Any]) -> Results:
        """Return an agent's actions, or the Q of the best of several.

        Two candidates may tie; their Q are then as close as rounding.
        """
        acting: Acting = of.acting(**way)
        noise = self.noise[:, : acting.sampler.draws].to(of.dtype)
        states = self.observation.to(of.dtype)
        actions = acting.sampler.sample(states, noise[:, 0] if noise.shape[1] == 1 else noise)
        if acting.rule != "argmax":
            return {"actions": actions}
        score: Callable[[Tensor, Tensor], Tensor] | None = of.score()
        assert score is not None, "the agent trains a critic"
        with torch.no_grad():
            return {"Q": score(states, actions)}


def agent(backend: str, dtype: torch.dtype) -> GTP:
    """Return an untrained GTP of the benchmark's sizes."""
    config = replace(GTPConfig(), width=WIDTH, depth=DEPTH)
    return GTP(config, Setup(OBSERVATIONS, ACTIONS, (0,), "cpu", backend, dtype))


make = functools.cache(Ways)


@in_turns(("1",), tuple(WAYS))
def test_ways(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    if stage.device.type != "cpu":
        pytest.skip("ways to act are timed on the CPU, where control loops run")
    stage.measure(benchmark, make(), row)
