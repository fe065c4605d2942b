"""Small agents and tables for the battery that every agent has to pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from gtp_fast import agents
from gtp_fast.agents.base import Agent
from gtp_fast.agents.gtp import GTP, GTPConfig
from gtp_fast.agents.setup import Setup
from gtp_fast.data.table import Provenance, Statistics, TransitionTable
from gtp_fast.reference import philox
from gtp_fast.tasks import Rules

TINY = GTPConfig(
    width=8, depth=2, batch_size=16, k=2, ema_rate=0.05, critic_ema_rate=0.05,
    learning_rate=(3e-3,), critic_learning_rate=(3e-3,), first_nodes=10, last_nodes=10,
)  # fmt: skip


# What every agent's smallest Config is made of, where it has such a setting.
SMALL: dict[str, Any] = {
    "width": 8, "depth": 2, "batch_size": 16, "k": 2, "ema_rate": 0.05, "critic_ema_rate": 0.05,
    "learning_rate": (3e-3,), "critic_learning_rate": (3e-3,), "first_nodes": 10, "last_nodes": 10,
    "ema_every": 1, "ema_start": 0, "cosine_decay": False, "behaviour_fraction": 0.0,
    "warmup_fraction": 0.0, "support": 3,
}  # fmt: skip


def tiny(name: str, **changes: Any) -> Any:
    """Return the smallest Config of an agent; changes it does not have are left out."""
    kind = agents.find(name).Config
    fields = {field.name for field in dataclasses.fields(kind)}
    given = SMALL | changes
    return kind(**{key: value for key, value in given.items() if key in fields})


def make(
    name: str, seeds: Sequence[int], config: Any = None, *, observation_dim: int = 3,
    action_dim: int = 2, **options: Any,
) -> Agent:  # fmt: skip
    """Return an agent on the CPU, its smallest form by default."""
    shape = (observation_dim, action_dim)
    return agents.find(name)(
        config or tiny(name), Setup(*shape, seeds, "cpu", *_ordered(**options))
    )


def make_table(
    observation: torch.Tensor,
    action: torch.Tensor,
    reward: torch.Tensor,
    following: torch.Tensor,
    mask: torch.Tensor,
    length: int | None = None,
) -> TransitionTable:
    """Pack fields [N, ...] into a table of one episode, or of episodes of one length."""
    rows = torch.cat((observation, action, reward[:, None], following, mask[:, None]), 1)
    count, width = len(rows), action.shape[1]
    return TransitionTable(
        rows=rows.float(), episode=torch.arange(count, dtype=torch.int32) // (length or count),
        observation_dim=observation.shape[1], action_dim=width,
        observation_keys=(), action_low=(-1.0,) * width, action_high=(1.0,) * width, task="toy",
        rules=Rules(), statistics=Statistics(count, 1, 0, 0.0, float(count), None),
        provenance=Provenance("toy", False, "made by a test"),
    )  # fmt: skip


def synthetic_table(
    count: int = 64,
    reward_scale: float = 1.0,
    chain: float | None = None,
    length: int | None = None,
) -> TransitionTable:
    """Return normal observations of 3 numbers with actions of 2, or a chain of two one-hot states.

    In the chain A leads to B and B back to A, each pays 1; chain is the mask at B. length: of its
    episodes, of which there is one by default.
    """
    noise = philox.normals(philox.key_tensor([99]), 0, philox.Stream.COLLECT, count, 12)[0]
    action = torch.tanh(noise[:, :2])
    if chain is None:
        reward = reward_scale * noise[:, 2]
        mask = (noise[:, 9] < 1).float()
        return make_table(noise[:, 3:6], action, reward, noise[:, 6:9], mask, length)
    state = torch.arange(count) % 2
    eye, ones = torch.eye(2), torch.ones(count)
    mask = torch.where(state == 0, 1.0, chain)
    return make_table(eye[state], action, ones, eye[1 - state], mask)


def behaviour_table(observation: torch.Tensor, action: torch.Tensor) -> TransitionTable:
    """Return a table of pairs to be cloned: no reward, and every state follows itself."""
    zeros, ones = torch.zeros(len(action)), torch.ones(len(action))
    return make_table(observation, action, zeros, observation, ones)


def build(
    config: GTPConfig, seeds: Sequence[int], *, observation_dim: int = 3, action_dim: int = 2,
    **options: Any,
) -> GTP:  # fmt: skip
    """Return a GTP agent on the CPU."""
    return GTP(config, Setup(observation_dim, action_dim, seeds, "cpu", *_ordered(**options)))


def _ordered(backend: str = "auto", dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
    return backend, dtype


def run(agent: Agent, table: TransitionTable, updates: int) -> torch.Tensor:
    """Train from the start and return the last metrics."""
    agent.prepare(updates)
    for step in range(updates):
        metrics = agent.update(table, step)
    return metrics
