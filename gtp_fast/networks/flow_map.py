"""The network of a flow map, and its folding into a policy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.networks.mlp import Mlp, mlp
from gtp_fast.networks.parameters import mlp_shapes
from gtp_fast.reference import FoldedPolicy, Plan, StepSchedule

EMBEDDING = 16
EMBEDDING_HIDDEN = 32


class FlowMapNetwork:
    """F(c_in a_t, t, tau, s): two time embeddings and an MLP.

    Order of its inputs: [c_in a_t, embedding of t, embedding of tau, s]. form: of the MLPs;
    embedding, affine: the forms of `reference.embed` and `reference.affine`.
    """

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        width: int,
        depth: int,
        form: Mlp,
        embedding: Callable[..., Tensor] | None = None,
        affine: Callable[..., Tensor] = reference.affine,
    ):
        self.observation_dim, self.action_dim = observation_dim, action_dim
        self.width, self.depth, self.form, self.affine = width, depth, form, affine
        self.embedding = embedding or functools.partial(reference.embed, mlp=form)
        self.constants: dict[tuple[Any, ...], tuple[Tensor, StepSchedule, float]] = {}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all parameters, in the order of the flat buffer."""
        shapes: dict[str, tuple[int, ...]] = {}
        for clock in ("t", "tau"):
            shapes[f"{clock}.0.weight"] = (EMBEDDING, EMBEDDING_HIDDEN)
            shapes[f"{clock}.0.bias"] = (EMBEDDING_HIDDEN,)
            shapes[f"{clock}.1.weight"] = (EMBEDDING_HIDDEN, EMBEDDING)
            shapes[f"{clock}.1.bias"] = (EMBEDDING,)
        inputs = self.action_dim + 2 * EMBEDDING + self.observation_dim
        return shapes | mlp_shapes(inputs, self.width, self.depth, self.action_dim)

    @staticmethod
    def clocks(views: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the parameters of both time embeddings, in the order of `reference.embed`."""
        names = [f"{i}.{kind}" for i in range(2) for kind in ("weight", "bias")]
        return [views[f"{clock}.{name}"] for clock in ("t", "tau") for name in names]

    def embed(self, views: Mapping[str, Tensor], levels: Tensor) -> Tensor:
        """Embed two time levels [S, B, 2]: [S, B, 2 EMBEDDING].

        levels: 0.25 ln t and 0.25 ln tau.
        """
        return self.embedding(levels, self.clocks(views))

    def __call__(
        self, views: Mapping[str, Tensor], x: Tensor, levels: Tensor, observation: Tensor
    ) -> Tensor:
        """Return F [S, B, A].

        x: scaled noisy actions [S, B, A]; levels: [S, B, 2]; observation: [S, B, O], its rows
        repeat where it has fewer.
        """
        return mlp(views, (x, self.embed(views, levels), observation), self.depth, self.form)

    def _constants(
        self,
        times: tuple[float, ...],
        plan: Callable[[Tensor], Plan],
        kind: str,
        sigma_data: float,
        t_min: float,
        like: Tensor,
    ) -> tuple[Tensor, StepSchedule, float]:
        """Return time levels [K, 2], schedule and initial scale of a FoldedPolicy.

        They depend on no weight and are cached: a CUDA graph cannot capture a copy from the host.
        """
        key = (times, plan, kind, sigma_data, t_min, like.dtype, like.device)
        if key not in self.constants:
            p = plan(torch.tensor(times, dtype=torch.float64, device="cpu"))
            skip, out, c_in = reference.precondition(p.times[:, 0], kind, sigma_data, t_min)
            schedule = p.schedule._replace(c_in=c_in, skip=skip, out=out)
            if not schedule.carry.any():
                # The steps need phi itself only where it is carried on.
                keep, gain = schedule.keep + schedule.gain * skip, schedule.gain * out
                schedule = p.schedule._replace(c_in=c_in, keep=keep, gain=gain)
            levels = reference.noise_level(p.times, t_min)
            self.constants[key] = levels.to(like), schedule.to(like), p.initial_scale
        return self.constants[key]

    def fold(
        self,
        views: Mapping[str, Tensor],
        times: tuple[float, ...],
        *,
        kind: str,
        sigma_data: float,
        t_min: float,
        plan: Callable[[Tensor], Plan] = reference.map_plan,
    ) -> FoldedPolicy:
        """Fold a sampler over K + 1 descending times into the weights; no gradient."""
        with torch.no_grad():
            weight, bias = views["layer0.weight"], views["layer0.bias"]
            options = (plan, kind, sigma_data, t_min)
            levels, schedule, scale = self._constants(times, *options, weight)
            levels = levels.expand(weight.shape[0], -1, -1)
            edges = (self.action_dim, self.action_dim + 2 * EMBEDDING)
            step_bias = self.affine(self.embed(views, levels), weight[:, edges[0] : edges[1]], bias)
            middle = range(1, self.depth)
            return FoldedPolicy(
                first_action=weight[:, : edges[0]],
                first_observation=weight[:, edges[1] :],
                step_bias=step_bias,
                hidden_weights=tuple(views[f"layer{i}.weight"].detach() for i in middle),
                hidden_biases=tuple(views[f"layer{i}.bias"].detach() for i in middle),
                last_weight=views[f"layer{self.depth}.weight"].detach(),
                last_bias=views[f"layer{self.depth}.bias"].detach(),
                schedule=schedule,
                initial_scale=scale,
            )
