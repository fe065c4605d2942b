"""The interface of a K-step sampler, its noise, and acting by `sample`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gtp_fast.errors import UserError
from gtp_fast.ops.philox import native_normals
from gtp_fast.reference import FoldedPolicy, philox
from gtp_fast.reference.philox import Stream
from gtp_fast.system import native

Rows = NDArray[np.float32]


class Fit(NamedTuple):
    """The sizes that the inputs of a sampler must have."""

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
        """Map observation [S, B, O] and standard normal noise to actions [S, B, A].

        noise: [S, B, A], or [S, draws, B, A] where draws > 1. UserError for other shapes.
        """

    def act(self, observation: Rows, out: Rows, seed: int, step: int) -> None:
        """Write the actions of one policy for observation [B, O] into out [B, A].

        The noise is drawn by counter: key = seed, step = step, stream ACT, row = k B + b for draw k
        of row b.
        """

    def action(self, observation: Rows, seed: int, step: int) -> Rows | None:
        """Return the action [A] of one observation [O], as `act` draws it.

        None where the observation is not finite, contiguous float32, or the action is not finite:
        the caller converts or refuses it.
        """

    def describe(self) -> str:
        """Name the implementation."""


def fit_of(policy: FoldedPolicy) -> Fit:
    """Return the sizes that the inputs of a policy must have."""
    seeds, observation_dim, _ = policy.first_observation.shape
    return Fit(seeds, observation_dim, policy.first_action.shape[1], policy.draws)


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
    """Draw the noise of `Sampler.sample` by counter: row = k B + b for draw k of row b.

    normals: `philox.normals` or its fused form. Returns [S, B, A], or [S, draws, B, A] where
    draws > 1.
    """
    noise = normals(keys, step, stream, draws * rows, columns, dtype)
    return noise if draws == 1 else noise.view(len(noise), draws, rows, columns)


def acting_noise(draws: int, seed: int, step: int, rows: int, columns: int, like: Tensor) -> Tensor:
    """Draw the noise of `Sampler.act` in the type of `like`, on its device.

    For a GPU it is drawn on the host and copied: there it would be 190 operators.
    """
    on_gpu = like.device.type != "cpu"
    keys = philox.key_tensor([seed], torch.device("cpu"))
    native_draws = on_gpu and like.dtype == torch.float32 and not native.missing("cpu")
    normals = native_normals if native_draws else philox.normals
    drawn = draw_noise(normals, draws, keys, step, Stream.ACT, rows, columns, like.dtype)
    return drawn.to(like.device)


class ActsBySampling:
    """`act` and `action` by `sample`, on the device and in the type of the tensor `like`."""

    fit: Fit
    draws: int
    like: Tensor

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Map observation [S, B, O] and noise to actions [S, B, A]; a subclass defines it."""
        raise NotImplementedError

    def act(self, observation: Rows, out: Rows, seed: int, step: int) -> None:
        """Write the actions of one policy for observation [B, O] into out [B, A]."""
        rows, columns = out.shape
        noise = acting_noise(self.draws, seed, step, rows, columns, self.like)
        # A copy: a read-only array, which PyTorch warns of, is what NumPy makes of received bytes.
        state = self.like.new_tensor(observation)[None]
        out[:] = self.sample(state, noise)[0].cpu().numpy()

    def action(self, observation: Rows, seed: int, step: int) -> Rows | None:
        """Return the action [A] of one observation [O], or None as `Sampler.action` does."""
        readable = observation.dtype == np.float32 and observation.flags.c_contiguous
        if not readable or not np.isfinite(observation).all():
            return None
        out: Rows = np.empty(self.fit.action, np.float32)
        self.act(observation[None], out[None], seed, step)
        return out if np.isfinite(out).all() else None
