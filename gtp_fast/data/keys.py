"""The choice of observation keys where none are given: every vector, and a note on the rest."""

from __future__ import annotations

from collections.abc import Sequence

from gtp_fast.errors import UserError


def notes(name: str, taken: Sequence[str], left: Sequence[str], mend: str) -> list[str]:
    """Return the notes on the keys taken and left out; UserError, with a mend, if none is taken."""
    if not taken:
        raise UserError(
            f"{name}: none of its observations is a vector: {', '.join(left) or 'it has no key'};"
            f" {mend}"
        )
    said = [f"{name}: the state is {', '.join(taken)}, joined in this order"]
    return said + [f"{name}: left out of the state: {', '.join(left)}"] * bool(left)
