"""Notes on the observation keys that are taken where none are given."""

from __future__ import annotations

from collections.abc import Sequence

from gtp_fast.errors import UserError


def notes(name: str, taken: Sequence[str], left: Sequence[str], mend: str) -> list[str]:
    """Return notes on keys taken and left out; UserError if none is taken."""
    if not taken:
        raise UserError(
            f"{name}: none of its observations is a vector: {', '.join(left) or 'it has no key'};"
            f" {mend}"
        )
    said = [f"{name}: the state is {', '.join(taken)}, joined in this order"]
    return said + [f"{name}: left out of the state: {', '.join(left)}"] * bool(left)
