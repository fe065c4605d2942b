"""`load(path).act(observation)`: a trained policy for users, from a run folder or a checkpoint."""

from __future__ import annotations

import os
import secrets
import weakref
from collections.abc import Mapping
from itertools import count
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gtp_fast import ops
from gtp_fast.agents.acting import ActBy, Acting
from gtp_fast.data import box
from gtp_fast.errors import UserError
from gtp_fast.ops.candidates import Rule
from gtp_fast.ops.sampling import Sampler, acting_noise
from gtp_fast.policy import file
from gtp_fast.policy.file import Packed
from gtp_fast.policy.observations import NOT_FINITE, Observations
from gtp_fast.policy.restore import check_acting, index_of, pack, restore
from gtp_fast.system.device import chosen_device

Array = NDArray[np.float32]
_KEY_MASK, _STEP_MASK = 2**64 - 1, 2**32 - 1
_OVERFLOWS = (
    "The policy's action is not finite: the observation is far from those of training, or the "
    "policy has diverged; look at both."
)


def load(
    path: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    seed_index: int = 0,
    checkpoint: str = "last",
    k: int | None = None,
    backend: str = "auto",
    weights: str | None = None,
    num_candidates: int | None = None,
    precision: str = "fp32",
    noise_scale: float | None = None,
    candidate_rule: Rule | None = None,
    act_by: ActBy | None = None,
) -> Policy:
    """Return the policy of one seed of a run, or of an exported policy.gtp.

    path: run folder, checkpoint folder or policy.gtp. seed_index: which of the run's seeds.
    checkpoint: `last` or `best`. k: sampler steps. weights: `ema` or `online`. num_candidates:
    actions drawn for each decision; candidate_rule: what acts of them, by softmax or argmax of the
    target critic, or their mean. noise_scale: of the initial noise, 0 for none. act_by: `map`, the
    K jumps of gtp, or `euler`, K Euler steps of its flow. What is not given is as the run was
    evaluated. precision: `fp32`; `bf16` for an action in about 0.6 (AMD) or 0.8 (Intel) of the
    time, its hidden weights rounded to bfloat16, and their inputs where the processor has AVX-512
    BF16; on a CPU also `int8` for one in about 0.4, rounded to 8 bits; on a GPU also `tf32`. In a
    box of [-1, 1] an action of width 256 then moves by less than 1e-3 (bf16) or 3e-3 (int8) on
    average, 2e-2 or 3e-2 at most, in our tries. Raises UserError naming the file and the mend when
    there is nothing whole to load.
    """
    check_acting(weights, k, num_candidates, noise_scale, candidate_rule, act_by)
    if Path(path).suffix == ".gtp":
        rest = (k, weights, noise_scale, candidate_rule, act_by)
        if (seed_index, checkpoint, num_candidates or 1, *rest) != (0, "last", 1, *[None] * 5):
            raise UserError(
                f"{path} holds one policy: seed_index, checkpoint, k, weights, num_candidates, "
                "candidate_rule, noise_scale and act_by are chosen when it is exported."
            )
        return Policy(file.read(path), device, backend, precision)
    agent, saved = restore(path, checkpoint, device, backend)
    place = index_of(agent, saved, seed_index)
    own: int = getattr(agent.config, "num_candidates", 1)
    chooses = None
    if (num_candidates or own) > 1 or candidate_rule is not None:
        ways = (num_candidates, place, precision, noise_scale, candidate_rule, act_by)
        chooses = agent.acting(weights, k, *ways)
    content = pack(agent, saved, place, weights, k, noise_scale, act_by)
    return Policy(content, device, backend, precision, chooses)


