"""How Triton's update of GTP is cut into launches on a GPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Launches:
    """Options of the launches of an update, which agree up to rounding.

    The defaults are what the model of benchmarks/critical_path.py says is fastest; `make gpu` times
    each against its other way.
    """

    begins_at_once: bool = True
    """One launch draws the batch, folds the policy and embeds the times, which it draws again."""
    actor_beside: bool = True
    """The actor's loss and its deltas run beside sampler and critic; w multiplies later."""
    clock_parts: int = 4
    """Programs that share the gradient of one clock of the embedding."""
    gradient_turn: int = 64
    """Rows of a batch that a weight gradient multiplies at once."""
    small_tiles: bool = True
    """In full float32 passes take 8 rows a tile where all tiles are at work at once, not 16."""
    copies: bool = True
    """Each step also writes its parameters in aligned rows, rounded in bf16, for the passes."""


DEFAULT = Launches()
OTHER_WAYS = {
    "begins_at_once": False,
    "actor_beside": False,
    "clock_parts": 1,
    "gradient_turn": 16,
    "small_tiles": False,
    "copies": False,
}
"""What each option was before."""
