"""Exactly N whole episodes of S policies, with the same result however they run.

Episode i starts from a seed made of i and the evaluation's seed, and takes its noise by counter:
key made of the evaluation's and the policy's seed, step = time within the episode, stream ACT,
row = i + 2^24 k for draw k (more than one only where a sampler adds noise in its steps). The
sampler always sees batches of ROWS rows with episode i in row i mod ROWS, so neither the number of
environments nor that of processes can change a single bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gtp_fast.data import box
from gtp_fast.errors import UserError
from gtp_fast.evaluation.record import Evaluation, told
from gtp_fast.evaluation.vector import Floats, Moment, Slots
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream

ROWS = 16
"""Rows of every batch that the sampler sees."""
TOLD_SECONDS = 0.1
"""Seconds between two calls of `progress` while no episode ends."""
_NOISE_STEPS = 128
_DRAW_ROWS = 1 << 24


class Samples(Protocol):
    """What is evaluated: S policies in one."""

    draws: int
    """Draws of noise for one action."""

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Return actions [S, B, A] in [-1, 1].

        observation: [S, B, O]; noise: [S, B, A], or [S, draws, B, A] where draws > 1.
        """


class OneOf:
    """One of the S policies of a sampler, for an environment that plays them one by one."""

    def __init__(self, sampler: Samples, index: int, count: int):
        self.sampler, self.index, self.count = sampler, index, count
        self.draws = sampler.draws

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Return actions [1, B, A] of the policy, which sees the rows of all."""
        rows = (x.expand(self.count, *x.shape[1:]).contiguous() for x in (observation, noise))
        return self.sampler.sample(*rows)[self.index : self.index + 1]


@dataclass(frozen=True)
class Plan:
    """What is to be played."""

    seeds: tuple[int, ...]
    """Training seed of each policy [S]."""
    episodes: int
    """Episodes of each policy N."""
    seed: int
    """Seed of the evaluation."""
    slots: int
    """Environments of each policy; those beyond N rest."""
    low: Floats
    """Lower corner of the action box [A]."""
    high: Floats
    """Upper corner of the action box [A]."""
    reference: tuple[float, float] | None = None
    """Returns that count as score 0 and 100."""
    device: torch.device | str = "cpu"
    """Where the sampler wants its tensors."""
    progress: Callable[[int, int], object] | None = None
    """Called with the number of finished episodes and of all, within long episodes too; what it
    raises ends the evaluation."""
    diverged: Collection[int] = ()
    """Seeds of diverged policies, which rest where their action is not finite."""

    def environment_seeds(self) -> NDArray[np.int64]:
        """Return the seed of each episode's reset [N], the same for every policy."""
        sequences = [np.random.SeedSequence((self.seed, i)) for i in range(self.episodes)]
        # Environments take seeds below 2^31 everywhere.
        return np.array([s.generate_state(1)[0] >> 1 for s in sequences], dtype=np.int64)


