"""TensorBoard files of a run, one writer for each seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gtp_fast.agents.base import Agent
from gtp_fast.errors import UserError
from gtp_fast.training.callbacks import Figures, Logger


class TensorBoard(Logger):
    """Writes every figure into RUN/tensorboard/seed<N>; rows beyond `resume_step` are purged."""

    def __init__(self, resume_step: int = 0):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "TensorBoard is not installed: pip install 'gtp_fast[tensorboard]', "
                "or leave the logger out."
            ) from error
        self.writer: Any = SummaryWriter
        self.purge = resume_step + 1 if resume_step else None
        self.boards: list[Any] = []

    def open(self, agent: Agent, folder: Path) -> None:
        """Open one writer for each seed."""
        places = [str(folder / "tensorboard" / f"seed{seed}") for seed in agent.seeds]
        self.boards = [self.writer(place, purge_step=self.purge) for place in places]

    def log(self, step: int, figures: Figures) -> None:
        """Write one scalar for each figure and seed."""
        for name, column in figures.items():
            for board, value in zip(self.boards, column, strict=True):
                board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the writers."""
        for board in self.boards:
            board.close()
