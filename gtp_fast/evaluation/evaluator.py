"""Evaluation of policies in their environment: builds the environments once and keeps them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from types import TracebackType

import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec

from gtp_fast.errors import at_least
from gtp_fast.evaluation.episodes import OneOf, Plan, Play, Samples
from gtp_fast.evaluation.record import Evaluation, joined
from gtp_fast.evaluation.vector import Environment, Floats, LocalSlots, name_of
from gtp_fast.evaluation.workers import SharedSlots
from gtp_fast.system import children, machine, specs

_COSTLY = 4e-4
"""Seconds a step from which workers pay: on two cores AntMaze (7e-4) gains, PointMaze (1.3e-4)
loses to the exchange with them."""
_MOST_PROCESSES = 8


class Evaluator:
    """Plays N whole episodes of each policy; environments are built at the first evaluation.

    environment: a spec, or a live environment, which plays all episodes one by one.
    seeds: training seed of each policy [S]. environments: parallel ones for each policy.
    processes: 0 keeps them in this process; None measures a step and takes workers where they pay.
    low, high: the action box [A] that [-1, 1] is mapped to, by default the environment's.
    progress: called with the number of finished episodes and of all, as `episodes.Plan` has it.
    """

    def __init__(
        self, environment: Environment, observation_keys: Sequence[str], seeds: Sequence[int],
        episodes: int, *, seed: int = 0, reference: tuple[float, float] | None = None,
        environments: int = 8, processes: int | None = None, low: Sequence[float] | None = None,
        high: Sequence[float] | None = None, device: torch.device | str = "cpu",
        progress: Callable[[int, int], object] | None = None,
    ):  # fmt: skip
        at_least(1, episodes=episodes, environments=environments)
        at_least(0, seed=seed, processes=processes)
        self.environment = environment
        self.name = name_of(self.environment)
        self.keys, self.seeds = tuple(observation_keys), tuple(seeds)
        self.episodes, self.seed, self.reference = episodes, seed, reference
        self.device, self.progress = torch.device(device), progress
        self._box, self._processes = (low, high), processes
        live = not isinstance(self.environment, EnvSpec)
        self._per_policy = 1 if live else min(environments, episodes)
        self._slots: LocalSlots | SharedSlots | None = None

    def evaluate(
        self, sampler: Samples, episodes: int | None = None, diverged: Collection[int] = ()
    ) -> Evaluation:
        """Play every episode of every policy of the sampler and return all their figures.

        episodes: only the first ones of the evaluator's own. diverged: seeds of policies that rest
        where their action is not finite; UserError for such an action of another.
        """
        count = min(episodes or self.episodes, self.episodes)
        if self._slots is None:
            self._slots = self._build()
        low, high = (
            own if given is None else np.asarray(given, np.float32)
            for own, given in zip((self._slots.low, self._slots.high), self._box, strict=True)
        )
        plan = Plan(
            self.seeds, count, self.seed, self._per_policy, low, high, self.reference,
            self.device, self.progress, diverged,
        )  # fmt: skip
        if isinstance(self.environment, EnvSpec):
            return Play(plan, self._slots, sampler).run()
        parts = []
        for i, seed in enumerate(self.seeds):
            one = OneOf(sampler, i, len(self.seeds))
            own = replace(plan, seeds=(seed,), progress=self._behind(i))
            parts.append(Play(own, self._slots, one).run())
        return joined(parts)

    def _behind(self, policies: int) -> Callable[[int, int], object] | None:
        """Return `progress` of one policy's episodes behind those of so many others."""
        heard = self.progress
        if heard is None:
            return None
        return lambda done, each: heard(policies * each + done, len(self.seeds) * each)

    def episode_seconds(self) -> float:
        """Return about how long the longest episode takes; 0 if unknown."""
        if not isinstance(self.environment, EnvSpec):
            return 0.0
        return self._step_seconds() * (self.environment.max_episode_steps or 0)

    def close(self) -> None:
        """Free environments and worker processes."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.close()

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _build(self) -> LocalSlots | SharedSlots:
        if not isinstance(self.environment, EnvSpec):
            return LocalSlots(self.environment, 1, self.keys)
        count = self._per_policy * len(self.seeds)
        processes = self._processes
        if processes is None:
            importable = specs.place(self.environment.entry_point) is not None
            pays = importable and count > 1 and self._step_seconds() > _COSTLY
            processes = min(len(machine.cores()), _MOST_PROCESSES) if pays else 0
        processes = min(processes, count)
        if processes == 0 or not children.POSSIBLE:
            return LocalSlots(self.environment, count, self.keys)
        share = [count // processes + (i < count % processes) for i in range(processes)]
        return SharedSlots(self.environment, share, self.keys)

    def _step_seconds(self) -> float:
        slots = LocalSlots(self.environment, 1, self.keys)
        try:
            slots.reset([0], np.ones(1, bool))
            middle: Floats = np.float32(0.5) * (slots.low + slots.high)[None]
            # The fastest step is what the environment costs; slower ones show other work.
            fastest = float("inf")
            for _ in range(20):
                start = time.perf_counter()
                ended = slots.step(middle).ended[0]
                fastest = min(fastest, time.perf_counter() - start)
                if ended:
                    break
            return fastest
        finally:
            slots.close()
