"""Loader rules: from stored episodes to the transitions that training sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtp_fast.data import box
from gtp_fast.data.recording import Float32, Float64, Recording, check_filled
from gtp_fast.data.table import Statistics
from gtp_fast.errors import UserError
from gtp_fast.tasks import RewardRule, Rules

Mask = NDArray[np.bool_]
# A stored action may miss the box by the rounding of its own file format.
_ACTION_SLACK = 1e-4


def check_asked(
    name: str, asked: Mapping[str, Any], chosen: Rules, goal_reaching: bool, kind: str
) -> None:
    """Raise UserError for a rule that was asked for and that would change nothing.

    asked: rules by name, the only ones to be refused; chosen: all that hold; kind: of the source.
    """
    aimed = chosen.goal != "none"
    for option, acts, need in (
        ("cut_at_goal", aimed or goal_reaching, "--goal concat or relabel"),
        ("success_radius", aimed, "--goal concat or relabel"),
        ("evaluation_goal", chosen.goal == "relabel", "--goal relabel"),
        ("terminals", kind == "flat", "a flat file"),
    ):
        if not acts and asked.get(option) not in (None, False, "auto"):
            raise UserError(
                f"--{option.replace('_', '-')} changes nothing of {name}: it needs {need}; leave it"
                " out"
            )


def check(recording: Recording) -> None:
    """Refuse an empty recording and any NaN or infinite value, naming row and field."""
    check_filled(recording)
    total = float(np.sum(recording.rows, dtype=np.float64)) + float(np.sum(recording.rewards))
    if np.isfinite(total):
        return
    columns = recording.columns
    fields: dict[str, NDArray[Any]] = {
        "observation": recording.rows[:, columns.observation],
        "action": recording.actions,
        "next observation": recording.rows[:, columns.next_observation],
        "reward": recording.rewards[:, None],
    }
    for field, values in fields.items():
        wrong = ~np.isfinite(values).all(axis=1)
        if wrong.any():
            raise UserError(
                f"{recording.place(int(np.argmax(wrong)))}: the {field} holds NaN, an infinite"
                " number or one beyond float32; repair or remove that episode, or fetch the dataset"
                " again"
            )


def _check_rewards(name: str, rewards: Float32) -> None:
    """Refuse a reward that float32 cannot hold, after the rule of rewards."""
    wrong = ~np.isfinite(rewards)
    if wrong.any():
        raise UserError(
            f"{name}, row {int(np.argmax(wrong))}: the reward is too large for float32; divide the"
            " rewards by a constant"
        )


def scale_actions(recording: Recording, clip: bool) -> None:
    """Map actions from their box to [-1, 1], in place; UserError outside it unless `clip`."""
    low, high = recording.action_low, recording.action_high
    ends = low.astype(np.float32), high.astype(np.float32)
    if not box.is_box(*ends):
        raise UserError(
            f"{recording.name}: the action box, {low.tolist()} to {high.tolist()}, is empty or not"
            " finite, so actions cannot be scaled; give --action-low and --action-high"
        )
    actions = recording.actions
    if not (np.all(low == -1.0) and np.all(high == 1.0)):
        box.normalise(actions, *ends)
    if not clip and max(-float(actions.min()), float(actions.max())) > 1.0 + _ACTION_SLACK:
        row = int(np.argmax((np.abs(actions) > 1.0 + _ACTION_SLACK).any(axis=1)))
        raise UserError(
            f"{recording.place(row)}: the action lies outside the action box"
            f"{'' if recording.box_is_known else ' [-1, 1], which was assumed'}; give the box by"
            " --action-low and --action-high, an environment by --env, or load with --clip-actions"
        )
    np.clip(actions, -1.0, 1.0, out=actions)


def successes(
    recording: Recording, rules: Rules, goal: tuple[float, float] | None, goal_reaching: bool
) -> Mask | None:
    """Whether each step [N] ends at its goal; None for a task without one.

    Under a goal rule that is a distance; without one it is a positive stored reward.
    """
    if not goal_reaching and rules.goal == "none":
        return None
    if rules.goal == "none":
        reached: Mask = recording.rewards > 0.0
    else:
        reached = _distance(recording, rules, goal) <= rules.success_radius
    if not reached.any():
        raise UserError(
            f"{recording.name}: no step reaches its goal, so every reward would be the same;"
            " check the goal rule and the success radius, or choose another dataset"
        )
    return reached


def _distance(recording: Recording, rules: Rules, goal: tuple[float, float] | None) -> Float64:
    fixed = rules.evaluation_goal or goal
    target = recording.desired if rules.goal == "concat" else fixed
    if recording.achieved is None or target is None:
        missing = "an evaluation goal" if rules.goal == "relabel" else "the goal of each step"
        raise UserError(
            f"{recording.name} lacks {missing} or the position reached, which the rule"
            f" goal={rules.goal} needs; load it with goal=none"
        )
    distance: Float64 = np.linalg.norm(recording.achieved - np.asarray(target), axis=1)
    return distance


def starts(episode: NDArray[np.int64]) -> Mask:
    """Marks the first row of every episode [N]."""
    first: Mask = np.r_[True, episode[1:] != episode[:-1]]
    return first


def until_first(event: Mask, episode: NDArray[np.int64]) -> Mask:
    """Rows [N] up to and including the first event of their episode."""
    earlier: NDArray[np.int64] = np.cumsum(event) - event
    first = np.flatnonzero(starts(episode))
    lengths = np.diff(np.r_[first, len(episode)])
    return np.asarray(earlier == np.repeat(earlier[first], lengths))


def shape_rewards(rewards: Float64, returns: Float64, rule: RewardRule) -> Float64:
    """The named change of reward [N], given the undiscounted returns [episodes]."""
    if rule == "minus_one":
        return rewards - 1.0
    if rule == "cql":
        return 4.0 * (rewards - 0.5)
    if rule == "quarter":
        return 2.0 * (rewards - 0.25)
    if rule == "iql_locomotion":
        spread = _held(float(returns.max() - returns.min()))
        if spread <= 0.0:
            raise UserError("the rule reward=iql_locomotion needs episodes of unequal return")
        return rewards * (1000.0 / spread)
    if rule == "normalize":
        deviation = _held(float(rewards.std()))
        if deviation <= 0.0:
            raise UserError("the rule reward=normalize needs rewards that are not all the same")
        scaled: Float64 = (rewards - rewards.mean()) / deviation
        return scaled
    return rewards


def _held(spread: float) -> float:
    """Return what rewards are divided by; UserError where float64 cannot hold it."""
    # Divided by infinity, every reward would be 0.
    if not np.isfinite(spread):
        raise UserError(
            "the spread of the rewards or returns is too large for float64, so no rule can scale"
            " them; divide the rewards by a constant"
        )
    return spread


def apply(
    recording: Recording, rules: Rules, goal: tuple[float, float] | None, goal_reaching: bool
) -> tuple[Float32, NDArray[np.int32], Statistics]:
    """Finished table rows, the episode of each and the statistics; `recording` is used up.

    With a goal rule in force the reward is 1 at success and 0 elsewhere, whatever was stored.
    """
    check(recording)
    scale_actions(recording, rules.clip_actions)
    reached = successes(recording, rules, goal, goal_reaching)
    rows, episode = recording.rows, recording.episode
    rewards, terminals = recording.rewards, recording.terminals
    if reached is not None:
        if rules.goal != "none":
            rewards = reached.astype(np.float64)
        if rules.cut_at_goal or rules.goal == "relabel":
            terminals = reached
        if rules.cut_at_goal:
            keep = np.flatnonzero(until_first(reached, episode))
            rows, episode = rows.take(keep, axis=0), episode[keep]
            rewards, terminals, reached = rewards[keep], terminals[keep], reached[keep]
    number = np.cumsum(starts(episode)) - 1
    returns: Float64 = np.bincount(number, rewards).astype(np.float64)
    columns = recording.columns
    rows[:, columns.reward] = shape_rewards(rewards, returns, rules.reward)
    _check_rewards(recording.name, rows[:, columns.reward])
    rows[:, columns.mask] = ~terminals
    won = None if reached is None else float((np.bincount(number, reached) > 0).mean())
    return (
        rows,
        number.astype(np.int32),
        Statistics(
            transitions=len(rows),
            episodes=len(returns),
            terminals=int(terminals.sum()),
            mean_return=float(returns.mean()),
            mean_length=len(rows) / len(returns),
            success_rate=won,
        ),
    )
