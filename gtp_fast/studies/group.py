"""Runs that differ in their seeds only, with their scores by evaluated step."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from gtp_fast import tasks
from gtp_fast.data.judging import judged_in
from gtp_fast.evaluation.record import Figures
from gtp_fast.runs import Run
from gtp_fast.studies import conditions

SCORE, SUCCESS, RETURN = "normalised return", "success rate (%)", "return"
CLONE = "gtp-clone"
"""Label of gtp with eta = 0: the same agent without value guidance."""


@dataclass
class Group:
    """Runs of one configuration: their scores by evaluated step, one a seed."""

    config: dict[str, Any]
    dataset: str
    """Name of the dataset."""
    scores: dict[int, dict[int, float]] = field(default_factory=dict)
    """Step -> seed -> mean score of its episodes."""
    successes: dict[int, dict[int, float]] = field(default_factory=dict)
    """Step -> seed -> share of successful episodes; nan if the environment does not report it."""
    episodes: int = 0
    played: dict[int, int] = field(default_factory=dict)
    """Step -> episodes of a seed's evaluation there, of the seed with the fewest."""
    unit: str = SCORE
    """What `scores` holds: normalised returns, success rates in percent, or returns."""
    k: Any = "-"
    """Steps of the sampler."""
    data_level: float | None = None
    """What the data's own policy reaches, in the unit of the plot."""
    environment: Any = None
    """Name of the environment of the last evaluation, by the summary."""
    runs: list[Run] = field(default_factory=list)
    """The run folders."""
    named: set[int] = field(default_factory=set)
    """Training seeds by the configuration."""
    diverged: dict[int, int] = field(default_factory=dict)
    """Seed -> update of its divergence, by the summary."""

    @cached_property
    def task(self) -> tasks.Task:
        """The task of every run in the group, as its environment judges it."""
        task = tasks.of_run(self.config)
        known = "environment" in (self.config.get("evaluation") or {})
        own = conditions.environment(self.config, None)["env"]
        # A run that went on with --env keeps its task, but not in another kind of environment.
        if not known or self.environment in (None, own):
            return task
        return judged_in(task, str(self.environment))

    @cached_property
    def kind(self) -> tuple[str, str]:
        """Agent and task: only groups that share both are compared."""
        return self.config["agent"], self.task.name

    @property
    def settings(self) -> dict[str, Any]:
        """The agent's settings."""
        settings: dict[str, Any] = self.config["agent_settings"]
        return settings

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """What decides its scores besides the seeds, by name."""
        return conditions.of_run(self.config, self.task, self.unit, self.environment)

    @property
    def clones(self) -> bool:
        """Whether this is behaviour cloning: eta = 0 for every seed, or nothing else guides."""
        own = self.settings
        by_nothing = own.get("trajectory_eta") == 0 and own.get("advantage_start") is None
        return "eta" in own and (
            not np.any(own["eta"]) or (by_nothing and own.get("objective") != "linear-q")
        )

    @property
    def num_candidates(self) -> int:
        """Actions drawn for each decision."""
        return int(self.settings.get("num_candidates", 1))

    @property
    def seeds(self) -> set[int]:
        """Training seeds in the group."""
        return {seed for figures in self.scores.values() for seed in figures} or self.named

    @property
    def lost(self) -> list[str]:
        """Say which seeds diverged, and when."""
        return [f"seed {seed} at update {step:,}" for seed, step in sorted(self.diverged.items())]

    def join(self, other: Group) -> None:
        """Take in the seeds of another group of the same configuration."""
        for mine, theirs in ((self.scores, other.scores), (self.successes, other.successes)):
            for step, figures in theirs.items():
                mine.setdefault(step, {}).update(figures)
        for step, count in other.played.items():
            self.played[step] = min(count, self.played.get(step, count))
        self.named |= other.named
        self.diverged |= other.diverged
        self.runs += other.runs

    def steps(self) -> list[int]:
        """Return the steps at which every seed was evaluated, ascending."""
        count = len(self.seeds)
        return sorted(step for step, figures in self.scores.items() if len(figures) == count)

    def best(self) -> int:
        """Return the step with the highest mean score, of those with the most episodes."""
        most = max(self.played.get(step, 0) for step in self.steps())
        whole = [step for step in self.steps() if self.played.get(step, 0) == most]
        return max(whole, key=lambda step: float(np.mean(list(self.scores[step].values()))))

    def values(self, step: int) -> Figures:
        """Return the scores of all seeds at a step [S]."""
        return np.array([self.scores[step][seed] for seed in sorted(self.scores[step])])

    def success(self, step: int) -> Figures:
        """Return the success rates of all seeds at a step [S]; nan where unknown."""
        return np.array([self.successes[step][seed] for seed in sorted(self.successes[step])])
