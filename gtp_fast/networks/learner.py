"""What learns: parameters in one flat buffer with their Adam moments and moving average."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gtp_fast.networks.parameters import Parameters
from gtp_fast.reference.adam import Step, guarded, plain


class Learner:
    """Parameters with their Adam moments and, if wanted, their moving average."""

    def __init__(self, parameters: Parameters, seeds: int):
        self.parameters = parameters
        self.seeds = seeds
        self.average = parameters.frozen_copy()
        self.first = torch.zeros_like(parameters.flat)
        self.second = torch.zeros_like(parameters.flat)
        self.adam = guarded(plain)
        self.write_gradient: Callable[..., None] = Parameters.differentiate
        self.diverged = torch.full((seeds,), -1, device=parameters.flat.device)
        self.limit = math.inf
        """Largest loss of a seed that still learns."""

    def connect(self, adam: Step, write_gradient: Callable[..., None], diverged: Tensor) -> None:
        """Take the chosen forms of optimiser and gradient, and the agent's record of divergence.

        diverged: [S], the update at which a seed diverged, -1 if healthy; all learners share it.
        """
        self.adam, self.write_gradient, self.diverged = adam, write_gradient, diverged

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
        """Differentiate loss [S] and `descend`. The seeds' losses are summed, which keeps their
        gradients apart.
        """
        self.differentiate(loss)
        return self.descend(loss.detach(), updates, rate, ema_rate, max_norm)

    def differentiate(self, loss: Tensor) -> None:
        """Write the gradient of loss [S], summed, into the parameters' flat buffer."""
        self.write_gradient(self.parameters, loss.sum())

    def descend(
        self,
        loss: Tensor,
        updates: int | Tensor,
        rate: Tensor,
        ema_rate: float | Tensor,
        max_norm: float | None,
    ) -> Tensor:
        """Take one Adam step along the written gradient and move the average.

        Returns the gradient norm of each seed [S].

        loss: [S], of which the gradient is; updates counts from 1; rate: [S]. A seed whose loss or
        gradient is not finite, or whose loss is beyond `limit`, stays from then on as it was
        before.
        """
        return self.adam(
            *self.buffers(),
            updates,
            rate,
            ema_rate,
            max_norm,
            loss,
            self.limit,
            self.diverged,
        )

    def buffers(self) -> tuple[Tensor, ...]:
        """Return parameters, gradient, Adam's two moments and the average, [S, P] each."""
        flat, gradient = self.parameters.flat, self.parameters.gradient
        own = (flat, gradient, self.first, self.second, self.average.flat)
        return tuple(buffer.view(self.seeds, -1) for buffer in own)

    def state(self, name: str) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint keeps, each [S, P]."""
        tensors = {
            "online": self.parameters.flat,
            "average": self.average.flat,
            "adam_first": self.first,
            "adam_second": self.second,
        }
        return {f"{name}.{key}": value.view(self.seeds, -1) for key, value in tensors.items()}
