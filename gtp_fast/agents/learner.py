"""What learns: parameters in one flat buffer with their Adam moments and moving average."""

from __future__ import annotations

import torch
from torch import Tensor

from gtp_fast import networks, ops


class Learner:
    """Parameters with their Adam moments and, if wanted, their moving average."""

    def __init__(self, parameters: networks.Parameters, seeds: int):
        self.parameters = parameters
        self.seeds = seeds
        self.average = parameters.frozen_copy()
        self.first = torch.zeros_like(parameters.flat)
        self.second = torch.zeros_like(parameters.flat)

    @property
    def views(self) -> dict[str, Tensor]:
        """The parameters that learn."""
        return self.parameters.views

    @property
    def average_views(self) -> dict[str, Tensor]:
        """Their moving average, out of reach of any gradient."""
        return self.average.views

    def update(
        self,
        loss: Tensor,
        updates: int | Tensor,
        rate: Tensor,
        ema_rate: float | Tensor,
        max_norm: float | None,
    ) -> Tensor:
        """Take one Adam step on loss [S] and move the average; return the gradient norm of each
        seed [S].

        updates counts from 1; rate: [S]. The seeds' losses are summed, which keeps their gradients
        apart.
        """
        gradient, flat = self.parameters.gradient, self.parameters.flat
        self.parameters.differentiate(loss.sum())
        per_seed = gradient.view(self.seeds, -1)
        norm: Tensor = torch.linalg.vector_norm(per_seed, dim=1)
        if max_norm is not None:
            per_seed.mul_(torch.clamp(max_norm / (norm + 1e-6), max=1.0)[:, None])
        ops.adam_polyak_(
            flat.view(self.seeds, -1),
            per_seed,
            self.first.view(self.seeds, -1),
            self.second.view(self.seeds, -1),
            self.average.flat.view(self.seeds, -1),
            updates,
            rate[:, None],
            ema_rate,
        )
        return norm

    def state(self, name: str) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint keeps, each [S, P]."""
        tensors = {
            "online": self.parameters.flat,
            "average": self.average.flat,
            "adam_first": self.first,
            "adam_second": self.second,
        }
        return {f"{name}.{key}": value.view(self.seeds, -1) for key, value in tensors.items()}
