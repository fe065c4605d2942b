"""Specifications of environments as text, which a run folder keeps and another process builds."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

from gymnasium.envs.registration import EnvSpec

from gtp_fast.errors import UserError


def to_json(spec: EnvSpec) -> str:
    """Return a specification as JSON text; UserError for one that text cannot hold.

    A class or function that a module defines is written `module:name`.
    """
    entry = place(spec.entry_point)
    if entry is None:
        raise UserError(
            f"{spec.id} is registered by {spec.entry_point!r:.80}, which no other process can "
            "import: register it by a string, entry_point='module:Class', or give gtp_fast.fit the "
            "live environment."
        )
    for name, value in spec.kwargs.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            shown = " ".join(repr(value).split())
            raise UserError(
                f"{spec.id} is registered with {name} = {shown:.80}: register it with plain "
                "numbers, strings and lists, which a run folder can hold."
            ) from error
    # Nothing here builds a vector environment by its own entry point.
    return replace(spec, entry_point=entry, vector_entry_point=None).to_json()


def place(entry: Any) -> str | None:
    """Return an entry point as `module:name`; None for what no other process can import."""
    if isinstance(entry, str):
        return entry
    module, name = getattr(entry, "__module__", None), getattr(entry, "__qualname__", "")
    if module in (None, "__main__") or not name:
        return None
    return f"{module}:{name}" if getattr(sys.modules.get(module), name, None) is entry else None
