"""What a user's own code may do during a run: watch it, log it, stop it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gtp_fast.errors import first_line

if TYPE_CHECKING:
    from pathlib import Path

    from gtp_fast.agents.base import Agent
    from gtp_fast.evaluation.record import Evaluation

Figures = Mapping[str, Sequence[float]]
"""Name -> one value a seed [S]."""


class Callback:
    """Called in the course of a run; override what you need.

    A method that returns True stops the run after this update: it is evaluated, saved and
    summarised as if it had ended there, and `resume` goes on with it.
    """

    def on_start(self, agent: Agent, folder: Path) -> bool | None:
        """Called before the first update; folder: of the run."""

    def on_metrics(self, step: int, figures: Figures) -> bool | None:
        """Called with each row of metrics.csv, by the names that it has there.

        Every `log_every` updates: means over the updates since the last such call. At evaluations,
        and at the checkpoints of a run that is evaluated at its end or never: figures of the
        evaluation and of the agent's health, and no loss.
        """

    def on_evaluation(self, step: int, evaluation: Evaluation) -> bool | None:
        """Called with every episode of an evaluation."""

    def on_checkpoint(self, step: int, path: Path) -> bool | None:
        """Called after a checkpoint was written."""

    def on_end(self, step: int) -> bool | None:
        """Called once after the last update, whatever ended the run."""


class Logger(Callback):
    """A callback that writes a run's figures elsewhere, and cannot harm the run.

    What fails is said once; the training goes on without it. Override `open`, `log` and `close`.
    """

    working = True

    def open(self, agent: Agent, folder: Path) -> None:
        """Start to log; folder: of the run."""

    def log(self, step: int, figures: Figures) -> None:
        """Log the figures of an update, one value a seed each."""

    def close(self) -> None:
        """End what `open` started."""

    def on_start(self, agent: Agent, folder: Path) -> None:
        """Open, unless it fails."""
        self._try(self.open, agent, folder)

    def on_metrics(self, step: int, figures: Figures) -> None:
        """Log, unless it fails or has failed."""
        self._try(self.log, step, figures)

    def on_end(self, step: int) -> None:
        """Close, unless it fails or has failed."""
        self._try(self.close)

    def _try(self, method: Callable[..., None], *arguments: object) -> None:
        if not self.working:
            return
        try:
            method(*arguments)
        # A service may raise anything; none of it is worth a training.
        except Exception as error:
            self.working = False
            print(
                f"{type(self).__name__} failed ({first_line(error)}): the training goes on without "
                "it.",
                file=sys.stderr,
            )


class Callbacks:
    """Several callbacks as one; `stop` is set once any of them has asked for it."""

    def __init__(self, members: Sequence[Callback]):
        self.members = tuple(members)
        self.stop = False

    def call(self, event: str, *arguments: object) -> None:
        """Call the method `on_<event>` of each, in order."""
        for member in self.members:
            wish = getattr(member, f"on_{event}")(*arguments)
            # A comparison of arrays gives NumPy's own True.
            if isinstance(wish, bool | np.bool_) and wish:
                self.stop = True
