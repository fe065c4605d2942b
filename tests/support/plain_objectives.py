"""The objectives of GTP's actor once more, plainly: points in place of displacements."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.gtp import GTP
from gtp_fast.data.table import Batch
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream


class PlainObjective:
    """The terms of an actor's loss on one batch; preconditioning edm, in float64."""

    def __init__(self, agent: GTP, batch: Batch, step: int):
        self.agent, self.batch, self.c = agent, batch, agent.config
        c, count = self.c, int(agent.node_count)
        root = torch.linspace(c.t_min ** (1 / 7), c.t_max ** (1 / 7), count, dtype=torch.float64)
        self.nodes = root**7
        self.nodes[0] = 0.0
        law = reference.lognormal_cdf(count, c.t_min, c.t_max) if c.t_law == "lognormal" else None
        n_t, n_u, n_tau = reference.draw_times(agent.keys, step, c.batch_size, count, c.u_mode, law)
        if c.objective == "consistency":
            n_u, n_tau = n_tau if c.u_mode == "uniform" else n_u, 0 * n_tau
        self.t, self.u, self.tau = (self.nodes[n] for n in (n_t, n_u, n_tau))
        self.middle = self.nodes[(n_t + n_tau).div(2, rounding_mode="floor")]
        self.actor, self.average = agent.actor.views, agent.actor.average_views
        self.teacher = self.average if c.teacher == "ema" else self.actor
        self.z = philox.normals(
            agent.keys, step, Stream.NOISE, c.batch_size, agent.action_dim, torch.float64
        )
        self.x = batch.action + self.t[..., None] * self.z

    def phi(self, views, x: Tensor, now: Tensor, then: Tensor) -> Tensor:
        sd, time = self.c.sigma_data, now[..., None]
        length = (time**2 + sd**2).sqrt()
        levels = 0.25 * torch.log(torch.stack((now, then), -1).clamp(min=self.c.t_min))
        output = self.agent.network(views, x / length, levels, self.batch.observation)
        return (sd / length) ** 2 * x + sd * time / length * output

    def jump(self, views, x: Tensor, now: Tensor, then: Tensor) -> Tensor:
        r = (then / torch.where(now > 0, now, 1.0))[..., None]
        moved = r * x + (1 - r) * self.phi(views, x, now, then)
        return torch.where((now == then)[..., None], x, moved)

    def target(self) -> Tensor:
        """Return the point at tau that the student's jump is held against."""
        x, t, u, tau = self.x, self.t, self.u, self.tau
        if self.c.objective == "solver":
            x = self.solved()
        elif self.c.objective == "shortcut":
            base = self.middle == tau
            first = self.phi(self.teacher, x, t, torch.where(base, t, self.middle))
            r = (self.middle / t)[..., None]
            x, u = r * x + (1 - r) * first, self.middle
        else:
            x = self.batch.action + u[..., None] * self.z
        return self.jump(self.teacher, x, u, tau)

    def solved(self) -> Tensor:
        """Return the point at u by Euler or Heun steps of the field from t."""
        c, x, ends = self.c, self.x, (self.t ** (1 / 7), self.u ** (1 / 7))
        inner = [
            (ends[0] + i / c.solver_steps * (ends[1] - ends[0])) ** 7
            for i in range(1, c.solver_steps)
        ]
        times = [self.t, *(r.clamp(min=float(self.nodes[1])) for r in inner), self.u]

        def field(x: Tensor, r: Tensor) -> Tensor:
            return (x - self.phi(self.teacher, x, r, r)) / r[..., None]

        for r, s in pairwise(times):
            slope, length = field(x, r), (s - r)[..., None]
            ahead = x + length * slope
            if c.solver == "heun":
                second = field(ahead, torch.where(s > 0, s, 1.0))
                both = x + length * (slope + second) / 2
                ahead = torch.where((s > 0)[..., None], both, ahead)
            x = ahead
        return x

    def mean_flow(self) -> Tensor:
        """Return phi minus its target by the identity, the derivative by differences."""
        t, tau, a, h = self.t, self.tau, self.batch.action, 1e-6 * self.t
        value = self.phi(self.actor, self.x, t, tau)
        up, down = (
            self.phi(self.actor, self.x + d[..., None] * self.z, t + d, tau) for d in (h, -h)
        )
        r = (tau / t)[..., None]
        slope = (up - down) / (2 * h)[..., None]
        return value - (r * a + (1 - r) * value - (t - tau)[..., None] * slope)

    def terms(self, w: Tensor) -> dict[str, Tensor]:
        """Return the terms of weights w [S, B] by name, [S] each."""
        c, a = self.c, self.batch.action
        clean = self.phi(self.actor, self.x, self.t, self.t) - a
        share = torch.ones_like(w)
        if c.flow_weight == "edm":
            share = (self.t**2 + c.sigma_data**2) / (self.t * c.sigma_data) ** 2
        found = {"flow_loss": (w * share * clean.square().sum(-1)).mean(1)}
        if c.objective == "flow":
            return found
        if c.objective == "mean-flow":
            residual = self.mean_flow()
        else:
            points = [self.jump(self.actor, self.x, self.t, self.tau), self.target()]
            if c.compare_at == "zero":
                zero = torch.zeros_like(self.tau)
                points = [self.jump(self.average, x, self.tau, zero) for x in points]
            residual = points[0] - points[1]
        square = residual.square().sum(-1)
        if c.huber:
            least = 0.00054 * math.sqrt(residual.shape[-1])
            square = (square + least**2).sqrt() - least
        return found | {"consistency_loss": (w * square).mean(1)}
