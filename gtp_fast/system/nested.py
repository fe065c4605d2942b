"""Entries of nested dicts by one name each, as observations and their spaces have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flat(entries: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return the entries of a mapping and of those inside it: `a/b` for entry b of entry a."""
    found: dict[str, Any] = {}
    for key, value in entries.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}/") if isinstance(value, Mapping) else {name: value}
    return found
