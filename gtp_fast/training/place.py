"""Where a run evaluates its policy, and what that says of its actions and its task."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import gymnasium

from gtp_fast import data, tasks
from gtp_fast.data.environment import box_of, registered
from gtp_fast.data.judging import as_judged, judged_in
from gtp_fast.errors import UserError
from gtp_fast.evaluation.vector import make, name_of
from gtp_fast.system import closing, specs
from gtp_fast.training.options import NO_ENVIRONMENT, RunConfig


class Place(NamedTuple):
    """Where a policy is evaluated."""

    environment: str | None
    """Specification in JSON; None for none, and for a live environment."""
    reason: str = ""
    """Why there is none."""


def evaluation_place(
    table: data.TransitionTable,
    task: tasks.Task,
    run_config: RunConfig,
    live: gymnasium.Env[Any, Any] | None = None,
) -> Place:
    """Return the evaluation environment; UserError when the data do not fit it.

    Without a preset a dataset's own environment that cannot or may not be built is left out.
    """
    if live is not None:
        data.fits_environment(table, live)
        _note_endless(live)
        return Place(None, "it was a live environment, which no file holds")
    if run_config.env == "none":
        return Place(None, NO_ENVIRONMENT)
    try:
        spec = data.evaluation_spec(table, task, run_config.env, run_config.trust_environment)
        if spec is None:
            return Place(None, "the dataset brings no environment; --env names one")
        environment = make(spec)
    except UserError as error:
        if task.is_preset or run_config.env is not None:
            raise
        return Place(None, str(error))
    try:
        data.fits_environment(table, environment)
        _note_endless(environment)
    finally:
        closing.close(environment, name_of(spec))
    return Place(specs.to_json(spec))


def _note_endless(environment: gymnasium.Env[Any, Any]) -> None:
    spec = environment.spec
    if spec is not None and spec.max_episode_steps is None:
        print(
            f"note: {spec.id} is registered without max_episode_steps: an episode lasts until the "
            "environment ends it.",
            file=sys.stderr,
        )


def asked_box(
    run_config: RunConfig, live: gymnasium.Env[Any, Any] | None
) -> tuple[list[float], list[float]] | None:
    """Return the action box of an environment that was asked for; None without one."""
    if live is not None:
        return box_of(live)
    if run_config.env in (None, "none"):
        return None
    spec = registered(str(run_config.env))
    environment = make(spec)
    try:
        return box_of(environment)
    finally:
        closing.close(environment, spec.id)


def judged(
    task: tasks.Task, run_config: RunConfig, live: gymnasium.Env[Any, Any] | None
) -> tasks.Task:
    """Return the task without references where another kind of environment was asked for."""
    if live is not None:
        return judged_in(task, name_of(live), live.spec)
    if run_config.env in (None, "none"):
        return task
    spec = registered(str(run_config.env))
    return judged_in(task, spec.id, as_judged(task, spec))
