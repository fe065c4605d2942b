"""`load(path).act(observation)`: a trained policy for users, from a run folder or a checkpoint."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gtp_fast import agents, checkpoint, ops, random
from gtp_fast.agents.base import Agent
from gtp_fast.errors import UserError
from gtp_fast.random import Stream
from gtp_fast.samplers import Sampler, draw_noise

Array = NDArray[np.float32]
_WEIGHTS = ("ema", "online")
_KEY_MASK = 2**64 - 1
_NOT_FINITE = "The observation holds NaN or infinite values: look at where it comes from."


class Restored(NamedTuple):
    """An agent with the weights of a checkpoint, and that checkpoint."""

    agent: Agent
    saved: checkpoint.Checkpoint


def restore(
    path: str | os.PathLike[str],
    which: str = "last",
    device: torch.device | str = "cpu",
    backend: str = "auto",
) -> Restored:
    """Rebuild the agent of a checkpoint: a run folder's (`last`, `best` or a path) or a folder."""
    saved = checkpoint.load(path, which)
    config = saved.config
    try:
        shape = (config["observation_dim"], config["action_dim"], config["seeds"])
        agent = agents.build(config["agent"], config["agent_settings"], *shape, device, backend)
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{saved.path} cannot be used: its configuration does not fit this version of gtp_fast "
            f"({error})."
        ) from error
    saved.restore(agent)
    return Restored(agent, saved)


def check_weights(weights: str) -> None:
    """Raise UserError unless weights is `ema` or `online`."""
    if weights not in _WEIGHTS:
        raise UserError(f"Unknown weights {weights!r}: choose ema (the moving average) or online.")


def check_steps(k: int | None) -> None:
    """Raise UserError unless k is None or a number of sampler steps."""
    if k is not None and not 1 <= k <= 64:
        raise UserError(f"k = {k} is no number of sampler steps: give 1 to 64.")


def load(
    path: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    seed_index: int = 0,
    checkpoint: str = "last",
    k: int | None = None,
    backend: str = "auto",
    weights: str = "ema",
    precision: str = "fp32",
) -> Policy:
    """Return the policy of one seed of a run.

    path: run folder or checkpoint folder. seed_index: which of the run's seeds. checkpoint: `last`
    or `best`. k: sampler steps, the run's own by default. weights: `ema` (as evaluated) or
    `online`. precision: `fp32`, or `bf16` for an action in about half the time, its hidden weights
    rounded to bfloat16 (an action of width 256 then moves by less than 1e-3 on average, 1e-2 at
    most, in our tries). Raises UserError naming the file and the mend when there is nothing whole
    to load.
    """
    check_weights(weights)
    check_steps(k)
    agent, saved = restore(path, checkpoint, device, backend)
    seeds = len(agent.seeds)
    if not -seeds <= seed_index < seeds:
        raise UserError(
            f"There is no seed_index {seed_index}: {saved.path} holds {seeds} seeds, "
            f"0 to {seeds - 1}."
        )
    folded = agent.folded(weights, k).select(seed_index % seeds)
    config = saved.config
    return Policy(
        ops.sampler(folded, backend, precision=precision),
        agent.observation_dim,
        agent.action_dim,
        config["action_low"],
        config["action_high"],
        keys=config["observation_keys"],
        device=device,
        k=len(folded.keep),
        task=config["task"],
    )


