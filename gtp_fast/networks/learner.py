"""Parameters that learn, in one flat buffer with their Adam moments and moving average."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gtp_fast.networks.parameters import Parameters
from gtp_fast.reference.adam import Step, guarded, plain


class Learner:
    """Parameters with their Adam moments and their moving average."""

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
        """Loss above which a seed freezes."""
        self.weight_decay = 0.0
        """What AdamW takes off the parameters, as a share of them for each unit of the rate."""

    def connect(
        self,
        adam: Step,
        write_gradient: Callable[..., None],
        diverged: Tensor,
    ) -> None:
        """Set the forms of optimiser and gradient, and share `diverged` with the other learners.

        diverged: the update [S] at which a seed diverged, -1 for a healthy one.
        """
        self.adam, self.write_gradient, self.diverged = adam, write_gradient, diverged

    @property
    def views(self) -> dict[str, Tensor]:
        """The parameters that learn."""
        return self.parameters.views

    @property
    def average_views(self) -> dict[str, Tensor]:
        """Their moving average, without gradients."""
        return self.average.views

    def update(
        self,
        loss: Tensor,
        updates: int | Tensor,
        rate: Tensor,
        average_rate: float | Tensor,
        max_norm: float | None,
        rested: int = 0,
    ) -> Tensor:
        """Differentiate loss [S] and `descend`; return the gradient norm of each seed [S]."""
        self.differentiate(loss)
        return self.descend(loss.detach(), updates, rate, average_rate, max_norm, rested)

    def differentiate(self, loss: Tensor) -> None:
        """Write the gradient of loss [S] into the flat buffer.

        The sum over seeds keeps their gradients apart: they share no parameter.
        """
        self.write_gradient(self.parameters, loss.sum())

    def descend(
        self,
        loss: Tensor,
        updates: int | Tensor,
        rate: Tensor,
        average_rate: float | Tensor,
        max_norm: float | None,
        rested: int = 0,
    ) -> Tensor:
        """Take one Adam step and move the average; return the gradient norm [S].

        loss: [S], to tell which seeds have diverged; updates: of the run, counted from 1; rate: the
        learning rate [S]; rested: earlier updates without a step of this learner, which Adam does
        not count. A seed freezes when its loss or gradient is not finite, or its loss above
        `limit`.
        """
        healthy = self.diverged < 0 if rested else None
        norm = self.adam(
            *self.buffers(),
            updates - rested,
            rate,
            average_rate,
            max_norm,
            loss,
            self.limit,
            self.diverged,
            weight_decay=self.weight_decay,
        )
        if healthy is not None:
            # Adam names the update by its own count.
            self.diverged.add_(rested * (healthy & (self.diverged >= 0)))
        return norm

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
