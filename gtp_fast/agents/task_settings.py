"""One table: agent x task -> settings, each with its source.

It holds the defaults of `--agent A --task T`. A source that begins with "ours" says that no value
is published for that pair, and how ours was chosen. Settings that it leaves out have the default of
the agent's Config.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from gtp_fast.agents.rivals import task_settings as rivals
from gtp_fast.agents.sourced import DEMO_CRITIC, Entry, Sourced, one
from gtp_fast.tasks import Task

_GTP = (
    Entry(
        "pointmaze-demo",
        "ours: tried on the demo's data",
        DEMO_CRITIC
        | {"eta": one(2.0), "k": 2, "t_max": 20.0, "last_nodes": 40, "value_samples": 2}
        | {"advantage_start": 0, "trajectory_eta": 0.0, "t_law": "uniform", "noise_scale": 1.0}
        | {"act_by": "map"},
    ),
    Entry(
        "pointmaze-medium-navigate-singletask-v0",
        "ours: tried on data collected here, docs/guidance.md",
        {"trajectory_piece": 25, "trajectory_least_share": 0.1, "noise_scale": 0.5}
        | {"act_by": "map"},
    ),
    # Play: no episode is better than another, so only a critic knows the way to the goal.
    Entry(
        "cube-single-play-singletask-v0",
        "ours: tried on data collected here, docs/guidance.md",
        {"eta": one(2.0), "advantage_start": 5_000, "value_samples": 4, "trajectory_eta": 0.0}
        | {"act_by": "map"},
    ),
)

SHORT = 1_000_000
"""Updates below which a run of GTP counts as short."""
_OURS = "ours: docs/guidance.md"
_OURS_BUDGET = "ours, by the length of the run: docs/guidance.md"
_GTP_ANY_LENGTH = {
    "t_law": "lognormal", "trajectory_eta": 3.0, "advantage_start": None, "noise_scale": 0.25,
}  # fmt: skip
_GTP_SHORT = {"learning_rate": one(1e-3), "cosine_decay": True, "act_by": "euler"}
_GTP_PAPER = {"weight_maximum": Sourced(None, "the paper's (--preset paper), no clamp in eq. 14")}
Preset = Literal["auto", "paper"]

TABLE: dict[str, tuple[Entry, ...]] = rivals.TABLE | {"gtp": _GTP}


def of(
    agent: str, task: Task, steps: int | None = None, preset: Preset = "auto"
) -> dict[str, Sourced]:
    """Return the settings of an agent on a task that the table holds.

    A task's entry overrides its family's, and both override those for a run of `steps` updates.
    preset: `paper` for GTP as its paper has it, `auto` for the best found here.
    """
    found = _budget(steps or task.updates, preset) if agent == "gtp" else {}
    for where in (task.family, task.name):
        for entry in TABLE.get(agent, ()):
            if entry.where == where:
                found |= {
                    name: Sourced(value, entry.source) for name, value in entry.settings.items()
                }
    start = found.get("advantage_start")
    if start is not None and (start.value or 0) >= (steps or task.updates):
        # A first try is shorter than the start that was found for whole runs.
        found["advantage_start"] = Sourced(0, "ours: the run ends before the task's own start")
    return found


def _budget(steps: int, preset: Preset) -> dict[str, Sourced]:
    if preset == "paper":
        return dict(_GTP_PAPER)
    by_length = _GTP_SHORT if steps < SHORT else {}
    return {name: Sourced(value, _OURS) for name, value in _GTP_ANY_LENGTH.items()} | {
        name: Sourced(value, _OURS_BUDGET) for name, value in by_length.items()
    }


def for_agent(task: Task, agent: str, steps: int | None = None, preset: Preset = "auto") -> Task:
    """Return the task with an agent's settings, reward rule and number of updates."""
    found = {name: sourced.value for name, sourced in of(agent, task, steps, preset).items()}
    updates = found.pop("updates", task.updates)
    rules = replace(task.rules, reward=found.pop("reward", task.rules.reward))
    return replace(task, settings=found, rules=rules, updates=updates)
