"""The width of GTP's networks that follows from the size of the data."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from gtp_fast.agents.gtp.config import GTPConfig

if TYPE_CHECKING:
    from gtp_fast.training.config import Command

FEW = 150_000
"""Transitions below which a network of the default width learns the data by heart too soon."""
NARROW = 128
SOURCE = "ours, by the size of the data: docs/guidance.md"


def width(transitions: int) -> int:
    """Return GTP's width by default for so many transitions."""
    return NARROW if transitions < FEW else GTPConfig.width


def settings(command: Command, transitions: int) -> Any:
    """Return a new run's settings of the agent, narrow where its data are few.

    A width that was asked for, a task's own and the paper's (`--preset paper`) stay. transitions:
    of the whole set, held-out episodes included.
    """
    given = command.agent
    chosen = command.asked is None or "width" in command.asked | command.task.settings.keys()
    if chosen or not isinstance(given, GTPConfig) or command.run.preset == "paper":
        return given
    return dataclasses.replace(given, width=width(transitions))


def sources(command: Command, chosen: Any) -> dict[str, str]:
    """Return where the width comes from, where it follows from the size of the data."""
    return {} if chosen == command.agent else {"width": SOURCE}
