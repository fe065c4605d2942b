"""Flat arrays of transitions: D4RL's layout, its relatives, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtp_fast.data import rlds
from gtp_fast.data.recording import Recording, joined
from gtp_fast.errors import UserError
from gtp_fast.tasks import Terminals

Arrays = Mapping[str, NDArray[Any]]
REQUIRED = ("observations", "actions", "rewards")
_MATRICES = ("observations", "actions", "next_observations")
_FLAGS = ("terminals", "timeouts", "episode_starts", "masks")
_ENDS = "terminals, timeouts, episode_starts, episode_ends, episode_ids or is_last"


def transitions(name: str, arrays: Arrays, terminals: Terminals = "auto") -> Recording:
    """Return the transitions of flat arrays [N, ...] or stacks of episodes [E, T, ...].

    arrays: under their canonical names (`aliases.ALIASES`). terminals: what `terminals` mark; by
    default a terminal state, or the end of a trajectory where `masks` (OGBench) mark the states.
    With `last_steps` they are steps of RLDS, which `rlds.transitions` reads.
    Without `next_observations` s' is the next row's, so timeout rows and the last one go. Raises
    UserError on arrays that disagree.
    """
    notes: list[str] = []
    arrays = _unstacked(name, arrays, notes)
    count = _check_shapes(name, arrays)
    if "last_steps" in arrays:
        arrays = _of_steps(name, arrays, count, notes)
        count = len(arrays["observations"])
    terminal, dropped, split = _ends(name, arrays, count, terminals, notes)
    observations, actions = arrays["observations"], arrays["actions"]
    episode = np.cumsum(np.r_[False, split[:-1]])
    if "next_observations" in arrays:
        keep = np.arange(count)
        following = np.asarray(arrays["next_observations"])
        masked = terminal & ~np.isfinite(following).all(1)
        # The mask hides what follows a terminal state, which some files fill with NaN.
        following = np.where(masked[:, None], observations, following)
    else:
        keep = np.flatnonzero(~dropped[:-1])
        # What follows a terminal row belongs to another episode; the mask hides this stand-in.
        following = observations[np.where(terminal[keep], keep, keep + 1)]
        if not (terminal[-1] or split[-1]):
            notes.append("the last episode has no end: its last row, which nothing follows, is out")
    o, a = observations.shape[1], actions.shape[1]
    return Recording(
        name=name,
        rows=joined(observations[keep], actions[keep], following),
        observation_dim=o,
        action_dim=a,
        rewards=np.asarray(arrays["rewards"], np.float64).reshape(count)[keep],
        terminals=terminal[keep],
        episode=episode[keep].astype(np.int64),
        action_low=-np.ones(a),
        action_high=np.ones(a),
        description="a flat file of transitions",
        box_is_known=False,
        notes=notes,
    )


def _of_steps(name: str, arrays: Arrays, count: int, notes: list[str]) -> Arrays:
    """Return the transitions of steps, with every mark that says where an episode ends."""
    if "masks" in arrays:
        raise UserError(
            f"{name}: masks and last_steps mark terminal states in two ways; leave one of them out"
        )
    marked = {key: _flags(name, key, arrays[key], count) for key in _FLAGS if key in arrays}
    last = _flags(name, "last_steps", arrays["last_steps"], count)
    last = last | marked.get("timeouts", False) | _other_ends(name, arrays, marked, count)
    found = rlds.transitions(arrays, last, marked.get("terminals", np.zeros(count, np.bool_)))
    if not len(found["observations"]):
        raise UserError(f"{name} holds no transition: each of its episodes is a single step")
    if "next_observations" not in arrays:
        notes.append("steps as in RLDS: the last one of an episode is an observation alone")
    return found


def _ends(
    name: str, arrays: Arrays, count: int, meaning: Terminals, notes: list[str]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return, [N] each: terminal states, rows without a next state, last rows of episodes."""
    marked = {key: _flags(name, key, arrays[key], count) for key in _FLAGS if key in arrays}
    none = np.zeros(count, np.bool_)
    timeouts = marked.get("timeouts", none)
    stored = marked.get("terminals", none)
    other = _other_ends(name, arrays, marked, count)
    ends = stored | timeouts | other
    if not ends.any() and "next_observations" not in arrays:
        raise UserError(
            f"{name} marks no end of an episode; give {_ENDS}, or next_observations, so that no"
            " transition runs from one episode into the next"
        )
    if meaning == "auto":
        meaning = "trajectory_end" if "masks" in arrays else "terminal_state"
    if meaning == "trajectory_end":
        terminal = ~marked["masks"] if "masks" in arrays else none
        if "terminals" in arrays:
            notes.append(
                "terminals mark the end of a trajectory, "
                + ("masks the terminal states" if "masks" in arrays else "no state is terminal")
            )
        return terminal, ends & ~terminal, ends
    # A cluster of terminal rows is one episode that went on after its goal, so it is not split.
    inside = np.r_[stored[:-1] & stored[1:], False] & ~timeouts & ~other
    return stored, timeouts | (other & ~stored), ends & ~inside


