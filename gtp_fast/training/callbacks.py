"""What a user's own code may do during a run: watch it, log it, stop it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

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
        """Called with the means of the metrics since the last call, every `log_every` updates."""

    def on_evaluation(self, step: int, evaluation: Evaluation) -> bool | None:
        """Called with every episode of an evaluation."""

    def on_checkpoint(self, step: int, path: Path) -> bool | None:
        """Called after a checkpoint was written."""

    def on_end(self, step: int) -> bool | None:
        """Called once after the last update, whatever ended the run."""


class Callbacks:
    """Several callbacks as one; `stop` is set once any of them has asked for it."""

    def __init__(self, members: Sequence[Callback]):
        self.members = tuple(members)
        self.stop = False

    def call(self, event: str, *arguments: object) -> None:
        """Call the method `on_<event>` of each, in order."""
        for member in self.members:
            if getattr(member, f"on_{event}")(*arguments) is True:
                self.stop = True
