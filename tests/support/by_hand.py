"""Networks of the rivals in plain NumPy, one row at a time, and agents to try them on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from agent_cases import synthetic_table

from gtp_fast.data.table import TransitionTable

Numbers = dict[str, np.ndarray]
Loss = Callable[[Numbers], float]


def gelu(x: np.ndarray) -> np.ndarray:
    return np.array([0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))
                     for v in x])  # fmt: skip


def mish(x: np.ndarray) -> np.ndarray:
    return np.array([v * math.tanh(math.log1p(math.exp(v))) for v in x])


def relu(x: np.ndarray) -> np.ndarray:
    return np.array([max(v, 0.0) for v in x])


def numbers(views: Mapping[str, Any], group: int) -> Numbers:
    """Return the parameters of one group as arrays of their own."""
    return {name: view[group].detach().numpy().copy() for name, view in views.items()}


def dense(p: Numbers, name: str, x: np.ndarray) -> np.ndarray:
    return p[f"{name}.bias"] + sum(v * row for v, row in zip(x, p[f"{name}.weight"], strict=True))


def network(p: Numbers, *inputs: Any, act: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply an MLP to one row, with a norm behind each activation where there are norms."""
    x, depth = np.concatenate([np.atleast_1d(part) for part in inputs]), 0
    while f"layer{depth + 1}.weight" in p:
        x = act(dense(p, f"layer{depth}", x))
        if f"norm{depth}.scale" in p:
            x = (x - x.mean()) / math.sqrt(((x - x.mean()) ** 2).mean() + 1e-6)
            x = p[f"norm{depth}.scale"] * x + p[f"norm{depth}.shift"]
        depth += 1
    return dense(p, f"layer{depth}", x)


def twins(views: Mapping[str, Any], seed: int) -> list[Numbers]:
    return [numbers(views, 2 * seed), numbers(views, 2 * seed + 1)]


def gradient_norm(loss: Loss, p: Numbers, h: float = 1e-5) -> float:
    """Return the norm of the gradient of a loss by central differences."""
    total = 0.0
    for values in p.values():
        for index in np.ndindex(values.shape):
            kept, ends = values[index], []
            for sign in (1, -1):
                values[index] = kept + sign * h
                ends.append(loss(p))
            values[index] = kept
            total += ((ends[0] - ends[1]) / (2 * h)) ** 2
    return math.sqrt(total)


def check_one_step(
    agent: Any, weights: str, action: Callable[[Numbers, np.ndarray, np.ndarray], np.ndarray]
) -> None:
    """Compare the policy of both seeds with an action by hand: (parameters, z, s) -> action."""
    states = torch.tensor([[0.2, -1.0, 0.4], [3.0, 2.0, -4.0]], dtype=torch.float64)
    noise = torch.tensor([[0.3, -0.8], [1.5, 2.5]], dtype=torch.float64)
    rows = states.expand(2, -1, -1), noise.expand(2, -1, -1)
    actions = agent.ops.sampler(agent.folded(weights)).sample(*rows)
    views = agent.actor.average_views if weights == "ema" else agent.actor.views
    for seed in (0, 1):
        p = numbers(views, seed)
        for row in (0, 1):
            expected = np.clip(action(p, noise[row].numpy(), states[row].numpy()), -1, 1)
            assert actions[seed, row].tolist() == pytest.approx(expected, rel=1e-10, abs=1e-12)


def edge_table() -> TransitionTable:
    """Return a table many of whose actions lie on the edge of their box."""
    table = synthetic_table()
    table.rows[:, 3:5] = (3 * table.rows[:, 3:5]).clamp(-1, 1)
    return table


def stir(agent: Any) -> None:
    """Give every parameter, biases and averages included, a value of its own."""
    for number, learner in enumerate(agent.learners().values()):
        for phase, flat in ((0.1, learner.parameters.flat), (0.7, learner.average.flat)):
            wave = torch.arange(flat.numel(), dtype=flat.dtype).view_as(flat)
            flat.add_(0.3 * torch.sin(1.7 * wave + phase + number))
