"""Checkpoints of a run under way, also where an error ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from gtp_fast import engine
from gtp_fast.agents.base import Agent
from gtp_fast.errors import first_line
from gtp_fast.runs import Run, checkpoint
from gtp_fast.training.divergence import AllDiverged


class Saver:
    """Writes an agent's checkpoints. path, step: file and update of the last one, -1 for none.

    keep: how many of the newest stay, or "all".
    """

    path: Path

    def __init__(self, run: Run, agent: Agent, watch: engine.Watch, keep: int | Literal["all"]):
        self.run, self.agent, self.watch, self.keep = run, agent, watch, keep
        self.step = -1

    def save(self, done: int) -> None:
        """Write the checkpoint of update `done`, once."""
        if done != self.step:
            sums = {"metrics": self.watch.sums()}
            self.path = checkpoint.save(self.run, done, self.agent.state_dict(), sums, self.keep)
            self.step = done

    @contextmanager
    def rescued(self, done: int, settle: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Save the updates where the environment or a callback raises an error within.

        settle: brings the agent up to date.
        """
        try:
            yield
        except AllDiverged:
            raise
        except Exception as error:
            try:
                settle()
                self.save(done)
            except Exception as other:
                # A full disk has said it already.
                if first_line(other) != first_line(error):
                    error.add_note(f"Update {done} could not be saved: {first_line(other)}")
            raise
