"""The width of GTP's networks that follows from the size of the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from gtp_fast.agents.gtp.config import GTPConfig
from gtp_fast.tasks import Task

if TYPE_CHECKING:
    from gtp_fast.training.config import Command

FEW = 150_000
"""Transitions below which a network of the default width learns the data by heart too soon."""
NARROW = 128
SOURCE = "ours, by the size of the data: docs/guidance.md"


def width(transitions: int) -> int:
    """Return GTP's width by default for so many transitions."""
    return NARROW if transitions < FEW else GTPConfig.width


def fitted(config: Any, task: Task, asked: Collection[str], transitions: int) -> Any:
    """Return an agent's settings, narrow where they are GTP's and the data few.

    A width that was asked for stays, and so does a task's own. asked: names of the settings that
    were; transitions: of the whole set, held-out episodes included.
    """
    if "width" in asked or "width" in task.settings or not isinstance(config, GTPConfig):
        return config
    return dataclasses.replace(config, width=width(transitions))


def settings(command: Command, transitions: int) -> Any:
    """Return a new run's settings: `fitted` to its data, or the paper's (`--preset paper`)."""
    if command.run.preset == "paper":
        return command.agent
    return fitted(command.agent, command.task, command.asked, transitions)


def pinned(command: Command) -> bool:
    """Return whether the default width was asked for, and so is kept on few data."""
    free = dataclasses.replace(command, asked=command.asked - {"width"})
    default = "width" in command.asked and command.agent.width == GTPConfig.width
    return default and settings(free, 0) != command.agent


def sources(command: Command, chosen: Any) -> dict[str, str]:
    """Return where the width comes from, where it follows from the size of the data."""
    return {} if chosen == command.agent else {"width": SOURCE}
