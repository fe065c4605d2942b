"""Settings with their source, and those of the demo's task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Sourced(NamedTuple):
    """A value and where it comes from."""

    value: Any
    source: str


@dataclass(frozen=True)
class Entry:
    """Settings of one agent on a task or a family of tasks, from one source.

    They include `updates` (length of a run) and `reward` (the rule for rewards).
    """

    where: str
    """Name of a task, or of a family."""
    source: str
    settings: Mapping[str, Any]


def rows(
    source: str, names: tuple[str, ...], table: Mapping[str, tuple[Any, ...]]
) -> tuple[Entry, ...]:
    """Return one entry for each row of a published table."""
    return tuple(
        Entry(task, source, dict(zip(names, row, strict=True))) for task, row in table.items()
    )


def one(value: float) -> tuple[float, ...]:
    """Return the setting that gives every seed this value."""
    return (value,)


OURS_DEMO = "ours: a small network and large rates, so that the demo takes minutes; not tuned"
DEMO: dict[str, Any] = {
    "width": 64,
    "learning_rate": one(1e-3),
    "cosine_decay": True,
}
DEMO_CRITIC = DEMO | {"critic_learning_rate": one(1e-3), "critic_ema_rate": 0.02}
