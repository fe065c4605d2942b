"""How Triton's update of GTP is cut into launches on a GPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Launches:
    """Options of an update's launches. Results differ by rounding alone.

    The defaults are what the model of benchmarks/critical_path.py says is fastest; `make gpu` times
    each against its other way.
    """

    begins_at_once: bool = True
    """One launch draws the batch, folds the policy and embeds the times.

    Its programs cannot wait for each other, so those that embed the times draw them once more.
    """
    actor_beside: bool = True
    """The actor's loss and deltas are computed beside sampler and critic, before w is known.

    The gradients are linear in w, so they multiply by it.
    """
    clock_parts: int = 4
    """Programs that share the gradient of one clock of the embedding."""
    gradient_turn: int = 64
    """Rows of a batch that a weight gradient multiplies at once."""
    small_tiles: bool = True
    """In full float32 passes take 8 rows a tile where all tiles are at work at once, not 16."""
    copies: bool = True
    """Each step also writes a copy of its parameters in aligned rows, which the passes read.

    In bf16 the copy is rounded.
    """
    fold_packs: bool = True
    """What lays out the policy also packs its weights for the sampler's tensor cores."""
    step_accounts: bool = True
    """The actor's step also adds the metrics up, and the launch before it advances the counter."""
    critics_together: bool = False
    """Critics, TD loss and deltas are one launch of CUDA clusters, in bf16 from capability 9.0 on.

    Off, for no device has timed it yet. It reads the copies.
    """


DEFAULT = Launches()
OTHER_WAYS = {
    "begins_at_once": False,
    "actor_beside": False,
    "clock_parts": 1,
    "gradient_turn": 16,
    "small_tiles": False,
    "copies": False,
    "fold_packs": False,
    "step_accounts": False,
    "critics_together": True,
}
"""The setting of each option that `make gpu` times against the default."""


def other_ways(precision: str) -> dict[str, bool | int]:
    """Return the other ways that serve a precision."""
    return {
        name: way
        for name, way in OTHER_WAYS.items()
        if name != "critics_together" or precision == "bf16"
    }
