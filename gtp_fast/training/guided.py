"""What was asked of a run's guidance: brought about and said, or refused."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from gtp_fast import reference
from gtp_fast.agents.acting import rule_of
from gtp_fast.agents.gtp.config import GTPConfig
from gtp_fast.agents.rivals.chain import ChainConfig
from gtp_fast.errors import UserError
from gtp_fast.tasks import Task
from gtp_fast.training.options import RunConfig

_OF_CRITIC = (
    "value_samples", "weight_maximum", "advantage_scale", "value_by", "max_q_backup",
    "critic_learning_rate", "critic_ema_rate",
)  # fmt: skip
_READ_BY = {
    "lambda_q": ("linear-q",),
    "solver": ("solver", "flow"),
    "solver_steps": ("solver",),
    "u_mode": ("gtp", "linear-q", "consistency", "ctm", "solver"),
    "huber": ("gtp", "linear-q", "consistency", "ctm", "solver", "shortcut", "mean-flow"),
}
"""Option -> objectives that read it, of options that not all do."""
_OF_EPISODES = (
    "trajectory_eta", "trajectory_maximum", "trajectory_least_share", "trajectory_piece",
)  # fmt: skip


def settled(settings: Any, asked: set[str]) -> Any:
    """Return an agent's settings, with what the options that were asked for bring along."""
    return _by_advantage(_without_critic(settings, asked), asked)


def check(run: RunConfig, settings: Any, task: Task, asked: set[str], shared: bool = False) -> None:
    """Raise UserError when something was asked of guidance or candidates that never come to act.

    A note says where nothing guides a run that was not asked to clone. shared: the options are a
    sweep's, and a run of it may leave some of them unread.
    """
    settings.check_new()
    if run.preset != "auto" and run.agent != "gtp":
        raise UserError(f"--preset {run.preset} is gtp's alone: leave it out for {run.agent}.")
    if "candidate_rule" in asked and settings.num_candidates == 1:
        rule_of(1, settings.candidate_rule, settings.candidate_rule)
    if not shared:
        _check_read(run, settings, task, asked)
    if not isinstance(settings, GTPConfig):
        return
    named = _named_of_episodes(settings, asked)
    if named and not settings.trajectory_eta and any(settings.eta):
        raise UserError(
            f"{named} does nothing with --trajectory-eta 0: leave it out, or give a "
            "--trajectory-eta above 0."
        )
    if settings.objective == "linear-q":
        _check_linear(settings, asked)
        return
    steps, start = run.steps or task.updates, settings.advantage_start
    if not any(settings.eta):
        _check_clone(settings, asked)
    elif start is None:
        _check_without_critic(settings, asked)
    elif start >= steps:
        raise UserError(
            f"--advantage-start {start} lies behind the last of {steps:,} updates: give an earlier "
            "one, or None."
        )


def _check_read(run: RunConfig, settings: Any, task: Task, asked: set[str]) -> None:
    """Raise UserError where an option has another value than the default and nothing reads it."""
    changed = {n for n in asked if getattr(settings, n, 0) != getattr(type(settings), n, 0)}
    if isinstance(settings, ChainConfig) and not any(settings.eta):
        _refuse_of_critic(next((_option(name) for name in _OF_CRITIC if name in changed), None))
    if run.agent == "iql" and "max_q_backup" in changed:
        raise UserError("--max-q-backup does nothing in iql, whose targets take V: leave it out.")
    if isinstance(settings, GTPConfig):
        _check_objective(settings, changed, run.steps or task.updates)


def _check_objective(settings: GTPConfig, changed: set[str], steps: int) -> None:
    for name, objectives in _READ_BY.items():
        if name in changed and settings.objective not in objectives:
            raise UserError(
                f"{_option(name)} does nothing with --objective {settings.objective}: leave it "
                f"out, or take --objective {' or '.join(objectives)}."
            )
    first, last = settings.first_nodes, settings.last_nodes
    if "first_nodes" not in changed:
        return
    if last is not None and first > last:
        raise UserError(
            f"--first-nodes {first} is more than --last-nodes {last}: the grid of times only grows."
        )
    most = reference.schedule_ceiling(steps, min(1.0, max(0.0, settings.ema_rate)))
    if last is None and first > most:
        print(
            f"note: --first-nodes {first} is lowered to the {most} of the last stage of {steps:,} "
            "updates: give --last-nodes for more.",
            file=sys.stderr,
        )


