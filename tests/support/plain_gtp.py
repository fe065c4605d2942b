"""GTP once more, plainly: one seed, torch.nn modules, autograd, torch.optim.Adam."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from gtp_fast import reference
from gtp_fast.agents.gtp import GTP, GTPConfig
from gtp_fast.data.table import TransitionTable
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream


def layers(sizes: list[int]) -> nn.Sequential:
    parts: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        parts += [nn.Linear(n_in, n_out), nn.Mish()]
    return nn.Sequential(*parts[:-1]).double()


class Actor(nn.Module):
    """phi(s, a_t, t, tau) with its preconditioning."""

    def __init__(self, observation_dim: int, action_dim: int, config: GTPConfig):
        super().__init__()
        self.clocks = nn.ModuleList([layers([16, 32, 16]) for _ in range(2)])
        hidden = [config.width] * config.depth
        self.trunk = layers([action_dim + 32 + observation_dim, *hidden, action_dim])
        self.config = config

    def forward(self, s, a_t, t, tau):
        embedded, c = [], self.config
        for clock, time in zip(self.clocks, (t, tau), strict=True):
            level = 0.25 * torch.log(time.clamp(min=c.t_min))
            angle = [250.0 * level * 10_000 ** (-i / 7) for i in range(8)]
            sines = [torch.sin(x) for x in angle] + [torch.cos(x) for x in angle]
            embedded.append(clock(torch.stack(sines, -1)))
        t, sd = t[:, None], c.sigma_data
        length = (t**2 + sd**2).sqrt()
        if c.precondition == "edm":
            skip, out, scale = sd**2 / length**2, sd * t / length, 1 / length
        elif c.precondition == "cm":
            moved = t.clamp(min=c.t_min) - c.t_min
            skip, out = sd**2 / (moved**2 + sd**2), sd * moved / length
            scale = torch.ones_like(t)
        else:
            skip, out, scale = torch.zeros_like(t), torch.ones_like(t), 1 / length
        return skip * a_t + out * self.trunk(torch.cat((scale * a_t, *embedded, s), -1))


class PlainGTP:
    """One seed of an agent, built from that agent's initial parameters."""

    def __init__(self, agent: GTP, index: int):
        c = self.config = agent.config
        self.key, self.index = agent.keys[index : index + 1], index
        self.total, self.ends = agent.total_updates, (agent.first_nodes, agent.last_nodes)
        sizes = (agent.observation_dim, agent.action_dim)
        self.width = agent.action_dim
        self.actor = Actor(*sizes, c)
        self.critics = nn.ModuleList(
            [layers([sum(sizes)] + [c.width] * c.depth + [1]) for _ in range(2)]
        )
        fill(self.actor, agent.actor.parameters.flat[index])
        fill(
            self.critics, agent.critic.learner.parameters.flat[2 * index : 2 * index + 2].flatten()
        )
        self.actor_target = copy.deepcopy(self.actor)
        self.critics_target = copy.deepcopy(self.critics)
        pick = [values[index if len(values) > 1 else 0] for values in
                (c.eta, c.lambda_flow, c.learning_rate, c.critic_learning_rate)]  # fmt: skip
        self.eta, self.lambda_flow, *self.rates = pick
        self.actor_adam = torch.optim.AdamW(self.actor.parameters(), weight_decay=c.weight_decay)
        self.critic_adam = torch.optim.Adam(self.critics.parameters())

    def act(self, s: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Walk K steps of the average actor."""
        c = self.config
        root = np.linspace(c.t_max ** (1 / 7), c.t_min ** (1 / 7), c.k + 1)
        times = [*(root[:-1] ** 7), 0.0]
        a = c.t_max * noise
        with torch.no_grad():
            for t, tau in pairwise(times):
                full = torch.full((len(a),), t, dtype=a.dtype)
                phi = self.actor_target(s, a, full, torch.full_like(full, tau))
                a = tau / t * a + (1 - tau / t) * phi
        return a.clamp(-1, 1)

    def draw(self, step: int, stream: int, rows: int) -> torch.Tensor:
        return philox.normals(self.key, step, stream, rows, self.width, torch.float64)[0]

    def update(self, table: TransitionTable, step: int) -> dict[str, float]:
        """Do one iteration of Algorithm 1 and return some of its metrics."""
        c = self.config
        rows = philox.integers(self.key, step, Stream.BATCH, c.batch_size, len(table))[0]
        share = (1 + math.cos(math.pi * step / self.total)) / 2 if c.cosine_decay else 1.0
        for optimiser, rate in zip((self.actor_adam, self.critic_adam), self.rates, strict=True):
            optimiser.param_groups[0]["lr"] = share * rate
        data, o = table.rows[rows].double(), table.observation_dim
        s, a, after = data[:, :o], data[:, o : o + self.width], data[:, o + self.width + 1 : -1]
        reward, mask = data[:, o + self.width], data[:, -1]
        metrics = {}
        w = torch.ones_like(reward)
        if self.eta:
            metrics, w = self.critic_step(s, a, reward, after, mask, step)
        return metrics | self.actor_step(s, a, w, step)

    def critic_step(self, s, a, reward, after, mask, step):
        c, b = self.config, len(s)
        backups = max(1, c.max_q_backup)
        noise = self.draw(step, Stream.TARGET, backups * b)
        best = []
        for critic in self.critics_target:
            tries = []
            for i in range(backups):
                action = self.act(after, noise[i * b : (i + 1) * b])
                tries.append(critic(torch.cat((after, action), -1))[:, 0].detach())
            best.append(torch.stack(tries).max(0).values)
        target = reward + c.discount * mask * torch.minimum(*best)
        loss = sum(((target - q(torch.cat((s, a), -1))[:, 0]) ** 2).mean() for q in self.critics)
        gradient = self.optimise(self.critic_adam, loss)
        follow(self.critics_target, self.critics, c.critic_ema_rate)
        with torch.no_grad():
            value = torch.zeros_like(reward)
            noise = self.draw(step, Stream.VALUE, c.value_samples * b)
            for i in range(c.value_samples):
                value += self.least(s, self.act(s, noise[i * b : (i + 1) * b])) / c.value_samples
            q = self.least(s, a)
            advantage = q - value
            spread = advantage.std(correction=0)
            w = torch.exp(self.eta * advantage.clamp(min=0) / (spread + 1e-6))
            if c.weight_maximum is not None:
                w = w.clamp(max=c.weight_maximum)
        return {
            "critic_loss": loss.item(), "q": q.mean().item(), "advantage_std": spread.item(),
            "weight": w.mean().item(), "weight_max": w.max().item(), "critic_gradient": gradient,
        }, w  # fmt: skip

    def least(self, s: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return torch.minimum(*(q(torch.cat((s, a), -1))[:, 0] for q in self.critics))

    def actor_step(self, s, a, w, step):
        c, b = self.config, len(s)
        count = reference.schedule(step, self.total, *self.ends)
        ends = c.t_min ** (1 / 7), c.t_max ** (1 / 7)
        root = torch.linspace(*ends, count, dtype=torch.float64)
        nodes = root**7
        nodes[0] = 0.0
        indices = reference.draw_times(self.key, step, b, count, c.u_mode)
        t, u, tau = (nodes[n[0]] for n in indices)
        z = self.draw(step, Stream.NOISE, b)
        a_t, a_u = a + t[:, None] * z, a + u[:, None] * z

        def jump(network, x, now, then):
            phi = network(s, x, now, then)
            moved = (then / now)[:, None] * x + (1 - then / now)[:, None] * phi
            return torch.where((now == then)[:, None], x, moved)

        with torch.no_grad():
            target = jump(self.actor_target, a_u, u, tau)
        online = jump(self.actor, a_t, t, tau)
        consistency = (w * ((online - target) ** 2).sum(-1)).mean()
        flow = (w * ((a - self.actor(s, a_t, t, t)) ** 2).sum(-1)).mean()
        gradient = self.optimise(self.actor_adam, consistency + self.lambda_flow * flow)
        follow(self.actor_target, self.actor, c.ema_rate)
        return {"consistency_loss": consistency.item(), "flow_loss": flow.item(),
                "actor_gradient": gradient}  # fmt: skip

    def optimise(self, optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> float:
        """Step and return the gradient's norm before clipping."""
        optimiser.zero_grad()
        loss.backward()
        parts = [p for group in optimiser.param_groups for p in group["params"]]
        limit = self.config.max_gradient_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(parts, limit))
        optimiser.step()
        return norm

    def flat_state(self) -> dict[str, torch.Tensor]:
        """Return the parameters in the order of the agent's buffers."""
        return {"actor.online": flatten(self.actor), "actor.average": flatten(self.actor_target),
                "critic.online": flatten(self.critics),
                "critic.average": flatten(self.critics_target)}  # fmt: skip


def fill(module: nn.Module, flat: torch.Tensor) -> None:
    """Fill Linear layers in order from [weight as in x out, bias, ...]."""
    offset = 0
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            size = layer.weight.numel()
            weight = flat[offset : offset + size].view(layer.in_features, layer.out_features)
            layer.weight.data.copy_(weight.T)
            offset += size
            layer.bias.data.copy_(flat[offset : offset + layer.out_features])
            offset += layer.out_features
    assert offset == flat.numel()


def flatten(module: nn.Module) -> torch.Tensor:
    """Undo `fill`."""
    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return torch.cat([x.detach().flatten() for m in linear for x in (m.weight.T, m.bias)])


def follow(average: nn.Module, online: nn.Module, rate: float) -> None:
    """Move an average towards the parameters."""
    with torch.no_grad():
        for x, y in zip(average.parameters(), online.parameters(), strict=True):
            x.mul_(1 - rate).add_(rate * y)
