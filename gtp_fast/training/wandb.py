"""Weights & Biases: one run for each seed, joined in a group."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from gtp_fast.agents.base import Agent
from gtp_fast.errors import UserError
from gtp_fast.runs import open_run
from gtp_fast.training.callbacks import Figures, Logger

_PROJECT = "gtp_fast"


class WandB(Logger):
    """Logs every figure over the updates; a resumed training goes on with its runs.

    project: by default WANDB_PROJECT, else gtp_fast. options: of `wandb.init`. WANDB_MODE=offline
    writes into RUN/wandb only.
    """

    def __init__(self, project: str | None = None, resume_step: int = 0, **options: Any):
        try:
            import wandb
        except ImportError as error:
            raise UserError(
                "Weights & Biases is not installed: pip install 'gtp_fast[wandb]', or leave the "
                "logger out."
            ) from error
        self.wandb: Any = wandb
        self.resume_step = resume_step
        self.options = {"project": project or os.environ.get("WANDB_PROJECT", _PROJECT)} | options
        self.runs: list[Any] = []

    def open(self, agent: Agent, folder: Path) -> None:
        """Start one run for each seed, named by run folder and seed."""
        config = open_run(folder).config()
        for seed in agent.seeds:
            name = f"{folder.name}-seed{seed}"
            place = f"{folder.resolve()}-{seed}".encode()
            own: dict[str, Any] = {
                "dir": str(folder),
                "name": name,
                "group": folder.name,
                "id": hashlib.sha256(place).hexdigest()[:16],
                "resume": "allow",
                "reinit": "create_new",
                "config": config | {"seed": seed},
                "settings": self.wandb.Settings(silent=True, console="off"),
            }
            run = self.wandb.init(**own | self.options)
            # Steps of wandb only rise, but a resumed run repeats some updates.
            run.define_metric("update")
            run.define_metric("*", step_metric="update")
            self.runs.append(run)

    def log(self, step: int, figures: Figures) -> None:
        """Log one value of each figure into the run of its seed."""
        for i, run in enumerate(self.runs):
            run.log({"update": step, **{name: column[i] for name, column in figures.items()}})

    def close(self) -> None:
        """Finish the runs."""
        for run in self.runs:
            run.finish()
