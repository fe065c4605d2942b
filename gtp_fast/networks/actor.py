"""The network of a K-step policy, and its folding into one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.networks.flow_map import EMBEDDING, EMBEDDING_HIDDEN
from gtp_fast.networks.mlp import Mlp, mlp
from gtp_fast.networks.parameters import detached, mlp_shapes
from gtp_fast.reference import FoldedPolicy, Plan

Clock = Literal["none", "scalar", "sinusoid"]


@dataclass(frozen=True)
class ActorNetwork:
    """F(a, t, s): an MLP on [a, features of t, s].

    form: of its MLPs; affine: the form of `reference.affine`. clock: `sinusoid` is Diffusion-QL's
    16 sines and cosines -> 32 -> 16; `scalar` is t itself; `none` leaves time out.
    takes_action=False leaves the action out too: a plain MLP of the state.
    """

    observation_dim: int
    action_dim: int
    width: int
    depth: int
    form: Mlp
    clock: Clock = "sinusoid"
    activation: str = "mish"
    takes_action: bool = True
    affine: Callable[..., Tensor] = reference.affine

    @property
    def edges(self) -> tuple[int, int]:
        """Indices among the inputs at which the action ends and the observation begins."""
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
        """Return the features of times t [S, B]: [S, B, features]."""
        if self.clock == "none":
            return t[..., None][..., :0]
        if self.clock == "scalar":
            return t[..., None]
        h = reference.sinusoid(t, EMBEDDING, scale=1.0)
        weights, biases = (
            [views[f"t.{i}.{kind}"] for i in range(2)] for kind in ("weight", "bias")
        )
        return self.form(h, weights, biases, self.activation)

    def __call__(
        self, views: Mapping[str, Tensor], a: Tensor | None, t: Tensor | None, observation: Tensor
    ) -> Tensor:
        """Return F [S, B, A].

        a: scaled noisy actions [S, B, A]; t: times [S, B]; observation: [S, B, O]. a and t are None
        where the network does not take them.
        """
        return self.of_features(
            views, a, None if t is None else self.features(views, t), observation
        )

    def of_features(
        self,
        views: Mapping[str, Tensor],
        a: Tensor | None,
        features: Tensor | None,
        observation: Tensor,
    ) -> Tensor:
        """Return F [S, B, A] as a call does, from features of time instead of times.

        features: [S, n, .]. Where a, features or observation has fewer rows, they repeat.
        """
        pieces = [x for x in (a, features, observation) if x is not None and x.shape[-1]]
        return mlp(views, pieces, self.depth, self.form, self.activation)

    def fold(self, views: Mapping[str, Tensor], plan: Plan) -> FoldedPolicy:
        """Fold the K steps of a plan into the weights; no gradient."""
        views = detached(views)
        weight, bias = views["layer0.weight"], views["layer0.bias"]
        action, state = self.edges
        seeds, width = weight.shape[0], weight.shape[2]
        times = plan.times.expand(seeds, *plan.times.shape)
        step_bias = bias[:, None].expand(-1, times.shape[1], -1)
        if state > action:
            step_bias = self.affine(self.features(views, times), weight[:, action:state], bias)
        first = weight[:, :action]
        if not self.takes_action:
            first = weight.new_zeros(seeds, self.action_dim, width)
        middle = range(1, self.depth)
        return FoldedPolicy(
            first_action=first,
            first_observation=weight[:, state:],
            step_bias=step_bias,
            hidden_weights=tuple(views[f"layer{i}.weight"] for i in middle),
            hidden_biases=tuple(views[f"layer{i}.bias"] for i in middle),
            last_weight=views[f"layer{self.depth}.weight"],
            last_bias=views[f"layer{self.depth}.bias"],
            schedule=plan.schedule,
            initial_scale=plan.initial_scale,
            activation=self.activation,
            clamp=plan.clamp,
            squash=plan.squash,
        )

    def sample(
        self, views: Mapping[str, Tensor], plan: Plan, observation: Tensor, noise: Tensor
    ) -> Tensor:
        """Run the K steps with gradient: what `reference.folded_sample` computes of `fold`."""
        a = plan.initial_scale * (noise[:, 0] if plan.stochastic else noise)
        before, steps = torch.zeros_like(a), plan.schedule
        features = self.features(views, plan.times.expand(len(a), *plan.times.shape))
        for k in range(len(plan.times)):
            output = self.of_features(views, steps.c_in[k] * a, features[:, k : k + 1], observation)
            phi = steps.skip[k] * a + steps.out[k] * output
            if plan.squash:
                phi = phi.tanh()
            if plan.clamp:
                phi = phi.clamp(-1.0, 1.0)
            a = steps.keep[k] * a + steps.gain[k] * phi + steps.carry[k] * before
            if plan.stochastic and k + 1 < len(plan.times):
                a = a + steps.spread[k] * noise[:, k + 1]
            before = phi
        return a.clamp(-1.0, 1.0)


def state_network(
    observation_dim: int, action_dim: int, width: int, depth: int, form: Mlp
) -> ActorNetwork:
    """Return the network of a deterministic policy mu(s)."""
    return ActorNetwork(
        observation_dim, action_dim, width, depth, form, "none", "relu", takes_action=False
    )


def output_plan(like: Tensor, squash: bool = False) -> Plan:
    """Return the plan of a policy that is its network's output, or that output's tanh."""
    return Plan.of(torch.zeros(1, device="cpu"), c_in=0.0, initial_scale=0.0, squash=squash).to(
        like
    )
