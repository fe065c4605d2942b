"""GTP's update as one would first write it: the rival of every quoted speed-up.

torch.nn modules, one chain after another, Adam tensor by tensor.

"""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gtp_fast import reference
from gtp_fast.agents.gtp import GTP
from gtp_fast.data.table import TransitionTable


def _layers(sizes: list[int]) -> nn.Sequential:
    parts: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        parts += [nn.Linear(n_in, n_out), nn.Mish()]
    return nn.Sequential(*parts[:-1])


class _Actor(nn.Module):
    """The clean action phi(s, a_t, t, tau)."""

    def __init__(self, observation_dim: int, action_dim: int, width: int, depth: int):
        super().__init__()
        self.clocks = nn.ModuleList([_layers([16, 32, 16]) for _ in range(2)])
        self.trunk = _layers([action_dim + 32 + observation_dim] + [width] * depth + [action_dim])
        self.register_buffer("frequency", 250.0 * 10_000.0 ** (-torch.arange(8) / 7))

    def forward(self, s: Tensor, a_t: Tensor, t: Tensor, tau: Tensor) -> Tensor:
        embedded = []
        for clock, time in zip(self.clocks, (t, tau), strict=True):
            angle = 0.25 * torch.log(time.clamp(min=0.002))[:, None] * self.frequency
            embedded.append(clock(torch.cat((angle.sin(), angle.cos()), -1)))
        t = t[:, None]
        scale = torch.rsqrt(t * t + 0.25)
        output = self.trunk(torch.cat((scale * a_t, *embedded, s), -1))
        return 0.25 * scale * scale * a_t + 0.5 * t * scale * output


def _jump(network: _Actor, s: Tensor, a: Tensor, t: Tensor, tau: Tensor) -> Tensor:
    ratio = (tau / t)[:, None]
    return ratio * a + (1 - ratio) * network(s, a, t, tau)


class PlainUpdate:
    """One seed with an agent's networks, settings and first parameters; torch's random numbers."""

    def __init__(self, agent: GTP):
        c = self.config = agent.config
        sizes = (agent.observation_dim, agent.action_dim)
        self.observation_dim, self.action_dim = sizes
        self.actor = _Actor(*sizes, c.width, c.depth)
        self.critics = nn.ModuleList(
            [_layers([sum(sizes)] + [c.width] * c.depth + [1]) for _ in range(2)]
        )
        _fill(self.actor, agent.actor.parameters.flat[0])
        _fill(self.critics, agent.critic.learner.parameters.flat[:2].flatten())
        self.actor.to(agent.device)
        self.critics.to(agent.device)
        self.actor_target, self.critics_target = (
            copy.deepcopy(self.actor),
            copy.deepcopy(self.critics),
        )
        self.actor_adam = torch.optim.Adam(self.actor.parameters(), lr=float(c.learning_rate[0]))
        rate = float(c.critic_learning_rate[0])
        self.critic_adam = torch.optim.Adam(self.critics.parameters(), lr=rate)
        self.nodes = reference.karras_nodes(c.first_nodes + 1, c.t_min, c.t_max).to(agent.device)
        self.times = reference.sampling_times(c.k, c.t_min, c.t_max).tolist()

    def start_at(self, step: int) -> None:
        """Count updates from `step`, for Adam's corrections, with moments of zero."""
        for optimiser in (self.actor_adam, self.critic_adam):
            for group in optimiser.param_groups:
                for p in group["params"]:
                    optimiser.state[p] = {
                        "step": torch.tensor(float(step)),
                        "exp_avg": torch.zeros_like(p),
                        "exp_avg_sq": torch.zeros_like(p),
                    }

    def update(self, table: TransitionTable, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Do one iteration of Algorithm 1; return critic, consistency and flow loss."""
        b = self.config.batch_size
        batch = table.gather(torch.randint(len(table), (1, b), device=table.device))
        s, a, reward, after, mask = (field[0] for field in batch)
        noises = [torch.randn_like(a) for _ in range(3)]
        nodes = torch.randint(1, len(self.nodes), (b,), device=a.device)
        lower = (torch.rand(b, device=a.device) * nodes).long()
        return self.step(s, a, reward, after, mask, noises, nodes, lower)

    def step(
        self,
        s: Tensor,
        a: Tensor,
        reward: Tensor,
        after: Tensor,
        mask: Tensor,
        noises: list[Tensor],
        node_t: Tensor,
        node_tau: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Update on given draws: noise of a', V(s) and the perturbation; nodes of t and tau."""
        c = self.config
        with torch.no_grad():
            action = self.act(after, noises[0])
            target = reward + c.discount * mask * _least(self.critics_target, after, action)
        critic_loss = sum(F.mse_loss(q(torch.cat((s, a), -1))[:, 0], target) for q in self.critics)
        _step(self.critic_adam, critic_loss)
        _follow(self.critics_target, self.critics, c.critic_ema_rate)
        with torch.no_grad():
            value = _least(self.critics, s, self.act(s, noises[1]))
            advantage = _least(self.critics, s, a) - value
            spread = advantage.std(correction=0) + 1e-6
            w = torch.exp(c.eta[0] * advantage.clamp(min=0) / spread).clamp(max=100.0)
        t, u, tau = (self.nodes[n] * (n > 0) for n in (node_t, node_t - 1, node_tau))
        a_t, a_u = a + t[:, None] * noises[2], a + u[:, None] * noises[2]
        with torch.no_grad():
            # u = tau, also at time 0, is the point itself.
            moved = _jump(self.actor_target, s, a_u, u.clamp(min=1e-9), tau)
            aim = torch.where((u == tau)[:, None], a_u, moved)
        jumped = _jump(self.actor, s, a_t, t, tau)
        consistency = (w * (jumped - aim).square().sum(-1)).mean()
        flow = (w * (a - self.actor(s, a_t, t, t)).square().sum(-1)).mean()
        _step(self.actor_adam, consistency + c.lambda_flow[0] * flow)
        _follow(self.actor_target, self.actor, c.ema_rate)
        return critic_loss.detach(), consistency.detach(), flow.detach()

    def act(self, s: Tensor, noise: Tensor) -> Tensor:
        """Walk K steps of the average actor."""
        a = self.times[0] * noise
        for t, tau in pairwise(self.times):
            full = torch.full((len(a),), t, device=a.device)
            a = _jump(self.actor_target, s, a, full, torch.full_like(full, tau))
        return a.clamp(-1, 1)


def _least(critics: nn.ModuleList, s: Tensor, a: Tensor) -> Tensor:
    return torch.minimum(*(q(torch.cat((s, a), -1))[:, 0] for q in critics))


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    parts = [p for group in optimiser.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(parts, math.inf)
    optimiser.step()


def _follow(average: nn.Module, online: nn.Module, rate: float) -> None:
    with torch.no_grad():
        for x, y in zip(average.parameters(), online.parameters(), strict=True):
            x.copy_((1 - rate) * x + rate * y)


def _fill(module: nn.Module, flat: Tensor) -> None:
    """Fill the linear layers in order from [weight as in x out, bias, ...]."""
    offset = 0
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            n_in, n_out = layer.in_features, layer.out_features
            weight = flat[offset : offset + n_in * n_out].view(n_in, n_out)
            layer.weight.data.copy_(weight.T)
            offset += n_in * n_out
            layer.bias.data.copy_(flat[offset : offset + n_out])
            offset += n_out
