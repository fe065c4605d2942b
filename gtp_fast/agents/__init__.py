"""The registry of agents: one file each, one line each."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import torch

from gtp_fast.agents import task_settings
from gtp_fast.agents.base import Agent
from gtp_fast.agents.setup import Setup
from gtp_fast.errors import UserError
from gtp_fast.tasks import Task

REGISTRY = {
    "bc": "gtp_fast.agents.rivals.bc:BC",
    "consistency-ac": "gtp_fast.agents.rivals.consistency_ac:ConsistencyAC",
    "diffusion-ql": "gtp_fast.agents.rivals.diffusion_ql:DiffusionQL",
    "fql": "gtp_fast.agents.rivals.fql:FQL",
    "gtp": "gtp_fast.agents.gtp:GTP",
    "iql": "gtp_fast.agents.rivals.iql:IQL",
    "qipo-diff": "gtp_fast.agents.rivals.qipo_variants:QIPODiff",
    "qipo-ot": "gtp_fast.agents.rivals.qipo_variants:QIPOOT",
    "sscql": "gtp_fast.agents.rivals.sscql:SSCQL",
}


def find(name: str, labels: Sequence[str] = ()) -> type[Agent]:
    """Return the class of an agent; UserError with the nearest names when there is none.

    labels: what else may stand in the place of the name, for that sentence.
    """
    if name not in REGISTRY:
        known = [*REGISTRY, *labels]
        near = difflib.get_close_matches(name, known, n=3) or sorted(known)
        raise UserError(f"Unknown agent {name!r}: did you mean {', '.join(near)}?")
    module, attribute = REGISTRY[name].split(":")
    agent: type[Agent] = getattr(import_module(module), attribute)
    return agent


def defaults(
    name: str, task: Task, steps: int | None = None, preset: task_settings.Preset = "auto"
) -> tuple[Task, Any]:
    """Return the task with an agent's rules and updates, and its Config for it.

    steps: updates of the run, by default those of the agent on the task; preset: as
    `task_settings.of`.
    """
    task, kind = task_settings.for_agent(task, name, steps, preset), find(name).Config
    fields = {field.name for field in dataclasses.fields(kind)}
    given = {"discount": task.discount} | dict(task.settings)
    return task, kind(**{field: value for field, value in given.items() if field in fields})


def settings_of(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run folder as a Config takes them: lists become tuples."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()
    }


def completed(name: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run folder's settings; one that it lacks, being older, has its default."""
    kind = find(name).Config
    default = {**dataclasses.asdict(kind()), **kind.once}
    # As a run folder keeps them.
    lists = {key: list(x) if isinstance(x, tuple) else x for key, x in default.items()}
    return lists | dict(kept)


def build(
    name: str,
    settings: Mapping[str, Any] | Any,
    observation_dim: int,
    action_dim: int,
    seeds: Sequence[int],
    device: torch.device | str = "cpu",
    backend: str = "auto",
    precision: str = "fp32",
    standard: tuple[Sequence[float], Sequence[float]] = ((), ()),
) -> Agent:
    """Build an agent from its Config or from the mapping in a run folder.

    A setting that the mapping lacks, because the run is older, has its default. backend, precision:
    as `ops.resolve` takes them. standard: mean and scale of observations, as in `Setup`.
    """
    kind, config = find(name), settings
    if isinstance(settings, Mapping):
        config = kind.Config(**{**kind.Config.once, **settings_of(settings)})
    sizes = observation_dim, action_dim
    mean, scale = standard
    return kind(
        config,
        Setup(
            *sizes, tuple(seeds), device, backend, precision=precision,
            observation_mean=mean, observation_scale=scale,
        ),
    )  # fmt: skip