class Play:
    """One running evaluation: the episode of each slot (-1: none), and its time step."""

    def __init__(self, plan: Plan, slots: Slots, sampler: Samples):
        self.plan, self.slots, self.sampler = plan, slots, sampler
        policies = len(plan.seeds)
        self.policy = np.repeat(np.arange(policies), plan.slots)
        first = np.arange(plan.slots)
        self.episode = np.tile(np.where(first < plan.episodes, first, -1), policies)
        self.time = np.zeros(len(self.policy), dtype=np.int64)
        self.next = np.full(policies, plan.slots)
        self.returns = np.zeros((policies, plan.episodes))
        self.lengths = np.zeros((policies, plan.episodes), dtype=np.int64)
        self.successes = np.full((policies, plan.episodes), np.nan)
        self.seeds = plan.environment_seeds()
        self.scale = box.scale(plan.low, plan.high)
        self.keys = philox.key_tensor([(plan.seed << 32) + seed for seed in plan.seeds])
        shape = (len(self.policy), _NOISE_STEPS, sampler.draws, len(plan.low))
        self.noise = np.zeros(shape, dtype=np.float32)
        self.told = time.monotonic()

    def run(self) -> Evaluation:
        """Play until every episode has ended."""
        starts = [int(self.seeds[i]) if i >= 0 else None for i in self.episode]
        observation = self.slots.reset(starts, np.ones(len(starts), bool))
        while (self.episode >= 0).any():
            moment = self.slots.step(self._act(observation))
            observation = moment.observation
            ended = self._count(moment)
            starts = self._follow(ended) if ended.any() else []
            self._tell(bool(starts))
            if starts:
                observation = self.slots.reset(starts, ended)
        return Evaluation(
            self.plan.seeds, self.returns, self.lengths, told(self.successes), self.seeds,
            self.plan.reference,
        )  # fmt: skip

    def _act(self, observation: Floats) -> Floats:
        """Return the action of every slot [n, A] in the environment's units."""
        plan = self.plan
        playing = self.episode >= 0
        self._require("an observation", np.all(np.isfinite(observation), axis=1))
        for slot in np.flatnonzero(playing & (self.time % _NOISE_STEPS == 0)):
            self.noise[slot] = self._draw(int(slot))
        actions = np.zeros((len(self.policy), len(plan.low)), dtype=np.float32)
        block = self.episode // ROWS
        for number in np.unique(block[playing]):
            at = np.flatnonzero(playing & (block == number))
            place = (self.policy[at], self.episode[at] % ROWS)
            states = np.zeros((len(plan.seeds), ROWS, observation.shape[1]), dtype=np.float32)
            draws = self.noise.shape[2]
            noise = np.zeros((len(plan.seeds), draws, ROWS, actions.shape[1]), dtype=np.float32)
            states[place] = observation[at]
            for k in range(draws):
                noise[:, k][place] = self.noise[at, self.time[at] % _NOISE_STEPS, k]
            answer = self.sampler.sample(
                torch.from_numpy(states).to(plan.device),
                torch.from_numpy(noise if draws > 1 else noise[:, 0]).to(plan.device),
            )
            actions[at] = answer.cpu().numpy()[place]
        self._rest(actions)
        scaled: Floats = box.denormalise(actions, *self.scale)
        return scaled

    def _require(self, what: str, finite: NDArray[np.bool_]) -> None:
        """Raise UserError where an episode got a number that is not finite; finite: [n]."""
        if (broken := np.flatnonzero((self.episode >= 0) & ~finite)).size:
            # An observation is that of the step before, a reward that of this one.
            episode, step = self.episode[broken[0]], self.time[broken[0]] + (what == "a reward")
            raise UserError(
                f"The environment gave {what} that is not finite in step {step} of episode "
                f"{episode} (reset seed {self.seeds[episode]}): look at it there, or name another "
                "by --env."
            )

    def _rest(self, actions: Floats) -> None:
        """Put diverged policies' actions that are not finite in the middle of the box."""
        broken = ~np.isfinite(actions).all(1)
        seeds = {self.plan.seeds[i] for i in self.policy[broken]}
        if unknown := sorted(seeds.difference(self.plan.diverged)):
            raise UserError(
                f"The policy of seed {unknown[0]} gives actions that are not finite: take another "
                "checkpoint, or train it again with a lower --learning-rate."
            )
        actions[broken] = 0.0

    def _draw(self, slot: int) -> Floats:
        """Return the noise of a slot's episode for the coming time steps [steps, draws, A]."""
        # The column of steps broadcasts against the one row.
        steps = torch.arange(_NOISE_STEPS, device="cpu")[:, None] + int(self.time[slot])
        key, columns = self.keys[self.policy[slot]][None], len(self.plan.low)
        rows = [int(self.episode[slot]) + _DRAW_ROWS * k for k in range(self.noise.shape[2])]
        parts = [
            philox.normals(key, steps, Stream.ACT, torch.tensor([row], device="cpu"), columns)[0]
            for row in rows
        ]
        return torch.stack(parts, 1).numpy()

    def _count(self, moment: Moment) -> NDArray[np.bool_]:
        """Add one step to the running episodes; return which slots have ended theirs."""
        at = np.flatnonzero(self.episode >= 0)
        place = (self.policy[at], self.episode[at])
        self._require("a reward", np.isfinite(moment.reward))
        self._add(place, moment.reward[at])
        self.lengths[place] += 1
        self.successes[place] = np.fmax(self.successes[place], moment.success[at])
        self.time += 1
        return moment.ended

    def _add(self, place: tuple[NDArray[np.int64], ...], reward: NDArray[np.float64]) -> None:
        """Add rewards to the returns at `place`; UserError where float64 cannot hold their mean."""
        with np.errstate(over="ignore"):
            self.returns[place] += reward
            held = np.isfinite(self.returns[place] * self.plan.episodes)
        if not held.all():
            raise UserError(
                f"The return of episode {place[1][held.argmin()]} is too large for float64: divide "
                "the environment's rewards by a constant, or name another by --env."
            )

    def _follow(self, ended: NDArray[np.bool_]) -> list[int | None]:
        """Give the ended slots their policy's next episodes, or rest; return the reset seeds."""
        starts: list[int | None] = [None] * len(ended)
        for slot in np.flatnonzero(ended):
            policy = self.policy[slot]
            self.time[slot] = 0
            self.episode[slot] = -1
            if self.next[policy] < self.plan.episodes:
                self.episode[slot] = self.next[policy]
                starts[slot] = int(self.seeds[self.next[policy]])
                self.next[policy] += 1
        return starts

    def _tell(self, ended: bool) -> None:
        """Call `progress` where an episode has ended, and now and then where none does."""
        if self.plan.progress is None:
            return
        now = time.monotonic()
        if ended or now - self.told >= TOLD_SECONDS:
            self.told = now
            total = len(self.next) * self.plan.episodes
            waiting = int((self.plan.episodes - self.next).clip(min=0).sum())
            self.plan.progress(total - waiting - int((self.episode >= 0).sum()), total)
