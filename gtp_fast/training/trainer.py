"""One training run: updates, metrics, evaluations, checkpoints, and an orderly end."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gtp_fast import engine, tasks
from gtp_fast.agents import health
from gtp_fast.agents.base import Agent
from gtp_fast.data import TransitionTable
from gtp_fast.errors import UserError
from gtp_fast.evaluation.evaluator import Evaluator
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.runs import Run, checkpoint, guidance
from gtp_fast.runs.evaluations import EvaluationLog, by_step, read
from gtp_fast.runs.metrics import MetricsLog
from gtp_fast.system.children import ChildDied
from gtp_fast.training import console
from gtp_fast.training.config import RunConfig


class _Stopped(Exception):
    """An evaluation was cut short by a stop signal."""


class AllDiverged(UserError):
    """Every seed of the run has diverged."""


class Trainer:
    """Trains an agent from update `start` to the end and writes its run folder."""

    def __init__(
        self,
        run: Run,
        agent: Agent,
        table: TransitionTable,
        options: RunConfig,
        chosen: engine.Choice,
        start: int,
    ):
        self.chosen = chosen
        self.run, self.agent, self.start = run, agent, start
        self.table = agent.drawn_from(table)
        self.settings: dict[str, Any] = run.config()
        self.steps: int = self.settings["steps"]
        self.task = tasks.find(self.settings["task"])
        tenth = max(1, self.steps // 10)
        every = self.settings["evaluate_every"]
        self.evaluate_every = tenth if every is None else every
        self.checkpoint_every = self.settings["checkpoint_every"] or min(
            tenth, self.evaluate_every or tenth
        )
        self.log_every: int = self.settings["log_every"]
        self.watch = engine.Watch(agent)
        self.metrics = MetricsLog(run.metrics, agent.seeds, start, options.tensorboard)
        self.log = EvaluationLog(run.evaluations, start)
        self.saved_step = -1
        self.best, self.evaluated = self._so_far()
        self.last: Evaluation | None = None
        self.shown: dict[str, str] = {}
        self.reported: set[int] = set()
        self.said: set[str] = set()
        self.evaluator = self._evaluator()
        environment = None if self.evaluator is None else self.evaluator.spec.id
        self.facts = console.Facts(run, self.settings, agent, self.table, chosen, environment)

    def train(self) -> int:
        """Train to the end or to a stop signal; return the exit code."""
        self.agent.prepare(self.steps)
        console.announce(self.facts)
        self.began, self.evaluating = time.perf_counter(), 0.0
        self.bar = tqdm(
            total=self.steps, initial=self.start, unit="update", dynamic_ncols=True, file=sys.stderr
        )
        try:
            with self.bar, self.evaluator or nullcontext(), engine.stop_signals() as self.stopped:
                # A stop in the middle of an evaluation left its step without one.
                if self.start and self._evaluation_due(self.start):
                    self._evaluate(self.start)
                done = self._run()
                received = self.stopped()
            self._save(done)
        except ChildDied as error:
            raise UserError(
                f"{error}: {self._last_good()}; go on with --resume {self.run.path}, and with "
                "--processes 1 should memory be short."
            ) from error
        finally:
            self.metrics.close()
        if received and (done < self.steps or self._evaluation_due(done)):
            print(
                f"Stopped at update {done:,} of {self.steps:,}; go on with: --resume "
                f"{self.run.path}",
                file=sys.stderr,
            )
            return 128 + received
        if self.last is not None:
            seconds = time.perf_counter() - self.began - self.evaluating
            rate = (done - self.start) / seconds
            diverged = self.watch.diverged()
            console.summarise(
                self.facts, console.Outcome(self.last, self.best, diverged, done, rate)
            )
        return 0

    def _run(self) -> int:
        """Run the updates with everything between them; return how many are done in all."""
        intervals = (self.log_every, self.evaluate_every, self.checkpoint_every)
        with closing(engine.build(self.chosen, self.agent, self.table, self.watch)) as built:
            # The reported rate leaves the start of processes out.
            self.began, self.evaluating = time.perf_counter(), 0.0
            return engine.run(
                built, self.agent, self.start, self.steps, intervals, self._after, self.stopped
            )

    def _after(self, done: int) -> None:
        self.bar.update(done - self.bar.n)
        last = done == self.steps
        if done % self.log_every == 0 or last:
            self._check()
            means = self.watch.means()
            self.metrics.write(done, means)
            self._show({name: f"{np.mean(means[name]):.3g}" for name in self.agent.loss_names})
        if self._evaluation_due(done):
            self._evaluate(done)
        elif done % self.checkpoint_every == 0 or last:
            self._check()
            if self.evaluator is None or not self.evaluate_every:
                self._note(done, {})
            self._save(done)

    def _evaluation_due(self, done: int) -> bool:
        """Return whether an evaluation belongs to this update and is still missing."""
        if self.evaluator is None or self.evaluated == done:
            return False
        return done == self.steps or bool(self.evaluate_every and done % self.evaluate_every == 0)

    def _show(self, figures: dict[str, str]) -> None:
        self.shown |= figures
        self.bar.set_postfix(self.shown, refresh=False)

    def _check(self) -> None:
        """Report each diverged seed once; stop the run when none is left."""
        diverged = self.watch.diverged()
        fresh = [one for one in diverged if one.seed not in self.reported]
        self.reported |= {one.seed for one in fresh}
        lines = [f"{one.term} of seed {one.seed} diverged at update {one.step:,}" for one in fresh]
        if len(diverged) == len(self.agent.seeds):
            raise AllDiverged(
                f"{'; '.join(lines) or 'every seed has diverged'}: {self._last_good()}; start "
                "again with a lower --learning-rate, or with --max-gradient-norm 1."
            )
        for line in lines:
            self.bar.write(f"{line}: it stays as it was, the other seeds go on", file=sys.stderr)

    def _last_good(self) -> str:
        last = checkpoint.last(self.run)
        return f"the last good checkpoint is {last}" if last else "no checkpoint was saved"

    def _evaluator(self) -> Evaluator | None:
        environment = self.settings["evaluation"]["environment"]
        if environment is None:
            return None
        table, agent = self.table, self.agent
        return Evaluator(
            environment,
            table.observation_keys,
            agent.seeds,
            self.settings["episodes"],
            reference=self.task.reference,
            low=table.action_low,
            high=table.action_high,
            device=agent.device,
            progress=self._stop_evaluation,
        )

    def _stop_evaluation(self, done: int, total: int) -> None:
        if self.stopped():
            raise _Stopped

    def _evaluate(self, done: int) -> None:
        assert self.evaluator is not None
        self._check()
        began = time.perf_counter()
        self.bar.set_description_str("evaluating")
        try:
            self.last = self.evaluator.evaluate(self.agent.acting().sampler)
        except _Stopped:
            return
        self.evaluated = done
        self.bar.set_description_str("")
        self.evaluating += time.perf_counter() - began
        self.log.append(done, self.last)
        means = self.last.means()
        self._note(done, {f"evaluation_{name}": values for name, values in means.items()})
        score = float(np.mean(means["score"]))
        self._show({"score": f"{score:.1f}"})
        path = self._save(done)
        if score > self.best:
            self.best = score
            checkpoint.mark_best(self.run, path, score)

    def _note(self, done: int, figures: Mapping[str, Any]) -> None:
        """Write figures and those of the agent's health; print each new warning once."""
        began = time.perf_counter()
        self.metrics.write(done, {**figures, **health.figures(self.agent, self.table, done - 1)})
        columns = guidance.read(self.run.metrics)
        self._show(guidance.shown(guidance.last(columns)))
        for kind, sentence in guidance.sentences(columns, self.steps).items():
            if kind not in self.said:
                self.said.add(kind)
                self.bar.write(sentence, file=sys.stderr)
        self.evaluating += time.perf_counter() - began

    def _save(self, done: int) -> Path:
        if done != self.saved_step:
            self._check()
            self.saved = checkpoint.save(self.run, done, self.agent.state_dict(), {})
            self.saved_step = done
        return self.saved

    def _so_far(self) -> tuple[float, int]:
        """Return the best mean score of an interrupted run and its last evaluated step."""
        if not self.log.path.exists():
            return -np.inf, -1
        steps, returns = by_step(read(self.log.path), "return")
        best = max((float(np.mean(self.task.score(r))) for r in returns), default=-np.inf)
        return best, max(steps, default=-1)