def _check_linear(settings: GTPConfig, asked: set[str]) -> None:
    for name in ("eta", "weight_maximum"):
        if name in asked and getattr(settings, name) != getattr(GTPConfig, name):
            raise UserError(
                f"{_option(name)} does nothing with --objective linear-q, whose weights are 1: "
                "leave it out, or set --lambda-q."
            )


def _check_clone(settings: GTPConfig, asked: set[str]) -> None:
    _refuse_of_critic(_named_of_critic(settings, asked))
    if named := _named_of_episodes(settings, asked):
        raise UserError(f"{named} does nothing with --eta 0, which clones: leave it out.")


def _refuse_of_critic(named: str | None) -> None:
    if named:
        raise UserError(f"{named} does nothing with --eta 0, which trains no critic: leave it out.")


def _check_without_critic(settings: GTPConfig, asked: set[str]) -> None:
    if named := _named_of_critic(settings, asked):
        raise UserError(
            f"{named} does nothing in a run without a critic: give --advantage-start 0 instead "
            "of None, or guide by --trajectory-eta."
        )
    if settings.num_candidates > 1 and settings.candidate_rule != "mean":
        raise UserError(
            f"--num-candidates {settings.num_candidates} needs a critic to choose with, and this "
            "run trains none: add --advantage-start 0, leave it at 1, or take --candidate-rule "
            "mean."
        )
    if "eta" in asked and settings.trajectory_eta:
        print(
            "note: --eta 1 is the default and has no effect, as no critic is trained and whole "
            "episodes guide: add --advantage-start 0 for the paper's weights, in every run of a "
            "sweep over eta.",
            file=sys.stderr,
        )
    if settings.trajectory_eta == 0:
        print(
            "note: --trajectory-eta 0 without a critic guides by nothing, so this run clones the "
            "data: add --advantage-start 0 for the paper's weights.",
            file=sys.stderr,
        )


def _without_critic(settings: Any, asked: set[str]) -> Any:
    """Return an agent's settings, with one candidate where eta = 0 trains no critic.

    A number of candidates that was asked for stays.
    """
    by_mean = getattr(settings, "candidate_rule", "") == "mean"
    if by_mean or "num_candidates" in asked or any(getattr(settings, "eta", (1.0,))):
        return settings
    return dataclasses.replace(settings, num_candidates=1)


def _by_advantage(settings: Any, asked: set[str]) -> Any:
    """Return settings whose critic learns where something was asked of it, and say so."""
    named = _named_of_critic(settings, asked)
    if named is None or "advantage_start" in asked or not any(settings.eta):
        return settings
    if settings.advantage_start is not None:
        return settings
    print(
        f"note: {named} asks for weights by advantage, so a critic learns and they act from the "
        "first update on (--advantage-start 0). By default whole episodes alone guide a run, which "
        "scored higher (docs/critic.md).",
        file=sys.stderr,
    )
    return dataclasses.replace(settings, advantage_start=0)


def _named_of_critic(settings: Any, asked: set[str]) -> str | None:
    """Return an option that was asked for and needs a critic of GTP; None without one."""
    if not isinstance(settings, GTPConfig) or settings.objective == "linear-q":
        return None
    named = [name for name in _OF_CRITIC if name in asked]
    # The default value alone changes no run; several values mean that the seeds are to differ.
    apart = len({*settings.eta}) > 1 or {*settings.eta} - {0.0, *GTPConfig.eta}
    named += ["eta"] if "eta" in asked and apart else []
    return _option(named[0]) if named else None


def _named_of_episodes(settings: GTPConfig, asked: set[str]) -> str | None:
    """Return an option that was asked for and needs guidance by episodes; None without one."""
    named = [name for name in _OF_EPISODES if name in asked and getattr(settings, name)]
    return _option(named[0]) if named else None


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
