"""The evaluation protocol: exactly N whole episodes of S policies at once, the same figures however they are run.

Episode i starts from a seed made of i and the evaluation's seed, and takes its noise by counter: key made of the
evaluation's and the policy's seed, step = time within the episode, stream ACT, row = i. The sampler always sees
batches of ROWS rows with episode i in row i mod ROWS, so neither the number of environments nor that of processes
can change a single bit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol

import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray
from torch import Tensor

from gtp_fast import random
from gtp_fast.errors import UserError
from gtp_fast.evaluations import Evaluation
from gtp_fast.random import Stream
from gtp_fast.vector import LocalSlots, SharedSlots, Slots

ROWS = 16
"""Rows of every batch that the sampler sees."""
_NOISE_STEPS = 128
_COSTLY = 4e-4
"""Seconds a step from which workers pay: AntMaze (7e-4) gains a third or more on two cores, PointMaze (1.3e-4) loses."""


class Samples(Protocol):
    """What is evaluated: maps observation [S, B, O] and noise [S, B, A] to actions [S, B, A] in [-1, 1]."""

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Return the actions."""


class Evaluator:
    """Plays whole episodes; the environments are built at the first evaluation and kept until `close`.

    seeds: training seed of each policy [S]. environments: parallel ones for each policy. processes: 0 keeps them
    in this process, None measures a step and takes workers where they pay. low, high: the action box that [-1, 1]
    is mapped to, the environment's own by default. progress: told of every finished episode (done, of).
    """

    def __init__(
        self, spec: EnvSpec | str, observation_keys: Sequence[str], seeds: Sequence[int], episodes: int, *,
        seed: int = 0, reference: tuple[float, float] | None = None, environments: int = 8,
        processes: int | None = None, low: Sequence[float] | None = None, high: Sequence[float] | None = None,
        device: torch.device | str = "cpu", progress: Callable[[int, int], None] | None = None,
    ):  # fmt: skip
        if episodes < 1 or environments < 1:
            raise UserError(f"Evaluation needs at least one episode and one environment, not {episodes}, {environments}.")
        self.spec = EnvSpec.from_json(spec) if isinstance(spec, str) else spec
        self.keys, self.seeds, self.episodes, self.seed = tuple(observation_keys), tuple(seeds), episodes, seed
        self.reference, self.device, self.progress = reference, torch.device(device), progress
        self._box = (low, high)
        self._per_policy, self._processes = min(environments, episodes), processes
        self._slots: Slots | None = None

    def evaluate(self, sampler: Samples) -> Evaluation:
        """Play every episode of every policy of the sampler and return all their figures."""
        if self._slots is None:
            self._slots = self._build()
        return _Play(self, self._slots, sampler).run()

    def close(self) -> None:
        """Free environments and worker processes."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.close()

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_slots", None) is not None:
            self.close()

    def environment_seeds(self) -> NDArray[np.int64]:
        """Return the seed of each episode's reset [N]."""
        words = [np.random.SeedSequence((self.seed, i)).generate_state(1)[0] for i in range(self.episodes)]
        return np.array(words, dtype=np.int64) >> 1

    def _build(self) -> Slots:
        count = self._per_policy * len(self.seeds)
        processes = self._processes
        if processes is None:
            processes = min(_cores(), count) if count > 1 and self._step_seconds() > _COSTLY else 0
        if processes > 0 and hasattr(os, "fork"):
            processes = min(processes, count)
            share = [count // processes + (i < count % processes) for i in range(processes)]
            slots: LocalSlots | SharedSlots = SharedSlots(self.spec, share, self.keys)
        else:
            slots = LocalSlots(self.spec, count, self.keys)
        low, high = self._box
        self.low = slots.low if low is None else np.asarray(low, np.float32)
        self.high = slots.high if high is None else np.asarray(high, np.float32)
        return slots

    def _step_seconds(self) -> float:
        slots = LocalSlots(self.spec, 1, self.keys)
        try:
            slots.reset([0], np.ones(1, bool))
            middle = (slots.low + slots.high)[None] / 2
            fastest = float("inf")
            for _ in range(20):
                start = time.perf_counter()
                ended = slots.step(middle).ended[0]
                # The fastest step is what the environment costs, the others what the machine is busy with.
                fastest = min(fastest, time.perf_counter() - start)
                if ended:
                    break
            return fastest
        finally:
            slots.close()


class _Play:
    """One evaluation under way: which episode each slot plays, and at which time step."""

    def __init__(self, evaluator: Evaluator, slots: Slots, sampler: Samples):
        self.evaluator, self.slots, self.sampler = evaluator, slots, sampler
        policies, episodes, each = len(evaluator.seeds), evaluator.episodes, evaluator._per_policy
        self.policy = np.repeat(np.arange(policies), each)
        self.episode = np.tile(np.arange(each), policies)
        self.time = np.zeros(len(self.policy), dtype=np.int64)
        self.next = np.full(policies, each)
        self.returns = np.zeros((policies, episodes))
        self.lengths = np.zeros((policies, episodes), dtype=np.int64)
        self.successes = np.full((policies, episodes), np.nan)
        self.seeds = evaluator.environment_seeds()
        keys = [(evaluator.seed << 32) + seed for seed in evaluator.seeds]
        self.keys = random.key_tensor(keys)
        self.actions = len(evaluator.low)
        self.noise = np.zeros((len(self.policy), _NOISE_STEPS, self.actions), dtype=np.float32)

    def run(self) -> Evaluation:
        """Play until every episode has ended."""
        starts: list[int | None] = [int(self.seeds[i]) for i in self.episode]
        observation = self.slots.reset(starts, np.ones(len(starts), bool))
        while (self.episode >= 0).any():
            moment = self.slots.step(self.act(observation))
            observation = moment.observation
            ended = self.count(moment.reward, moment.success, moment.ended)
            if ended.any():
                observation = self.slots.reset(self.follow(ended), ended)
        return Evaluation(
            self.evaluator.seeds, self.returns, self.lengths, self.successes, self.seeds, self.evaluator.reference
        )

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the action of every slot [n, A] in the environment's units; resting slots get zeros."""
        if not np.isfinite(observation).all():
            raise RuntimeError(f"{self.evaluator.spec.id} gave an observation that is not finite")
        evaluator, policies = self.evaluator, len(self.evaluator.seeds)
        actions = np.zeros((len(self.policy), self.actions), dtype=np.float32)
        for slot in np.flatnonzero((self.episode >= 0) & (self.time % _NOISE_STEPS == 0)):
            self.noise[slot] = self.draw(int(slot))
        block = self.episode // ROWS
        for number in np.unique(block[self.episode >= 0]):
            at = np.flatnonzero((block == number) & (self.episode >= 0))
            place = (self.policy[at], self.episode[at] % ROWS)
            states = np.zeros((policies, ROWS, observation.shape[1]), dtype=np.float32)
            noise = np.zeros((policies, ROWS, self.actions), dtype=np.float32)
            states[place] = observation[at]
            noise[place] = self.noise[at, self.time[at] % _NOISE_STEPS]
            answer = self.sampler.sample(
                torch.from_numpy(states).to(evaluator.device), torch.from_numpy(noise).to(evaluator.device)
            )
            actions[at] = answer.cpu().numpy()[place]
        return evaluator.low + (actions + 1.0) * (0.5 * (evaluator.high - evaluator.low))

    def draw(self, slot: int) -> NDArray[np.float32]:
        """Return the noise of a slot's episode for the coming time steps [steps, A]."""
        # Broadcast against the single row, the column of steps takes the place of the rows.
        steps = torch.arange(_NOISE_STEPS)[:, None] + int(self.time[slot])
        key = self.keys[self.policy[slot]][None]
        row = torch.tensor([self.episode[slot]])
        drawn: NDArray[np.float32] = random.normals(key, steps, Stream.ACT, row, self.actions)[0].numpy()
        return drawn

    def count(
        self, reward: NDArray[np.float64], success: NDArray[np.float64], ended: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Add one step to the episodes under way; return the slots whose episode ended."""
        at = np.flatnonzero(self.episode >= 0)
        place = (self.policy[at], self.episode[at])
        self.returns[place] += reward[at]
        self.lengths[place] += 1
        self.successes[place] = np.fmax(self.successes[place], success[at])
        self.time += 1
        return ended & (self.episode >= 0)

    def follow(self, ended: NDArray[np.bool_]) -> list[int | None]:
        """Give the ended slots their policy's next episodes, or rest; return the seeds of the resets."""
        starts: list[int | None] = [None] * len(ended)
        for slot in np.flatnonzero(ended):
            policy = self.policy[slot]
            self.time[slot] = 0
            self.episode[slot] = -1
            if self.next[policy] < self.evaluator.episodes:
                self.episode[slot] = self.next[policy]
                starts[slot] = int(self.seeds[self.next[policy]])
                self.next[policy] += 1
        if self.evaluator.progress is not None:
            done = len(self.evaluator.seeds) * self.evaluator.episodes
            left = int((self.episode >= 0).sum() + (self.evaluator.episodes - self.next).sum())
            self.evaluator.progress(done - left, done)
        return starts


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)
