"""Which stored environments may be built: the one decision, for datasets and run folders alike."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from gtp_fast.errors import UserError
from gtp_fast.system import specs

# These change observations, actions or the length of an episode, and touch nothing else.
_WRAPPERS = re.compile(
    r"gymnasium\.wrappers(\.\w+)*:(TimeLimit|OrderEnforcing|PassiveEnvChecker|FlattenObservation|"
    r"RescaleAction|ClipAction|RescaleObservation|DtypeObservation|TimeAwareObservation)"
    r"|gtp_fast\.data\.environment:FixedGoal|gtp_fast\.environments\.singletask:SingleTask"
)
# A path, a model file, or a place in code.
_PLACE = re.compile(r"[/\\:]|\.[A-Za-z]\w*$")
_PLACE_NAME = re.compile(r"(file|path|dir|folder|model)s?$", re.IGNORECASE)


def parse(text: Any, source: str, trusted: bool = False) -> EnvSpec:
    """Return the specification of a stored environment; `source` names where it is stored.

    Unless trusted its entry point must be that of an environment registered here (by gymnasium,
    gymnasium_robotics, ogbench, this package, or a module that the user named), its wrappers known
    ones, and its arguments no files. Raises UserError otherwise.
    """
    try:
        facts = json.loads(text)
        entry, kwargs = facts["entry_point"], facts.get("kwargs") or {}
        wrappers = facts.get("additional_wrappers") or []
        # Nothing here builds a vector environment by its own entry point.
        spec = EnvSpec.from_json(json.dumps(facts | {"vector_entry_point": None}))
        wrapped = [(str(one["entry_point"]), one.get("kwargs") or {}) for one in wrappers]
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise UserError(
            f"{source}: its environment is no specification of gymnasium's"
            f" ({type(error).__name__}: {error}); name one by --env"
        ) from error
    if trusted:
        return spec
    if str(entry) not in registered_entries():
        raise _refused(source, f"run code from {entry}, which is no environment registered here")
    for place, given in wrapped:
        if not _WRAPPERS.fullmatch(place):
            raise _refused(source, f"wrap it in {place}, which is no wrapper known here")
        _check_arguments(given, source)
    _check_arguments(kwargs, source)
    return spec


def register_known() -> None:
    """Make the environments of the packages known that are installed."""
    for name in ("gymnasium_robotics", "ogbench"):
        # gymnasium_robotics prints a long notice on other environments when it is imported.
        with contextlib.suppress(ImportError), contextlib.redirect_stderr(io.StringIO()):
            module = importlib.import_module(name)
            if name == "gymnasium_robotics":
                gym.register_envs(module)


def registered_entries() -> set[str]:
    """Return the entry points of all environments that are registered, as text."""
    register_known()
    return {
        specs.place(spec.entry_point) or str(spec.entry_point) for spec in gym.registry.values()
    }


def _check_arguments(value: Any, source: str, name: str = "") -> None:
    """Raise UserError for an argument, however deep, that names a file or code."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_arguments(item, source, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            _check_arguments(item, source, name)
    elif isinstance(value, str) and (_PLACE.search(value) or _PLACE_NAME.search(name)):
        raise _refused(
            source, f"give its environment {name} = {value!r}, which names a file or code"
        )


def _refused(source: str, what: str) -> UserError:
    return UserError(
        f"{source} asks to {what}; give --trust-environment if you trust it, or another environment"
        " by --env"
    )
