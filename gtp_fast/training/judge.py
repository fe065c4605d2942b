"""The evaluations of a run: when, of how many episodes, and which was the best."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gtp_fast.agents.base import Agent
from gtp_fast.data import TransitionTable
from gtp_fast.evaluation.evaluator import Evaluator
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.evaluation.vector import Environment
from gtp_fast.policy import off_policy
from gtp_fast.policy.evaluation import FQE_STEPS, Options
from gtp_fast.runs import Run, checkpoint
from gtp_fast.runs.evaluations import EvaluationLog
from gtp_fast.tasks import Task

_SHARE = 0.2
"""Largest share of a run's time that evaluations before the last one take by default."""


class Judge:
    """Evaluates the policy in its environment; `evaluator` is None where there is none.

    By default evaluations before the last one have as many episodes as their share of the time
    allows, and are left out where that is none. With `--evaluate-every` all have all episodes.
    """

    def __init__(
        self,
        run: Run,
        agent: Agent,
        table: TransitionTable,
        task: Task,
        start: int,
        environment: Environment | None,
        progress: Callable[[int, int], object],
    ):
        settings = run.config()
        self.agent, self.task = agent, task
        self.steps: int = settings["steps"]
        every = settings["evaluate_every"]
        self.given = every is not None
        self.every: int = max(1, self.steps // 10) if every is None else every
        self.log = EvaluationLog(run.evaluations, start)
        self.last: Evaluation | None = None
        self.seconds = 0.0
        """Seconds of all evaluations so far."""
        self.between = 0.0
        """Seconds of the evaluations before the last one."""
        self.cost = 0.0
        """Seconds of one episode of every policy; 0 until it is known."""
        self.evaluator = (
            None
            if environment is None
            else Evaluator(
                environment,
                table.observation_keys,
                agent.seeds,
                settings["episodes"],
                reference=task.reference,
                low=table.action_low,
                high=table.action_high,
                device=agent.device,
                progress=progress,
            )
        )
        self.kept: Evaluation | None = None
        """The logged evaluation of the very update that an interrupted run goes on from."""
        if self.evaluator is not None:
            self.kept = self._at(start)
        self.evaluated = -1 if self.kept is None else start
        # What is logged may lack its checkpoint: only a marked one that is there can be the best.
        self.best, self.best_step = -np.inf, -1
        marked = checkpoint.marked(run)
        if marked is not None and marked.path.exists():
            self.best, self.best_step = marked.score, marked.step

    @property
    def environment(self) -> str | None:
        """Name of the environment."""
        return None if self.evaluator is None else self.evaluator.name

    def due(self, done: int) -> bool:
        """Return whether an evaluation belongs to this update and is still missing."""
        if self.evaluator is None or self.evaluated == done:
            return False
        return done == self.steps or bool(self.every and done % self.every == 0)

    def complete(self, done: int) -> bool:
        """Return whether an evaluation of all episodes was made after this update."""
        whole = self.last is not None and self.last.returns.shape[1] >= self._episodes
        return self.evaluator is None or (self.evaluated == done and whole)

    def episodes(self, last: bool, training: float) -> int:
        """Return how many episodes an evaluation may have after so many seconds of training."""
        assert self.evaluator is not None
        if last or self.given:
            return self.evaluator.episodes
        if not self.cost:
            self.cost = self.evaluator.episode_seconds() * len(self.agent.seeds)
        left = training * _SHARE / (1.0 - _SHARE) - self.between
        return int(min(self.evaluator.episodes, max(0.0, left) / max(self.cost, 1e-9)))

    def evaluate(self, done: int, episodes: int, last: bool) -> Evaluation:
        """Play, and keep every episode; an exception of `progress` passes through."""
        assert self.evaluator is not None
        began = time.perf_counter()
        sampler, diverged = self.agent.acting().sampler, self.agent.diverged_seeds
        found = self.evaluator.evaluate(sampler, episodes, diverged)
        took = time.perf_counter() - began
        self.seconds += took
        self.between += 0.0 if last else took
        self.cost = took / episodes
        self.log.append(done, found)
        # Read back: with the successes of the whole run some of its nan are failures.
        self.last, self.evaluated = self._at(done) or found, done
        return self.last

    def is_best(self, found: Evaluation) -> bool:
        """Return whether an evaluation of all episodes beats those before it."""
        if found.returns.shape[1] < self._episodes:
            return False
        # From its episodes: once one has reported success, that is what the whole run is judged by.
        before = self._at(self.best_step)
        self.best = self.best if before is None else _figure(before)
        if _figure(found) <= self.best:
            return False
        self.best, self.best_step = _figure(found), self.evaluated
        return True

    def _at(self, step: int) -> Evaluation | None:
        return self.log.at(step, self.agent.seeds, self.task.reference)

    @property
    def _episodes(self) -> int:
        return 0 if self.evaluator is None else self.evaluator.episodes

    def close(self) -> None:
        """Free the environments."""
        if self.evaluator is not None:
            self.evaluator.close()


def _figure(found: Evaluation) -> float:
    return float(np.mean(found.headline()[1]))


def figures(found: Evaluation) -> dict[str, Any]:
    """Return the columns of metrics.csv that an evaluation fills."""
    return {f"evaluation_{name}": values for name, values in found.means().items()}


def by_data(run: Run, agent: Agent, tables: Sequence[TransitionTable], updates: int) -> str:
    """Judge a run without an environment by its data; return what is printed of it.

    tables: as the agent read it, then what was held out, if anything. The fitted Q evaluation takes
    no more updates than the run.
    """
    steps = min(FQE_STEPS, updates)
    options = Options(run=str(run), fqe=True, fqe_steps=steps, device=str(agent.device))
    raw = [replace(table, lots=None) for table in tables]
    if agent.setup.observation_mean:
        mean, scale = (x.double().cpu() for x in agent.standard)
        back = (-mean / scale).tolist(), (1.0 / scale).tolist()
        raw = [table.standardised(*back) for table in raw]
    record = off_policy.evaluate(options, *raw)
    off_policy.write(record)
    return f"\n{off_policy.table(record)}\n\nrun folder  {run.path}"
