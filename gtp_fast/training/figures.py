"""The figures of a run under way: metrics.csv, callbacks and loggers, the progress line."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gtp_fast.agents import health
from gtp_fast.agents.base import Agent
from gtp_fast.data import TransitionTable
from gtp_fast.runs import Run, guidance
from gtp_fast.runs.metrics import MetricsLog
from gtp_fast.training.callbacks import Callbacks
from gtp_fast.training.line import ProgressLine


class Figures:
    """Writes the figures of an agent, and those of its health.

    table, held_out: what trains the agent, and episodes that do not. start: updates that were done
    before. seconds: spent on the health.
    """

    seconds = 0.0

    def __init__(
        self,
        run: Run,
        agent: Agent,
        table: TransitionTable,
        held_out: Sequence[TransitionTable],
        callbacks: Callbacks,
        start: int,
    ):
        self.run, self.agent, self.callbacks = run, agent, callbacks
        self.table, self.held_out = table, held_out
        self.log = MetricsLog(run.metrics, agent.seeds, start)

    def write(self, done: int, figures: Mapping[str, Any]) -> None:
        """Write the figures of update `done`: one number each, or one per seed."""
        self.log.write(done, figures)
        seeds = len(self.agent.seeds)
        each = {name: np.broadcast_to(value, seeds).tolist() for name, value in figures.items()}
        self.callbacks.call("metrics", done, each)

    def note(self, done: int, figures: Mapping[str, Any], steps: int, line: ProgressLine) -> None:
        """Write figures and those of the agent's health; say each new warning once.

        steps: updates of the whole run.
        """
        began = time.perf_counter()
        found = health.figures(self.agent, self.table, done - 1)
        for held in self.held_out:
            found |= health.held_out_figures(self.agent, self.table, held)
        self.write(done, {**figures, **found})
        columns = guidance.read(self.run.metrics)
        line.show(guidance.shown(guidance.last(columns)))
        for kind, sentence in guidance.sentences(columns, steps, self.agent.act_by).items():
            line.say_once(kind, sentence)
        self.seconds += time.perf_counter() - began
