"""Demonstrations stored step by step: which ends are terminal, and what follows the last step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtp_fast.data.recording import Recording, joined
from gtp_fast.errors import UserError


@dataclass
class Steps:
    """Steps of all episodes, one after the other.

    observation [N, O], action [N, A], reward [N], done [N] or None, episode [N] ascending;
    following [N, O]: the observation after each step, None to take the next row's;
    success [N]: whether the task is solved at a step, None where the file does not say it.
    """

    observation: NDArray[Any]
    action: NDArray[Any]
    reward: NDArray[Any]
    done: NDArray[np.bool_] | None
    episode: NDArray[np.int64]
    following: NDArray[Any] | None = None
    success: NDArray[np.bool_] | None = None


def recording(name: str, steps: Steps) -> Recording:
    """Return the steps as a Recording, with a note on every choice made; UserError when empty."""
    if not len(steps.episode):
        raise UserError(f"{name} holds no step; give another with --dataset")
    last = np.r_[steps.episode[1:] != steps.episode[:-1], True]
    terminal, rule = _terminals(steps, last)
    notes = [f"{name}: {rule}"]
    if steps.following is None:
        keep = np.flatnonzero(~last | terminal)
        # Nothing is stored after a terminal step; the mask hides this stand-in.
        following = steps.observation[
            np.where(last, np.arange(len(last)), np.arange(len(last)) + 1)[keep]
        ]
        notes.append(
            f"{name}: no next observations are stored, so they are the next row's, and the last"
            f" step of {len(last) - len(keep)} episodes is left out"
        )
    else:
        keep, following = np.arange(len(last)), steps.following
    if not len(keep):
        raise UserError(f"{name}: no step has a next one; its episodes need two steps at least")
    o, a = steps.observation.shape[1], steps.action.shape[1]
    return Recording(
        name=name,
        rows=joined(steps.observation[keep], steps.action[keep], following),
        observation_dim=o,
        action_dim=a,
        rewards=np.asarray(steps.reward, np.float64)[keep],
        terminals=terminal[keep],
        episode=steps.episode[keep],
        action_low=-np.ones(a),
        action_high=np.ones(a),
        box_is_known=False,
        notes=notes,
    )


def _terminals(steps: Steps, last: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], str]:
    """Return which steps [N] are terminal, and the rule in words.

    A mark on the last step of every episode may only say that the recording stops there, so it
    counts where the task is solved. When some episode ends without one, marks mean termination.
    """
    done = steps.done
    if done is None and steps.success is None:
        return np.zeros(len(last), np.bool_), "no step is marked as done, so none is terminal"
    if steps.success is not None:
        marked = steps.success if done is None else steps.success & done
        return marked, f"{int(marked.sum())} steps are terminal: marked as success and done"
    assert done is not None
    if not done[last].all():
        return done, f"{int(done.sum())} steps are terminal: those marked as done"
    solved = done & (np.asarray(steps.reward) > 0.0)
    return solved, (
        f"{int(solved.sum())} steps are terminal: those marked as done that have a positive reward;"
        " every episode ends marked as done, so a mark alone may only be the end of the recording"
    )