class Policy:
    """Maps observations to actions in the environment's own units.

    packed: one policy, its action box and what it is. `observation_dim`, `action_dim`, `low` and
    `high` (the action box [A]), `keys` (the entries of a dict observation, in order), `k`,
    `num_candidates`, `candidate_rule`, `noise_scale`, `act_by`, `task` and `device` may be read.
    acting: the sampler that chooses among several candidates, which then acts.
    """

    def __init__(
        self,
        packed: Packed,
        device: torch.device | str = "cpu",
        backend: str = "auto",
        precision: str = "fp32",
        acting: Acting | None = None,
    ):
        self.device = chosen_device(device)
        folded = packed.policy
        self.num_candidates = 1 if acting is None else acting.candidates
        self.candidate_rule = None if acting is None else acting.rule
        self.noise_scale = float(packed.description.get("noise_scale", 1.0))
        self.act_by: str | None = packed.description.get("act_by")
        self._sampler: Sampler = (
            ops.make_sampler(folded, backend, self.device, precision)
            if acting is None
            else acting.sampler
        )
        self._act, self._action = self._sampler.act, self._sampler.action
        self.observation_dim = folded.first_observation.shape[1]
        self.action_dim, self.k = folded.first_action.shape[1], folded.k
        self.keys = tuple(packed.description.get("observation_keys", ()))
        self.task = str(packed.description.get("task", ""))
        self.low, self.high = packed.low, packed.high
        self._half, self._middle = box.scale(packed.low, packed.high)
        self._box = [torch.from_numpy(x).to(self.device) for x in (self._half, self._middle)]
        self._scales = bool((self._half != 1).any() or (self._middle != 0).any())
        self._single = (self.observation_dim,)
        widths = tuple(packed.description.get("observation_widths") or ())
        if widths and (len(widths) != len(self.keys) or sum(widths) != self.observation_dim):
            raise UserError(
                f"observation_widths {list(widths)} do not fit the entries {list(self.keys)} of "
                f"{self.observation_dim} numbers: restore them in config.yaml, or export again."
            )
        self._takes = Observations(self.observation_dim, self.keys, widths)
        self._packed, self._asked = packed, (backend, precision)
        self._entropy, self._calls = secrets.randbits(64), count()
        _LIVE.add(self)

    def __repr__(self) -> str:
        backend, device = self.backend, str(self.device)
        return (
            f"Policy(task={self.task!r}, K={self.k}, num_candidates={self.num_candidates}, "
            f"backend={backend!r}, device={device!r})"
        )

    @property
    def backend(self) -> str:
        """Name of the sampler that runs, as `native avx2`."""
        return self._sampler.describe()

    def __reduce__(self) -> tuple[Any, ...]:
        if self.num_candidates > 1:
            raise TypeError("a policy of several candidates cannot be copied: load it once more")
        # A copy or an unpickled policy draws fresh noise of its own.
        return Policy, (self._packed, self.device, *self._asked)

    def act(self, observation: Any, seed: int | None = None, step: int = 0) -> Any:
        """Return the action [A] of an observation [O], or [B, A] of a batch [B, O].

        observation: numpy array, torch tensor, or the environment's dict of either; the action
        comes back as the same kind (float32, a tensor on the same device): [A] or [B, A], inside
        the action box, finite. seed: the same seed and step give the same action, so a repeatable
        episode counts its steps with `step`; None draws fresh noise. UserError names what came and
        what is expected.
        """
        # Nearly every call: one numpy observation, float32 or float64 as MuJoCo gives it.
        if type(observation) is np.ndarray and observation.shape == self._single:
            if seed is None:
                key, step = self._entropy, next(self._calls)
            else:
                key, step = self._counter(seed, step)
            action = self._action(observation, key, step)
            if action is None and observation.dtype == np.float64:
                action = self._action(observation.astype(np.float32), key, step)
            if action is not None:
                return self._scaled(action) if self._scales else action
        if isinstance(observation, Mapping):
            observation = self._takes.joined(observation)
        if isinstance(observation, Tensor):
            return self._act_torch(observation, seed, step)
        rows = self._takes.array(observation)
        out = np.empty((*np.atleast_2d(rows).shape[:1], self.action_dim), np.float32)
        self._act(np.atleast_2d(rows), out, *self._counter(seed, step))
        if not np.isfinite(out).all():
            raise UserError(_OVERFLOWS)
        return self._scaled(out)[0] if rows.ndim == 1 else self._scaled(out)

    def _act_torch(self, observation: Tensor, seed: int | None, step: int) -> Tensor:
        self._takes.check_kind(observation)
        if observation.device.type == "cpu" and self.device.type == "cpu":
            action: Array = self.act(observation.detach().to(torch.float32).numpy(), seed, step)
            return torch.from_numpy(action)
        self._takes.check_shape(tuple(observation.shape))
        if not bool(torch.isfinite(observation).all()):
            raise UserError(NOT_FINITE)
        states = (
            observation.detach().to(self.device, torch.float32).reshape(1, -1, self.observation_dim)
        )
        drawn = (*self._counter(seed, step), states.shape[1], self.action_dim)
        noise = acting_noise(self._sampler.draws, *drawn, states)
        actions: Tensor = self._sampler.sample(states.contiguous(), noise)
        if not bool(torch.isfinite(actions).all()):
            raise UserError(_OVERFLOWS)
        actions = box.denormalise(actions, *self._box)
        return actions.to(observation.device).reshape(*observation.shape[:-1], self.action_dim)

    def _counter(self, seed: int | None, step: int) -> tuple[int, int]:
        """Return key and step of the noise."""
        if seed is None:
            return self._entropy, next(self._calls)
        try:
            return index(seed) & _KEY_MASK, index(step) & _STEP_MASK
        except TypeError as error:
            raise UserError(
                f"seed = {seed!r:.40} and step = {step!r:.40} must be integers (seed None for "
                "fresh noise)."
            ) from error

    def _renew(self) -> None:
        self._entropy = secrets.randbits(64)

    def _scaled(self, action: Array) -> Array:
        if self._scales:
            action *= self._half
            action += self._middle
        return action


def _renew_all() -> None:
    for policy in _LIVE:
        policy._renew()


# A forked process must not draw its parent's noise: parallel actors would act alike.
_LIVE: weakref.WeakSet[Policy] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
