"""Metrics of a run, summed on the device, and the seeds that diverged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gtp_fast.agents.base import Agent
from gtp_fast.engine import cause
from gtp_fast.reference import Totals


@dataclass(frozen=True)
class Diverged:
    """A seed that stopped learning, and the update at which its loss or gradient broke bounds."""

    seed: int
    step: int
    broken: tuple[str, ...]
    """Names of what was beyond its bounds, in the order of an update; may be empty."""


class Watch:
    """Metrics summed on the device, and the update at which each loss broke its bounds."""

    def __init__(self, agent: Agent):
        self.agent = agent
        shape = (len(agent.metric_names), len(agent.seeds))
        self.total = torch.zeros(shape, device=agent.device, dtype=agent.dtype)
        self.count = 0
        losses = len(agent.loss_names)
        self.bad_step = torch.full((losses, shape[1]), -1, device=agent.device, dtype=torch.int64)
        limits = [agent.loss_limits.get(name, math.inf) for name in agent.loss_names]
        self.limits = torch.tensor(limits, device=agent.device, dtype=agent.dtype)

    @property
    def totals(self) -> Totals:
        """Where `Agent.update_into` adds metrics; the caller counts."""
        return Totals(self.total, self.limits, self.bad_step)

    def add(self, metrics: Tensor, step: int | Tensor) -> None:
        """Add the metrics of one update without waiting for the device; the caller counts."""
        self.agent.ops.tally(metrics, *self.totals, step)

    def diverged(self) -> list[Diverged]:
        """Return the seeds that have diverged, the earliest first; waits for the device."""
        agent, found = self.agent, []
        steps = agent.diverged.tolist()
        if max(steps) < 0:
            return []
        bad_step, total = self.bad_step.cpu(), self.total.cpu()
        for index, step in enumerate(steps):
            if step < 0:
                continue
            pairs = zip(agent.loss_names, bad_step[:, index].tolist(), strict=True)
            bad = [name for name, first in pairs if first == step]
            sums = dict(zip(agent.metric_names, total[:, index].tolist(), strict=True))
            others = {name: sums[name] for name in sums if name not in agent.loss_names}
            found.append(Diverged(agent.seeds[index], step, cause.broken(bad, others)))
        return sorted(found, key=lambda one: (one.step, one.seed))

    def sums(self) -> dict[str, Any]:
        """Return the sums since the last call of `means` as plain values; waits for the device."""
        return {"count": self.count, "total": self.total.double().cpu().tolist()}

    def go_on(self, sums: Mapping[str, Any]) -> None:
        """Take the sums of a run that was stopped between two calls of `means`."""
        self.count = int(sums["count"])
        self.total.copy_(torch.tensor(sums["total"], dtype=torch.float64))

    def means(self) -> dict[str, list[float]]:
        """Return the mean of each metric since the last call, one value a seed.

        Waits for the device.
        """
        rows = (self.total / max(self.count, 1)).cpu().tolist()
        self.total.zero_()
        self.count = 0
        return dict(zip(self.agent.metric_names, rows, strict=True))
