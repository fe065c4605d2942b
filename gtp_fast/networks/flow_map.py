"""The network of a flow map phi(s, a_t, t, tau), and its folding for the sampler."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.networks.mlp import Mlp, mlp
from gtp_fast.networks.parameters import mlp_shapes
from gtp_fast.reference import FoldedPolicy, Plan

EMBEDDING = 16
EMBEDDING_HIDDEN = 32


class FlowMapNetwork:
    """F(c_in a_t, t, tau, s): two time embeddings and an MLP.

    Input order [c_in a_t, emb t, emb tau, s].
    """

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        width: int,
        depth: int,
        fused: Mlp,
        embedding: Callable[..., Tensor] | None = None,
    ):
        self.observation_dim, self.action_dim = observation_dim, action_dim
        self.width, self.depth, self.fused = width, depth, fused
        self.embedding = embedding or functools.partial(reference.embed, mlp=fused)
        self.constants: dict[tuple[Any, ...], tuple[Tensor, dict[str, Any]]] = {}

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
        """Embed the two time levels [S, B, 2] (0.25 ln t, 0.25 ln tau): [S, B, 2 EMBEDDING]."""
        return self.embedding(levels, self.clocks(views))

    def __call__(
        self, views: Mapping[str, Tensor], x: Tensor, levels: Tensor, observation: Tensor
    ) -> Tensor:
        """Return F [S, B, A].

        Scaled noisy actions x [S, B, A], levels [S, B, 2], observation [S, B, O]; the rows of a
        shorter observation repeat.
        """
        return mlp(views, (x, self.embed(views, levels), observation), self.depth, self.fused)

    def _constants(
        self,
        times: tuple[float, ...],
        plan: Callable[[Tensor], Plan],
        kind: str,
        sigma_data: float,
        t_min: float,
        like: Tensor,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return the time levels [K, 2] and the weight-independent fields of a FoldedPolicy.

        They are cached: a copy from host to device cannot be captured in a CUDA graph.
        """
        key = (times, plan, kind, sigma_data, t_min, like.dtype, like.device)
        if key not in self.constants:
            p = plan(torch.tensor(times, dtype=torch.float64))
            levels = [reference.noise_level(x, t_min) for x in (p.t, p.told)]
            skip, out, c_in = reference.precondition(p.t, kind, sigma_data, t_min)
            keep, gain = p.keep, p.gain
            if not p.carry.any():
                # phi is needed by itself only where it is carried on.
                keep, gain = keep + gain * skip, gain * out
                skip, out = torch.zeros_like(skip), torch.ones_like(out)
            vectors = {
                "c_in": c_in, "skip": skip, "out": out, "keep": keep, "gain": gain,
                "carry": p.carry, "spread": p.spread,
            }  # fmt: skip
            self.constants[key] = (
                torch.stack(levels, -1).to(like),
                {name: value.to(like) for name, value in vectors.items()},
            )
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
        """Fold a sampler over a descending time grid of K + 1 times into the weights; no
        gradient.
        """
        with torch.no_grad():
            weight, bias = views["layer0.weight"], views["layer0.bias"]
            options = (plan, kind, sigma_data, t_min)
            levels, vectors = self._constants(times, *options, weight)
            levels = levels.expand(weight.shape[0], -1, -1)
            edges = (self.action_dim, self.action_dim + 2 * EMBEDDING)
            step_bias = torch.baddbmm(
                bias[:, None], self.embed(views, levels), weight[:, edges[0] : edges[1]]
            )
            middle = range(1, self.depth)
            return FoldedPolicy(
                first_action=weight[:, : edges[0]],
                first_observation=weight[:, edges[1] :],
                step_bias=step_bias,
                hidden_weights=tuple(views[f"layer{i}.weight"].detach() for i in middle),
                hidden_biases=tuple(views[f"layer{i}.bias"].detach() for i in middle),
                last_weight=views[f"layer{self.depth}.weight"].detach(),
                last_bias=views[f"layer{self.depth}.bias"].detach(),
                **vectors,
                initial_scale=times[0],
            )
