"""Trackio: one run for a run folder, in a local database or a Space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gtp_fast.agents.base import Agent
from gtp_fast.errors import UserError
from gtp_fast.runs import open_run
from gtp_fast.training.callbacks import Figures, Logger


class Trackio(Logger):
    """Logs every figure: its mean over the seeds, and each seed's.

    options: of `trackio.init`, such as space_id. Without one the figures stay on this machine, in
    TRACKIO_DIR; `trackio show` draws them.
    """

    def __init__(self, project: str = "gtp_fast", resume_step: int = 0, **options: Any):
        try:
            import trackio
        except ImportError as error:
            raise UserError(
                "Trackio is not installed: pip install 'gtp_fast[trackio]', or leave the logger "
                "out."
            ) from error
        self.trackio: Any = trackio
        self.resume_step = resume_step
        self.options = {"project": project, "resume": "allow"} | options
        self.run: Any = None
        self.seeds: tuple[int, ...] = ()

    def open(self, agent: Agent, folder: Path) -> None:
        """Start a run that is named by the run folder."""
        config = open_run(folder).config()
        self.seeds = tuple(agent.seeds)
        self.run = self.trackio.init(**{"name": folder.name, "config": config} | self.options)

    def log(self, step: int, figures: Figures) -> None:
        """Log the figures of an update."""
        values = {name: float(np.mean(column)) for name, column in figures.items()}
        if len(self.seeds) > 1:
            values |= {
                f"{name}/seed{seed}": column[i]
                for name, column in figures.items()
                for i, seed in enumerate(self.seeds)
            }
        self.run.log(values, step=step)

    def close(self) -> None:
        """Finish the run."""
        self.run.finish()
