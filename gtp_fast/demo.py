"""python -m gtp_fast.demo: value guidance in minutes on two cores, with no download.

Collects a PointMaze dataset of random wandering, clones it (eta = 0), trains GTP on it with value
guidance, two seeds each, and draws both curves and the level of the data's own policy.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gtp_fast import cli, collect, data, tasks
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.runs import Run
from gtp_fast.studies import jobs
from gtp_fast.studies.curves import learning_curve
from gtp_fast.studies.jobs import Job
from gtp_fast.studies.protocol import Protocol
from gtp_fast.system.numbers import many, mean_and_deviation

TASK = "pointmaze-demo"
RUNS: dict[str, dict[str, Any]] = {"behaviour cloning": {"eta": (0.0,)}, "GTP": {}}
"""What each run changes of gtp's settings."""


@dataclass(frozen=True)
class Options:
    """How long the demo is, and where its run folders go."""

    steps: int | None = None
    """Updates of each of the two runs; by default those of the task."""
    seeds: tuple[int, ...] = (0, 1)
    """Seeds of each run, trained together."""
    episodes: int = 50
    """Evaluation episodes for each seed."""
    output: str = "runs"
    """Folder that run folders are made in."""


def main(argv: Sequence[str]) -> int:
    """Collect, clone, train, evaluate, plot; return the exit code."""
    options = cli.parse(Options, argv, "python -m gtp_fast.demo", __doc__)
    began = time.perf_counter()
    task = tasks.find(TASK)
    made = collect.collect(task, workers=collect.default_workers(task))
    print(
        f"data: {made.path} ({'collected earlier' if made.reused else 'just collected'}, locally "
        "made)\n"
    )
    protocol = Protocol(TASK, options.seeds, str(made.path), options.steps, options.episodes)
    results: dict[str, tuple[Run, Evaluation]] = {}
    for name, changes in RUNS.items():
        task, settings = protocol.settings("gtp", changes)
        print(f"--- {name}: eta = {settings.eta[0]:g}")
        every = evaluate_every(options.steps or task.updates, name)
        trainer = jobs.trainer(Job(protocol.command("gtp", changes, options.output, every)))
        if code := trainer.train():
            return code
        assert trainer.judge.last is not None
        results[name] = (trainer.run, trainer.judge.last)
        print()
    guided_run, _ = results["GTP"]
    plot = learning_curve(guided_run, clone=results["behaviour cloning"][0])
    scores = table(results, data.load_table(task, made.path))
    seconds = f"{time.perf_counter() - began:.0f} s"
    updates = f"{options.steps or task.updates:,} updates a run"
    (guided_run.path / "demo.txt").write_text(f"{scores}\n{updates}, {seconds} in all\n")
    print(f"{scores}\n\nrun folder  {guided_run.path}\nplot        {plot}\ntime        {seconds}")
    return 0


def evaluate_every(steps: int, name: str) -> int:
    """Return the updates between evaluations: the clone has one, at its end, GTP six."""
    return 0 if name == "behaviour cloning" else max(1, steps // 6)


def table(results: dict[str, tuple[Run, Evaluation]], source: data.TransitionTable) -> str:
    """Return the comparison as text: means of several seeds with their standard deviations."""
    facts = source.statistics
    lines = [
        f"{'':20s}{'success within the limit':>26s}{'steps to the goal, at most the limit':>40s}",
        f"{'data (its episodes)':20s}{100 * (facts.success_rate or 0.0):>24.1f} "
        f"%{facts.mean_length:>40.0f}",
    ]
    for name, (_, evaluation) in results.items():
        success, length = 100 * evaluation.successes.mean(1), evaluation.lengths.mean(1)
        lines.append(
            f"{name:20s}{mean_and_deviation(success, 1) + ' %':>26s}"
            f"{mean_and_deviation(length, 0):>40s}"
        )
    count = len(next(iter(results.values()))[1].seeds)
    episodes = many(evaluation.returns.shape[1], "episode")
    lines.append(
        f"mean and standard deviation over {count} seeds, {episodes} each"
        if count > 1
        else f"1 seed, {episodes}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    # Two threads at most: these networks are too small to feed more.
    torch.set_num_threads(min(2, torch.get_num_threads()))
    sys.exit(cli.run(main))
