"""One training run: updates, metrics, evaluations and checkpoints in their turn, and an orderly
end.
"""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from gtp_fast import checkpoint, engine, tasks
from gtp_fast.agents.base import Agent
from gtp_fast.config import RunConfig
from gtp_fast.data import TransitionTable
from gtp_fast.errors import UserError
from gtp_fast.evaluations import Evaluation, EvaluationLog, by_step, read
from gtp_fast.evaluator import Evaluator
from gtp_fast.metrics import MetricsLog
from gtp_fast.runs import Run


class _Stopped(Exception):
    """An evaluation was cut short by a stop signal."""


class Trainer:
    """Drives an agent from update `start` to the end of its run and writes everything into the run
    folder.
    """

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
        self.run, self.agent, self.table, self.start = run, agent, table, start
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
        self.evaluator = self._evaluator()

    def train(self) -> int:
        """Train to the end or to a stop signal; return the exit code."""
        self.agent.prepare(self.steps)
        self._announce()
        self.evaluating = 0.0
        began = time.perf_counter()
        self.bar = tqdm(
            total=self.steps, initial=self.start, unit="update", dynamic_ncols=True, file=sys.stderr
        )
        try:
            with self.bar, self.evaluator or nullcontext(), engine.stop_signals() as self.stopped:
                # A stop in the middle of an evaluation left its step without one.
                if self.start and self._evaluation_due(self.start):
                    self._evaluate(self.start)
                done = engine.run(
                    engine.build(self.chosen, self.agent, self.table, self.watch),
                    self.agent,
                    self.start,
                    self.steps,
                    (self.log_every, self.evaluate_every, self.checkpoint_every),
                    self._after,
                    self.stopped,
                )
                received = self.stopped()
            self._save(done)
        finally:
            self.metrics.close()
        if received and (done < self.steps or self._evaluation_due(done)):
            print(
                f"Stopped at update {done:,} of {self.steps:,}; go on with: --resume "
                f"{self.run.path}",
                file=sys.stderr,
            )
            return 128 + received
        self._summarise(done, time.perf_counter() - began - self.evaluating)
        return 0

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
        elif done % self.checkpoint_every == 0:
            self._check()
            self._save(done)

    def _evaluation_due(self, done: int) -> bool:
        """Say whether an evaluation belongs to this update and has not been made."""
        if self.evaluator is None or self.evaluated == done:
            return False
        return done == self.steps or bool(self.evaluate_every and done % self.evaluate_every == 0)

    def _show(self, figures: dict[str, str]) -> None:
        self.shown |= figures
        self.bar.set_postfix(self.shown, refresh=False)

    def _check(self) -> None:
        """Report seeds that have diverged, each once; stop the run when none is left."""
        diverged = self.watch.diverged()
        fresh = [one for one in diverged if one.seed not in self.reported]
        self.reported |= {one.seed for one in fresh}
        lines = [f"{one.term} of seed {one.seed} diverged at update {one.step:,}" for one in fresh]
        if len(diverged) == len(self.agent.seeds):
            last = checkpoint.last(self.run)
            where = f"the last good checkpoint is {last}" if last else "no checkpoint was saved"
            raise UserError(
                f"{'; '.join(lines) or 'every seed has diverged'}: {where}; start again with a "
                "lower --learning-rate, or with --max-gradient-norm 1."
            )
        for line in lines:
            self.bar.write(f"{line}: it stays as it was, the other seeds go on", file=sys.stderr)

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
            reference=(self.task.reference_min, self.task.reference_max),
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
        spread = {
            f"action_std_{name}": values
            for name, values in self.agent.action_spread(self.table).items()
        }
        self.metrics.write(
            done, {f"evaluation_{name}": values for name, values in means.items()} | spread
        )
        score = float(np.mean(means["score"]))
        self._show({"score": f"{score:.1f}"})
        path = self._save(done)
        if score > self.best:
            self.best = score
            checkpoint.mark_best(self.run, path, score)

    def _save(self, done: int) -> Path:
        if done != self.saved_step:
            self._check()
            self.saved = checkpoint.save(self.run, done, self.agent.state_dict(), {})
            self.saved_step = done
        return self.saved

    def _so_far(self) -> tuple[float, int]:
        """Return the best mean score that an interrupted run had reached, and its last evaluation's
        step.
        """
        if not self.log.path.exists():
            return -np.inf, -1
        steps, returns = by_step(read(self.log.path), "return")
        best = max((float(np.mean(self.task.score(r))) for r in returns), default=-np.inf)
        return best, max(steps, default=-1)

    def _announce(self) -> None:
        table, agent = self.table, self.agent
        print(
            f"dataset     {table.dataset_id}: {len(table):,} transitions of "
            f"{table.statistics.episodes:,} episodes"
        )
        if not table.provenance.official:
            print(
                "            made locally, not Minari's: never put its scores beside published ones"
            )
        print(
            f"agent       {self.settings['agent']}, seeds {' '.join(map(str, agent.seeds))}, on "
            f"{agent.device}"
        )
        sources = dict.fromkeys(self.settings.get("setting_sources", {}).values())
        print(f"defaults    {'; '.join(sources) or 'the same on every task'}")
        print(f"engine      {self.chosen.describe()}")
        print(f"operations  {agent.ops.describe()}")
        threads = torch.get_num_threads()
        if agent.device.type == "cpu":
            whole = 1 < threads <= len(agent.seeds)
            share = ", native calls give each of them whole seeds" if whole else ""
            print(f"threads     {threads}{share}")
        if self.evaluator is None:
            print(
                "evaluation  none: the dataset brings no environment; watch the losses, or "
                "evaluate the policy yourself"
            )
        print(f"run folder  {self.run.path}", flush=True)

    def _summarise(self, done: int, seconds: float) -> None:
        """Write summary.json and print the result with everything that its reading depends on."""
        if self.last is None or self.evaluator is None:
            return
        means, settings = self.last.means(), self.settings
        rate = (done - self.start) / seconds
        summary = {
            "task": settings["task"],
            "dataset": self.table.dataset_id,
            "official_dataset": self.table.provenance.official,
            "data": {
                "description": self.table.provenance.description,
                "transitions": len(self.table),
            },
            "environment": self.evaluator.spec.id,
            "episodes_per_seed": settings["episodes"],
            "seeds": list(self.agent.seeds),
            "diverged": {str(one.seed): one.step for one in self.watch.diverged()},
            "updates": done,
            "checkpoint": "last",
            "weights": self.agent.acting_weights,
            "k": len(self.agent.folded().c_in),
            "num_candidates": settings["agent_settings"].get("num_candidates", 1),
            "last": means,
            "best_mean_score": self.best,
            "data_return": self.table.statistics.mean_return,
            "data_success_rate": self.table.statistics.success_rate,
            "updates_per_second": rate,
            "engine": self.chosen.describe(),
            "operations": self.agent.ops.describe(),
        }
        self.run.write_summary(summary)
        print(
            f"\n{settings['task']} on {self.table.dataset_id}: {settings['episodes']} episodes a "
            "seed in "
            f"{self.evaluator.spec.id}, last checkpoint (update {done:,}), K = {summary['k']}, "
            f"num_candidates = {summary['num_candidates']}"
        )
        for one in self.watch.diverged():
            print(f"  seed {one.seed} diverged at update {one.step:,} and stayed as it was before")
        for name, values in means.items():
            each = " ".join(f"{value:.3g}" for value in values)
            print(
                f"  {name:13s} {np.mean(values):8.3f} +- {np.std(values):.3f} over seeds ({each})"
            )
        print(
            f"  updates/s     {rate:8.1f} (each advances all {len(self.agent.seeds)} seeds; "
            "evaluation left out)"
        )
        print(f"  run folder    {self.run.path}")
