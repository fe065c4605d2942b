"""The twin critics of every seed."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gtp_fast.networks.mlp import Mlp, mlp
from gtp_fast.networks.parameters import mlp_shapes


class TwinCritic:
    """Two Q networks a seed, groups 2 s and 2 s + 1."""

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        width: int,
        depth: int,
        form: Mlp,
        activation: str = "mish",
        layer_norm: bool = False,
    ):
        self.depth, self.form, self.activation = depth, form, activation
        self.layer_norm = layer_norm
        self.shapes = mlp_shapes(observation_dim + action_dim, width, depth, 1, layer_norm)

    def __call__(self, views: Mapping[str, Tensor], observation: Tensor, action: Tensor) -> Tensor:
        """Return Q [2, S, B] of observation [S, B, O] and action [S, B, A].

        The rows of the shorter one repeat.
        """
        pieces = (observation, action)
        values = mlp(views, pieces, self.depth, self.form, self.activation)
        return values.reshape(-1, 2, values.shape[1]).transpose(0, 1)
