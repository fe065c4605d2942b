"""The spaces of a Minari dataset: keys of the state and box of the actions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from gtp_fast.data import keys as chosen
from gtp_fast.data import trust
from gtp_fast.data.recording import Float64
from gtp_fast.errors import UserError
from gtp_fast.system import closing

Space = dict[str, Any]
"""A space as Minari's metadata state it: type, and shape, dtype, low, high or subspaces."""
Box = tuple[Sequence[float], Sequence[float]]

GOALS = ("achieved_goal", "desired_goal")
"""Keys of the position reached and of the goal, [2] each, which goal rules compare."""
# Fields of an environment's specification that gymnasium 1.0 dropped.
_DROPPED = ("apply_api_compatibility", "autoreset")


@dataclass(frozen=True)
class Layout:
    """Vectors below `observations` that make the state, in its order."""

    keys: tuple[str, ...]
    """Paths such as a/b below `observations`; one empty key when they are flat."""
    widths: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @property
    def taken(self) -> tuple[str, ...]:
        """The keys, none for flat observations."""
        return () if self.keys == ("",) else self.keys


def stated(facts: dict[str, Any], name: str, box: Box | None) -> tuple[Space | None, Space]:
    """Return the spaces of observations and actions; None for observations not stated.

    An absent action space is the given box, or comes from the stored environment, which is built
    only when its code is trusted. Raises UserError when it cannot be.
    """
    observation = _parsed(facts, "observation_space", name)
    action = _parsed(facts, "action_space", name)
    if action is None and box is not None:
        action = {"type": "Box", "shape": [len(box[0])], "low": box[0], "high": box[1]}
    if action is None:
        environment = built(facts, name)
        observation = observation or described(environment.observation_space)
        action = described(environment.action_space)
        closing.close(environment, f"the environment of {name}")
    return observation, action


def built(facts: dict[str, Any], name: str) -> gym.Env[Any, Any]:
    """Build the environment of a dataset that states no spaces; UserError when it cannot be."""
    text = specification(facts.get("env_spec"))
    lacks = f"{name} states no spaces of its own"
    if text is None:
        raise UserError(
            f"{lacks} and no environment either; name the one it was collected in with --env"
        )
    try:
        return gym.make(trust.parse(text, name))
    except UserError as error:
        raise UserError(f"{lacks}, and {error}; or name its environment with --env") from error
    except Exception as error:
        raise UserError(
            f"{lacks} and its environment cannot be built ({str(error).splitlines()[0]});"
            " install what it needs, or name another version of it with --env"
        ) from error


def specification(text: str | None) -> str | None:
    """Return an environment's specification without the fields that gymnasium 1.0 dropped."""
    if text is None or not any(key in text for key in _DROPPED):
        return text
    return json.dumps({k: v for k, v in json.loads(text).items() if k not in _DROPPED})


def described(space: gym.Space[Any]) -> Space:
    """Return a gymnasium space in the form of Minari's metadata."""
    if isinstance(space, gym.spaces.Dict):
        return {"type": "Dict", "subspaces": {k: described(s) for k, s in space.spaces.items()}}
    if isinstance(space, gym.spaces.Box):
        shape, dtype = list(space.shape), str(space.dtype)
        return {
            "type": "Box", "shape": shape, "dtype": dtype, "low": space.low, "high": space.high,
        }  # fmt: skip
    return {"type": type(space).__name__}


def layout(
    name: str, space: Space, keys: tuple[str, ...] | None, positions: bool = False
) -> Layout:
    """Return where the state lies; keys None takes every vector, in the stored order.

    keys: () for flat observations. positions: `GOALS` are read too. Raises UserError when the space
    has no such vectors.
    """
    parts = leaves(space) if space.get("type") == "Dict" else None
    fits = parts is not None and all(_is_vector(parts.get(key, {})) for key in keys or ())
    # Data of another task are that first of all.
    if positions and (fits or not keys):
        _check_goals(name, parts or {})
    if parts is None and not keys and _is_vector(space):
        return Layout(("",), (int(space["shape"][0]),))
    if parts is not None and keys is None:
        return _inferred(name, parts)
    if parts is not None and keys and fits:
        return Layout(keys, tuple(int(parts[key]["shape"][0]) for key in keys))
    has = f"the keys {', '.join(parts)}" if parts is not None else _words(space)
    if keys is None:
        raise UserError(
            f"{name}: its observations are {has}; only vectors are read, alone or under the keys"
            " of a Dict: flatten them first"
        )
    wants = f"vectors under the keys {', '.join(keys)}" if keys else "a flat vector"
    raise UserError(
        f"{name} does not fit this task: its observations have {has}, the task needs {wants};"
        " choose the task that the dataset was made for"
    )


def _check_goals(name: str, parts: dict[str, Space]) -> None:
    """Raise UserError where a goal rule has no positions to compare."""
    found = [parts.get(key, {}) for key in GOALS]
    if not all(_is_vector(one) and one["shape"][0] == 2 for one in found):
        raise UserError(
            f"{name} has no {' and '.join(GOALS)} of two numbers among its observations, which"
            " --goal concat and relabel need: take --goal none"
        )


def leaves(space: Space, prefix: str = "") -> dict[str, Space]:
    """Return the spaces inside a Dict by their paths a/b."""
    found: dict[str, Space] = {}
    for key, inner in space["subspaces"].items():
        below = inner.get("type") == "Dict"
        found |= leaves(inner, f"{prefix}{key}/") if below else {f"{prefix}{key}": inner}
    return found


def action_box(name: str, space: Space) -> tuple[Float64, Float64]:
    """Return both ends [A] of the action box; UserError for actions that are no vector in one."""
    if space.get("type") != "Box" or len(space["shape"]) != 1:
        raise UserError(
            f"{name} has {_words(space)} as actions; only vectors in a box are supported:"
            " gtp_fast learns continuous actions"
        )
    return np.asarray(space["low"], np.float64), np.asarray(space["high"], np.float64)


def _parsed(facts: dict[str, Any], key: str, name: str) -> Space | None:
    if facts.get(key) is None:
        return None
    try:
        space: Space = json.loads(facts[key])
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"{name}: its {key} is not JSON ({error}); fetch the dataset again"
        ) from error
    return space


def _inferred(name: str, parts: dict[str, Space]) -> Layout:
    taken = tuple(key for key, space in parts.items() if _is_vector(space))
    left = [f"{key} ({_words(space)})" for key, space in parts.items() if key not in taken]
    mend = "gtp_fast learns from vectors, so add one to the dataset"
    notes = tuple(chosen.notes(name, taken, left, mend))
    return Layout(taken, tuple(int(parts[key]["shape"][0]) for key in taken), notes)


def _is_vector(space: Space) -> bool:
    numeric = str(space.get("dtype", "float")).startswith(("float", "int", "uint"))
    return space.get("type") == "Box" and len(space["shape"]) == 1 and numeric


def _words(space: Space) -> str:
    shape = tuple(space.get("shape", ()))
    if len(shape) == 3 and space.get("dtype") == "uint8":
        return f"an image of shape {shape}"
    return f"a {space.get('type')}" + (f" of shape {shape}" if "shape" in space else " space")