def _other_ends(
    name: str, arrays: Arrays, marked: Mapping[str, NDArray[np.bool_]], count: int
) -> NDArray[np.bool_]:
    """Return the ends that starts, ends or numbers of episodes tell [N]."""
    ends = np.zeros(count, np.bool_)
    if "episode_starts" in marked:
        ends |= np.r_[marked["episode_starts"][1:], True]
    if "episode_ends" in arrays:
        places = arrays["episode_ends"].astype(np.int64).reshape(-1)
        if not (
            len(places) and (np.diff(places) > 0).all() and places[0] > 0 and places[-1] == count
        ):
            raise UserError(
                f"{name}: episode_ends must rise to the number of rows, {count}: the row after the "
                "last one of each episode"
            )
        ends[places - 1] = True
    if "episode_ids" in arrays:
        ids = arrays["episode_ids"].reshape(count)
        last = np.r_[ids[1:] != ids[:-1], True]
        ended = ends | marked.get("terminals", False) | marked.get("timeouts", False)
        _check_returns(name, ids, last, ended)
        ends |= last
    return ends


def _check_returns(
    name: str, ids: NDArray[Any], last: NDArray[np.bool_], ended: NDArray[np.bool_]
) -> None:
    """Raise UserError where an episode goes on after rows of another.

    last [N]: rows before another number; ended [N]: ends by other marks, after which a number may
    stand for a new episode, as in recordings that are put together.
    """
    ends = np.flatnonzero(last)
    _, number = np.unique(ids[ends], return_inverse=True)
    # Pieces in the order of their numbers, those of one number in time.
    order = np.argsort(number, kind="stable")
    before, after = order[:-1], order[1:]
    returned = after[(number[before] == number[after]) & ~ended[ends[before]]]
    if len(returned):
        row = int(ends[returned.min() - 1]) + 1
        raise UserError(
            f"{name}, row {row}: the episode {ids[row]} of episode_ids returns after another one;"
            " keep the rows of an episode together, in time, under a number of its own"
        )


def _flags(name: str, key: str, stored: NDArray[Any], count: int) -> NDArray[np.bool_]:
    """Return a mark of each row [N]; UserError unless every one is 0 or 1."""
    values = np.asarray(stored, np.float64).reshape(count)
    wrong = ~np.isin(values, (0.0, 1.0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(f"{name}, row {row}: {key} is {values[row]:g}; it must be 0 or 1")
    return np.asarray(values, np.bool_)


def _unstacked(name: str, arrays: Arrays, notes: list[str]) -> Arrays:
    """Return stacks [E, T, ...] as rows [E T, ...], with the ends of the episodes."""
    actions = arrays.get("actions")
    if actions is None or actions.ndim != 3:
        return arrays
    episodes, steps = actions.shape[:2]
    given = dict(arrays)
    observations = given["observations"] if "observations" in given else actions[:, :, :0]
    if observations.ndim == 3 and observations.shape[1] == steps + 1:
        given["next_observations"] = observations[:, 1:]
        given["observations"] = observations[:, :-1]
    flat = {}
    for key, values in given.items():
        if values.shape[:2] != (episodes, steps):
            raise UserError(
                f"{name}: {key} has shape {values.shape} where actions are a stack of {episodes}"
                f" episodes of {steps} steps; give it [{episodes}, {steps}, ...]"
            )
        flat[key] = values.reshape(episodes * steps, *values.shape[2:])
    flat["episode_ends"] = steps * np.arange(1, episodes + 1)
    notes.append(f"a stack of {episodes} episodes of {steps} steps")
    return flat


def _check_shapes(name: str, arrays: Arrays) -> int:
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        hint = (
            "; add them [N], zeros for cloning; OGBench's files get theirs from a --task such as"
            " antmaze-large-navigate-singletask-v0"
            if missing == ["rewards"]
            else f"; it needs the arrays {', '.join(REQUIRED)} and {_ENDS}"
        )
        raise UserError(f"{name} lacks {', '.join(missing)}{hint}")
    for key, values in arrays.items():
        if values.dtype.kind not in "biuf":
            raise UserError(f"{name}: {key} holds {values.dtype}, not numbers")
    count = len(arrays["observations"]) if arrays["observations"].ndim else 0
    if not count:
        raise UserError(f"{name} holds no transition; give another with --dataset")
    for key, values in arrays.items():
        if key == "episode_ends":
            continue
        good = values.ndim == 2 if key in _MATRICES else values.shape in ((count,), (count, 1))
        if not good or len(values) != count:
            raise UserError(
                f"{name}: {key} has shape {values.shape}, but observations have {count} rows;"
                f" give it {'[N, width]' if key in _MATRICES else '[N]'} with the same N"
            )
    if (
        arrays.get("next_observations", arrays["observations"]).shape
        != arrays["observations"].shape
    ):
        raise UserError(
            f"{name}: next_observations and observations differ in shape; make them equal"
        )
    return count
