"""One training run: updates, metrics, evaluations, checkpoints, and an orderly end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from gtp_fast import engine, tasks
from gtp_fast.agents.base import Agent
from gtp_fast.data import TransitionTable, hold_out
from gtp_fast.errors import UserError
from gtp_fast.evaluation.vector import Environment
from gtp_fast.runs import Run, checkpoint
from gtp_fast.runs.lock import Hold
from gtp_fast.system.children import ChildDied
from gtp_fast.tasks import Task
from gtp_fast.training import console, judge, loggers
from gtp_fast.training.callbacks import Callback, Callbacks
from gtp_fast.training.divergence import Divergence
from gtp_fast.training.figures import Figures
from gtp_fast.training.line import ProgressLine
from gtp_fast.training.options import NO_ENVIRONMENT
from gtp_fast.training.saving import Saver


class _Stopped(Exception):
    """An evaluation was cut short by a stop signal."""


class Trainer:
    """Trains an agent from update `start` to the end and writes its run folder.

    environment: where to evaluate; None for nowhere. task: None for the run folder's. sums: of the
    metrics since their last row, in a run that goes on. logged: names of loggers.
    """

    def __init__(
        self,
        hold: Hold,
        agent: Agent,
        table: TransitionTable,
        chosen: engine.Choice,
        start: int,
        *,
        logged: Sequence[str] = (),
        callbacks: Sequence[Callback] = (),
        environment: Environment | None = None,
        sums: Mapping[str, Any] | None = None,
        task: Task | None = None,
    ):
        self.chosen = chosen
        self.hold, run = hold, hold.run
        self.received: Callable[[], int] = lambda: 0
        self.run, self.agent, self.start = run, agent, start
        self.settings: dict[str, Any] = run.config()
        trained, *self.held_out = hold_out.split(table, hold_out.share_of(self.settings))
        self.table = agent.drawn_from(trained)
        self.steps: int = self.settings["steps"]
        task = task or tasks.of_run(self.settings)
        self.judge = judge.Judge(run, agent, table, task, start, environment, self._evaluating)
        tenth = max(1, self.steps // 10)
        self.checkpoint_every = self.settings["checkpoint_every"] or min(
            tenth, self.judge.every or tenth
        )
        self.log_every: int = self.settings["log_every"]
        self.watch = engine.Watch(agent)
        if sums:
            self.watch.go_on(sums)
        self.callbacks = Callbacks([*loggers.named(logged, start), *callbacks])
        self.figures = Figures(run, agent, self.table, self.held_out, self.callbacks, start)
        # Runs of older versions kept two.
        self.saver = Saver(run, agent, self.watch, self.settings.get("keep_checkpoints", 2))
        self.divergence = Divergence(run, agent, self.table, table, self.watch)
        self.facts = console.Facts(
            run, self.settings, agent, self.table, self.chosen, self.judge.environment, task,
            sum(map(len, self.held_out)),
        )  # fmt: skip

    @classmethod
    def held(cls, run: Run, *arguments: Any, **options: Any) -> Trainer:
        """Return the trainer of a run folder; UserError where another process trains in it.

        The folder is held before anything in it is cut back to the last checkpoint.
        """
        hold = Hold(run)
        try:
            return cls(hold, *arguments, **options)
        except BaseException:
            hold.release()
            raise

    def train(self) -> int:
        """Train to the end, to a stop signal or to a callback's wish; return the exit code."""
        try:
            return self._train()
        finally:
            self.hold.release()

    def _train(self) -> int:
        self.agent.prepare(self.steps)
        console.announce(self.facts)
        self.began = time.perf_counter()
        self.done = self.start
        self.line = ProgressLine(self.steps, self.start)
        try:
            self.callbacks.call("start", self.agent, self.run.path)
            with self.line.bar, closing(self.judge), engine.stop_signals() as self.received:
                done = self.start
                if self.start:
                    self._make_up()
                # Ctrl-C in there left an evaluation undone, which the next update would pass by.
                if not (self.start and self.received()):
                    done = self._run()
                stops = self.callbacks.stop and not self.received()
                if stops and not self.judge.complete(done):
                    with self.saver.rescued(done):
                        self._evaluate(done, last=True)
                received = self.received()
            self._save(done)
        except ChildDied as error:
            raise UserError(
                f"{error.what}: {checkpoint.last_good(self.run)}; go on with --resume "
                f"{self.run.path}, and with --processes 1 should memory be short."
            ) from error
        finally:
            self.callbacks.call("end", self.done)
        if received and (done < self.steps or self.judge.due(done)):
            print(
                f"Stopped at update {done:,} of {self.steps:,}; go on with: --resume "
                f"{self.run.path}",
                file=sys.stderr,
            )
            return 128 + received
        self._conclude(done)
        return 0

    def _conclude(self, done: int) -> None:
        """Print and keep the summary; without an environment, how near the data it came."""
        if self.judge.last is not None:
            console.summarise(self.facts, self._outcome(done))
        elif self.judge.evaluator is None:
            if done > self.start or self._unsaid(done):
                self.run.write_summary(console.summary(self.facts, self._outcome(done)))
            asked = self.settings["evaluation"].get("reason") != NO_ENVIRONMENT
            if done == self.steps and asked:
                tables = self.table, *self.held_out
                print(judge.by_data(self.run, self.agent, tables, self.steps))
        if self.start == self.steps and self.judge.last is None:
            print(
                f"The run has all of its {self.steps:,} updates: nothing was left to train. A "
                "longer one is a new run, with other --steps."
            )

    def _outcome(self, done: int) -> console.Outcome:
        """Return what the run reached; without a rate where it did no update."""
        seconds = time.perf_counter() - self.began - self.judge.seconds - self.figures.seconds
        return console.Outcome(
            self.judge.last,
            self.judge.best,
            self.watch.diverged(),
            done,
            (done - self.start) / seconds if done > self.start else None,
        )

    def stopped(self) -> int:
        """Return a number other than 0 once the run is to stop."""
        return self.received() or int(self.callbacks.stop)

    def _make_up(self) -> None:
        """Do what an interruption left undone at the update of the last checkpoint."""
        kept, path = self.judge.kept, checkpoint.last(self.run)
        if self.judge.due(self.start):
            self._evaluate(self.start)
        elif kept is not None:
            if path is not None and self.judge.is_best(kept):
                checkpoint.mark_best(self.run, path, self.judge.best)
            if self._unsaid(self.start):
                self.judge.last = kept

    def _unsaid(self, done: int) -> bool:
        """Return whether summary.json does not tell of a run that ends after this update."""
        return self.run.summary().get("updates") != done

    def _run(self) -> int:
        """Run the updates with everything between them; return how many are done in all."""
        intervals = (self.log_every, self.judge.every, self.checkpoint_every)
        with closing(engine.build(self.chosen, self.agent, self.table, self.watch)) as built:
            # The reported rate leaves the start of processes out.
            self.began, self.judge.seconds, self.figures.seconds = time.perf_counter(), 0.0, 0.0

            def after(done: int) -> None:
                with self.saver.rescued(done, built.settle):
                    self._after(done)

            return engine.run(
                built, self.agent, self.start, self.steps, intervals, after, self.stopped
            )

    def _after(self, done: int) -> None:
        self.done = done
        self.line.reach(done)
        last = done == self.steps
        if done % self.log_every == 0 or last:
            self.divergence.check(self.line.say)
            means = self.watch.means()
            self.figures.write(done, means)
            # A loss that is 0 is not trained: that of the critic in a run without one.
            trained = [
                n for n in self.agent.loss_names if n in self.line.figures or np.any(means[n])
            ]
            self.line.show({name: f"{np.mean(means[name]):.3g}" for name in trained})
        if self.judge.due(done) and self._evaluate(done, last):
            return
        if done % self.checkpoint_every == 0 or last:
            self.divergence.check(self.line.say)
            if self.judge.evaluator is None or not self.judge.every:
                self.figures.note(done, {}, self.steps, self.line)
            self._save(done)

    def _evaluating(self, done: int, total: int) -> None:
        self.line.label(f"evaluating, episode {done} of {total}")
        if self.received():
            raise _Stopped

    def _evaluate(self, done: int, last: bool = False) -> bool:
        """Evaluate, save and compare with the best; False where there was no time for it."""
        training = time.perf_counter() - self.began - self.judge.seconds - self.figures.seconds
        whole = self.settings["episodes"]
        episodes = self.judge.episodes(last or done == self.steps, training)
        if episodes < whole:
            self.line.say_once(
                "few",
                "evaluations before the last one have fewer episodes, so that they take at most a "
                f"fifth of the time; --evaluate-every gives each all {whole}",
            )
        if not episodes:
            return False
        self.divergence.check(self.line.say)
        self.line.label("evaluating")
        try:
            found = self.judge.evaluate(done, episodes, last)
        except _Stopped:
            return True
        self.line.label("")
        self.figures.note(done, judge.figures(found), self.steps, self.line)
        name, values = found.headline()
        self.line.show({name: f"{np.mean(values):.3g}"})
        self._save(done, self.judge.is_best(found))
        self.callbacks.call("evaluation", done, found)
        return True

    def _save(self, done: int, best: bool = False) -> None:
        """Save a checkpoint, mark it where it is the best so far, then call the callbacks."""
        fresh = done != self.saver.step
        if fresh:
            self.divergence.check(self.line.say)
            self.saver.save(done)
        if best:
            checkpoint.mark_best(self.run, self.saver.path, self.judge.best)
        if fresh:
            self.callbacks.call("checkpoint", done, self.saver.path)
