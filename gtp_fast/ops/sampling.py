"""The interface of a K-step sampler, its noise, and adapters between its methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gtp_fast.errors import UserError
from gtp_fast.reference import FoldedPolicy, philox
from gtp_fast.reference.philox import Stream

Rows = NDArray[np.float32]


class Fit(NamedTuple):
    """What the inputs of a sampler have to fit."""

    seeds: int
    observation: int
    action: int
    draws: int

    def check(self, observation: Tensor, noise: Tensor) -> None:
        """Raise UserError unless the shapes are those that `Sampler.sample` takes."""
        s, o, a, draws = self
        given = tuple(observation.shape), tuple(noise.shape)
        rows, between = given[0][1:2], (draws,) if draws > 1 else ()
        if given != ((s, *rows, o), (s, *between, *rows, a)):
            wanted = ", ".join(map(str, (s, *between, "B", a)))
            raise UserError(
                f"This sampler takes observation [{s}, B, {o}] and noise [{wanted}], not "
                f"{list(given[0])} and {list(given[1])}: give it the rows of its own {s} "
                f"seed{'s' * (s > 1)}."
            )


class Sampler(Protocol):
    """The K-step sampler of S policies."""

    fit: Fit
    draws: int
    """Draws of noise for one action: 1, or K where the sampler adds noise after a step."""

    def load(self, policy: FoldedPolicy) -> None:
        """Take new weights of the same shapes."""

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Map observation [S, B, O] and standard normal noise to actions [S, B, A]; noise is
        [S, B, A], or [S, draws, B, A] where draws > 1. UserError for other shapes.
        """

    def act(self, observation: Rows, out: Rows, seed: int, step: int) -> None:
        """Write the actions of one policy for observation [B, O] into out [B, A], noise drawn by
        counter: key = seed, step = step, stream ACT, row = k B + b for draw k of row b.
        """

    def action(self, observation: Rows, seed: int, step: int) -> Rows | None:
        """Return the action [A] of one observation [O], as `act` draws it; None where the
        observation is not finite, contiguous float32, for the caller to mend or refuse.
        """

    def describe(self) -> str:
        """Name the implementation."""


def fit_of(policy: FoldedPolicy, draws: int) -> Fit:
    """Return what the inputs of a policy that takes so many draws have to fit."""
    seeds, observation_dim, _ = policy.first_observation.shape
    return Fit(seeds, observation_dim, policy.first_action.shape[1], draws)


def draw_noise(
    normals: Callable[..., Tensor],
    draws: int,
    keys: Tensor,
    step: int | Tensor,
    stream: int,
    rows: int,
    columns: int,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draw what `Sampler.sample` takes, by counter: row = k B + b for draw k of row b.

    normals: `philox.normals` or its fused form. Returns [S, B, A], or [S, draws, B, A] where
    draws > 1.
    """
    noise = normals(keys, step, stream, draws * rows, columns, dtype)
    return noise if draws == 1 else noise.view(-1, draws, rows, columns)


def act_through_torch(
    sampler: Sampler, weight: Tensor, observation: Rows, out: Rows, seed: int, step: int
) -> None:
    """Serve `act` with `sample`: draw the noise by counter on the device of `weight`, bring the
    actions back.
    """
    keys = philox.key_tensor([seed], weight.device)
    rows, columns = out.shape
    noise = draw_noise(
        philox.normals, sampler.draws, keys, step, Stream.ACT, rows, columns, weight.dtype
    )
    state = torch.from_numpy(observation).to(weight)[None]
    out[:] = sampler.sample(state, noise)[0].cpu().numpy()


def action_through_act(
    sampler: Sampler, action_dim: int, observation: Rows, seed: int, step: int
) -> Rows | None:
    """Serve `action` with `act`."""
    whole = observation.dtype == np.float32 and observation.flags.c_contiguous
    if not whole or not np.isfinite(observation).all():
        return None
    out: Rows = np.empty(action_dim, np.float32)
    sampler.act(observation[None], out[None], seed, step)
    return out
