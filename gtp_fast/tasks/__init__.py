"""Tasks: what a run trains on, how it is judged, and the presets that have a name."""

from gtp_fast.tasks.names import find, of_dataset, of_run, owner
from gtp_fast.tasks.presets import PAPER_TASKS, TASKS
from gtp_fast.tasks.task import (
    TRY,
    Cell,
    Family,
    GoalRule,
    RewardRule,
    Rules,
    Task,
    Terminals,
    normalise,
)

__all__ = [
    "PAPER_TASKS",
    "TASKS",
    "TRY",
    "Cell",
    "Family",
    "GoalRule",
    "RewardRule",
    "Rules",
    "Task",
    "Terminals",
    "find",
    "normalise",
    "of_dataset",
    "of_run",
    "owner",
]
