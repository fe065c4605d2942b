"""The network of a K-step policy, an MLP, and its folding for the sampler.

Its input is [c_in a, features of the time, s].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.networks.flow_map import EMBEDDING, EMBEDDING_HIDDEN
from gtp_fast.networks.mlp import Mlp, mlp
from gtp_fast.networks.parameters import detached, mlp_shapes
from gtp_fast.reference import FoldedPolicy

Clock = Literal["none", "scalar", "sinusoid"]


class Products(Protocol):
    """The chosen operations, as far as a network needs them."""

    @property
    def mlp(self) -> Mlp:
        """The multilayer perceptron, as `reference.mlp`."""


@dataclass(frozen=True)
class Steps:
    """The coefficients of K steps around the network, [K] each, as in FoldedPolicy."""

    times: Tensor
    """What the network is told of the time; [K, ...] where it is told several numbers."""
    c_in: Tensor
    skip: Tensor
    out: Tensor
    keep: Tensor
    gain: Tensor
    carry: Tensor
    spread: Tensor
    initial_scale: float = 1.0
    clamp: bool = False
    squash: bool = False
    stochastic: bool = False
    """Whether noise is added after a step."""

    @property
    def draws(self) -> int:
        """Draws of noise [A] for one action."""
        return len(self.out) if self.stochastic else 1


def make_steps(
    like: Tensor,
    times: Tensor,
    *,
    initial_scale: float = 1.0,
    clamp: bool = False,
    squash: bool = False,
    **given: Tensor | float,
) -> Steps:
    """Return steps whose vectors have the type and device of `like`.

    times: [K]. given: the other fields, [K] or one number for all steps; c_in, out and gain are 1
    and the rest 0 where they are not given.
    """
    fields: dict[str, Tensor] = {}
    stochastic = False
    for name in ("c_in", "skip", "out", "keep", "gain", "carry", "spread"):
        value = given.get(name, float(name in ("c_in", "out", "gain")))
        value = torch.as_tensor(value, dtype=torch.float64).expand(len(times))
        fields[name] = value.to(like).contiguous()
        stochastic |= name == "spread" and bool(value.any())
    return Steps(
        times=times.to(like),
        initial_scale=initial_scale,
        clamp=clamp,
        squash=squash,
        stochastic=stochastic,
        **fields,
    )


@dataclass(frozen=True)
class ActorNetwork:
    """F(a, t, s): input order [a, features of t, s].

    clock: `sinusoid` is Diffusion-QL's 16 sines and cosines -> 32 -> 16; `scalar` is t itself;
    `none` leaves time out. takes_action=False leaves the action out too: a plain MLP of the state.
    """

    observation_dim: int
    action_dim: int
    width: int
    depth: int
    ops: Products
    clock: Clock = "sinusoid"
    activation: str = "mish"
    takes_action: bool = True

    @property
    def edges(self) -> tuple[int, int]:
        """Where the action ends and where the observation begins among the inputs."""
        action = self.action_dim if self.takes_action else 0
        return action, action + {"none": 0, "scalar": 1, "sinusoid": EMBEDDING}[self.clock]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all parameters, in the order of the flat buffer."""
        shapes: dict[str, tuple[int, ...]] = {}
        if self.clock == "sinusoid":
            shapes["t.0.weight"] = (EMBEDDING, EMBEDDING_HIDDEN)
            shapes["t.0.bias"] = (EMBEDDING_HIDDEN,)
            shapes["t.1.weight"], shapes["t.1.bias"] = (EMBEDDING_HIDDEN, EMBEDDING), (EMBEDDING,)
        inputs = self.edges[1] + self.observation_dim
        return shapes | mlp_shapes(inputs, self.width, self.depth, self.action_dim)

    def features(self, views: Mapping[str, Tensor], t: Tensor) -> Tensor:
        """Return what stands for times t [S, B] among the inputs: [S, B, features]."""
        if self.clock == "none":
            return t[..., None][..., :0]
        if self.clock == "scalar":
            return t[..., None]
        h = reference.sinusoid(t, EMBEDDING, scale=1.0)
        weights, biases = (
            [views[f"t.{i}.{kind}"] for i in range(2)] for kind in ("weight", "bias")
        )
        return self.ops.mlp(h, weights, biases, self.activation)

    def __call__(
        self, views: Mapping[str, Tensor], a: Tensor | None, t: Tensor | None, observation: Tensor
    ) -> Tensor:
        """Return F [S, B, A].

        Scaled noisy actions a [S, B, A], times t [S, B], observation [S, B, O]; a and t are None
        where the network does not take them.
        """
        inputs = [] if a is None else [a]
        inputs += [] if t is None else [self.features(views, t)]
        x = torch.cat((*inputs, observation), -1)
        return mlp(views, x, self.depth, self.ops.mlp, self.activation)

    def fold(self, views: Mapping[str, Tensor], steps: Steps) -> FoldedPolicy:
        """Fold K steps into the weights; no gradient."""
        views = detached(views)
        weight, bias = views["layer0.weight"], views["layer0.bias"]
        action, state = self.edges
        seeds, width = weight.shape[0], weight.shape[2]
        times = steps.times.expand(seeds, *steps.times.shape)
        told = torch.bmm(self.features(views, times), weight[:, action:state])
        first = weight[:, :action]
        if not self.takes_action:
            first = weight.new_zeros(seeds, self.action_dim, width)
        middle = range(1, self.depth)
        return FoldedPolicy(
            first_action=first,
            first_observation=weight[:, state:],
            step_bias=bias[:, None] + told,
            hidden_weights=tuple(views[f"layer{i}.weight"] for i in middle),
            hidden_biases=tuple(views[f"layer{i}.bias"] for i in middle),
            last_weight=views[f"layer{self.depth}.weight"],
            last_bias=views[f"layer{self.depth}.bias"],
            c_in=steps.c_in,
            skip=steps.skip,
            out=steps.out,
            keep=steps.keep,
            gain=steps.gain,
            carry=steps.carry,
            spread=steps.spread,
            initial_scale=steps.initial_scale,
            activation=self.activation,
            clamp=steps.clamp,
            squash=steps.squash,
        )

    def sample(
        self, views: Mapping[str, Tensor], steps: Steps, observation: Tensor, noise: Tensor
    ) -> Tensor:
        """Run the K steps with gradient: what `reference.folded_sample` computes of `fold`."""
        a = steps.initial_scale * (noise[:, 0] if steps.stochastic else noise)
        before, count = torch.zeros_like(a), len(steps.out)
        for k in range(count):
            t = steps.times[k].expand(a.shape[:2])
            output = self(views, steps.c_in[k] * a, t, observation)
            phi = steps.skip[k] * a + steps.out[k] * output
            if steps.squash:
                phi = phi.tanh()
            if steps.clamp:
                phi = phi.clamp(-1.0, 1.0)
            a = steps.keep[k] * a + steps.gain[k] * phi + steps.carry[k] * before
            if steps.stochastic and k + 1 < count:
                a = a + steps.spread[k] * noise[:, k + 1]
            before = phi
        return a.clamp(-1.0, 1.0)


def state_network(
    observation_dim: int, action_dim: int, width: int, depth: int, ops: Products
) -> ActorNetwork:
    """Return the network of a deterministic policy mu(s)."""
    return ActorNetwork(
        observation_dim, action_dim, width, depth, ops, "none", "relu", takes_action=False
    )


def one_step(like: Tensor, squash: bool = False) -> Steps:
    """Return the one step of a policy that is its network's output, or that output's tanh."""
    return make_steps(like, torch.zeros(1), c_in=0.0, initial_scale=0.0, squash=squash)
