"""How long a sweep will take, from a short timed probe of every agent on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gtp_fast import agents, data, engine, tasks
from gtp_fast.studies import costs, jobs
from gtp_fast.studies.jobs import Job
from gtp_fast.system.device import chosen_device
from gtp_fast.system.numbers import many

_ROUNDS = 2
_UPDATES = {"cpu": (1, 2), "cuda": (costs.WARM_UPDATES, 64)}
"""Untimed and timed updates of each round, by device; a GPU makes its recordings in the first."""
_ROWS = 256
_SHAPES = {"antmaze": (31, 8), "pointmaze": (6, 2)}
_SHAPE = (17, 6)
"""Observation and action of the probe's random numbers: of AntMaze, PointMaze, Walker2d."""


def seconds(given: Sequence[Job]) -> list[float]:
    """Return the seconds of each job's updates, without its evaluations.

    Jobs share a probe where they differ in their task, within a family, or in rates and the like.
    """
    kinds: dict[Any, Job] = {}
    keys = [_kind(job) for job in given]
    for key, job in zip(keys, given, strict=True):
        kinds.setdefault(key, job)
    taken = {key: _probe(job) for key, job in kinds.items()}
    return [taken[key] * jobs.updates(job.command) for key, job in zip(keys, given, strict=True)]


def describe(total: float, count: int, slots: int, where: str) -> str:
    """Return the estimate in words."""
    hours = total / 3600
    shared = f", {hours / min(slots, count):,.1f} h on {where}" if slots > 1 < count else ""
    return (
        f"estimate: {hours:,.1f} h for {many(count, 'job')} one after another{shared}; from a "
        "probe here, a few updates of each agent with random numbers; evaluations and what an "
        "agent does once a run are left out"
    )


def _kind(job: Job) -> tuple[Any, ...]:
    """Return all of a job that an update's time may depend on."""
    run, settings = job.command.run, vars(job.command.agent)
    of_run = (run.device, run.engine, run.backend, run.precision)
    of_agent = tuple((name, _weighed(value)) for name, value in settings.items())
    return run.agent, job.command.task.family, len(run.seeds), of_run, of_agent


def _weighed(value: Any) -> Any:
    """Return a setting as far as it may change the cost.

    Of a rate or a weight that is whether there is one: eta = 0, for one, trains no critic.
    """
    if isinstance(value, tuple):
        return any(value)
    return value is not None and value != 0.0 if isinstance(value, float) else value


def _probe(job: Job) -> float:
    """Return the seconds of one update of a job."""
    run = job.command.run
    device = chosen_device(run.device)
    observation, action = _SHAPES.get(job.command.task.family, _SHAPE)
    draw = np.random.default_rng(0)
    arrays = {
        "observations": draw.normal(size=(_ROWS, observation)).astype(np.float32),
        "actions": draw.uniform(-1, 1, (_ROWS, action)).astype(np.float32),
        "rewards": draw.normal(size=_ROWS).astype(np.float32),
        "terminals": np.arange(_ROWS) % 100 == 99,
    }
    table = data.load_table(tasks.of_dataset("probe", "probe"), arrays, None, device)
    chosen = engine.choose(run.engine, run.backend, device)
    agent = agents.build(
        run.agent, job.command.agent, observation, action, run.seeds, device, chosen.backend,
        run.precision,
    )  # fmt: skip
    warm, timed = _UPDATES[device.type]
    return costs.update_seconds(agent, table, chosen, timed, _ROUNDS, warm)