class Policy:
    """Maps observations to actions in the environment's own units.

    sampler: of one policy. low, high: the action box [A]. keys: entries of a dict observation, in
    order.
    """

    def __init__(
        self,
        sampler: Sampler,
        observation_dim: int,
        action_dim: int,
        low: Sequence[float],
        high: Sequence[float],
        *,
        keys: Sequence[str] = (),
        device: torch.device | str = "cpu",
        k: int = 0,
        task: str = "",
    ):
        self.observation_dim, self.action_dim, self.keys = observation_dim, action_dim, tuple(keys)
        self.low, self.high = np.asarray(low, np.float32), np.asarray(high, np.float32)
        self.device, self.k, self.task = torch.device(device), k, task
        self._sampler = sampler
        self._act, self._action = sampler.act, sampler.action
        self._single = (observation_dim,)
        self._half, self._middle = (self.high - self.low) / 2, (self.high + self.low) / 2
        self._scales = bool((self._half != 1).any() or (self._middle != 0).any())
        self._entropy, self._calls = secrets.randbits(64), count()

    def __repr__(self) -> str:
        backend, device = self._sampler.describe(), str(self.device)
        return f"Policy(task={self.task!r}, K={self.k}, backend={backend!r}, device={device!r})"

    def act(self, observation: Any, seed: int | None = None) -> Any:
        """Return the action [A] of an observation [O], or the actions [B, A] of a batch [B, O].

        observation: numpy array, torch tensor, or the environment's dict of either; the action
        comes back as the same kind (float32, a tensor on the same device): [A] or [B, A]. seed: the
        same seed gives the same action; None draws fresh noise. UserError names what came and what
        is expected.
        """
        # The way of nearly every call: one numpy float32 observation.
        if type(observation) is np.ndarray and observation.shape == self._single:
            if seed is None:
                action = self._action(observation, self._entropy, next(self._calls))
            else:
                action = self._action(observation, int(seed) & _KEY_MASK, 0)
            if action is not None:
                return self._scaled(action) if self._scales else action
        if isinstance(observation, Mapping):
            observation = self._joined(observation)
        if isinstance(observation, Tensor):
            return self._act_torch(observation, seed)
        rows = self._checked(np.asarray(observation))
        out = np.empty((*np.atleast_2d(rows).shape[:1], self.action_dim), np.float32)
        self._act(np.atleast_2d(rows), out, *self._noise_key(seed))
        return self._scaled(out)[0] if rows.ndim == 1 else self._scaled(out)

    def _act_torch(self, observation: Tensor, seed: int | None) -> Tensor:
        if observation.device.type == "cpu" and self.device.type == "cpu":
            action: Array = self.act(observation.detach().to(torch.float32).numpy(), seed)
            return torch.from_numpy(action)
        self._check_shape(tuple(observation.shape))
        if not bool(torch.isfinite(observation).all()):
            raise UserError(_NOT_FINITE)
        states = (
            observation.detach().to(self.device, torch.float32).reshape(1, -1, self.observation_dim)
        )
        key, step = self._noise_key(seed)
        keys = random.key_tensor([key], self.device)
        noise = draw_noise(
            random.normals, self._sampler.draws, keys, step, Stream.ACT, states.shape[1],
            self.action_dim,
        )  # fmt: skip
        scaled = self._sampler.sample(states.contiguous(), noise) * torch.from_numpy(self._half).to(
            self.device
        )
        actions = (scaled + torch.from_numpy(self._middle).to(self.device)).to(observation.device)
        return actions.reshape(*observation.shape[:-1], self.action_dim)

    def _noise_key(self, seed: int | None) -> tuple[int, int]:
        return (self._entropy, next(self._calls)) if seed is None else (int(seed) & _KEY_MASK, 0)

    def _scaled(self, action: Array) -> Array:
        if self._scales:
            action *= self._half
            action += self._middle
        return action

    def _joined(self, observation: Mapping[str, Any]) -> Any:
        if not self.keys:
            raise UserError(
                "A dict observation came, but this policy takes flat arrays of "
                f"{self.observation_dim} numbers."
            )
        if missing := [key for key in self.keys if key not in observation]:
            raise UserError(
                f"The observation lacks {', '.join(missing)}: it has "
                f"{', '.join(map(str, observation))}, and this policy needs {', '.join(self.keys)}."
            )
        parts = [observation[key] for key in self.keys]
        if isinstance(parts[0], Tensor):
            return torch.cat(parts, -1)
        return np.concatenate(parts, -1)

    def _checked(self, observation: NDArray[Any]) -> Array:
        self._check_shape(observation.shape)
        if observation.dtype.kind not in "fiu":
            raise UserError(f"The observation holds {observation.dtype}: numbers are expected.")
        rows = np.ascontiguousarray(observation, np.float32)
        if not np.isfinite(rows).all():
            raise UserError(_NOT_FINITE)
        return rows

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if len(shape) not in (1, 2) or shape[-1] != self.observation_dim:
            n = self.observation_dim
            parts = f", the dict of {', '.join(self.keys)}" if self.keys else ""
            raise UserError(
                f"The observation has shape {list(shape)}: this policy takes [{n}], "
                f"a batch [B, {n}]{parts}."
            )
