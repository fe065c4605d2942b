"""The loggers of --logger by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gtp_fast.errors import UserError
from gtp_fast.training.callbacks import Logger
from gtp_fast.training.tensorboard import TensorBoard
from gtp_fast.training.trackio import Trackio
from gtp_fast.training.wandb import WandB

LOGGERS: dict[str, Callable[..., Logger]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "trackio": Trackio,
}


def named(names: Sequence[str], resume_step: int = 0) -> list[Logger]:
    """Return loggers by name; UserError for one that is not installed or not known.

    resume_step: update that the run goes on from.
    """
    for name in names:
        if name not in LOGGERS:
            raise UserError(f"Unknown logger {name!r}: choose among {', '.join(LOGGERS)}.")
    return [LOGGERS[name](resume_step=resume_step) for name in names]
