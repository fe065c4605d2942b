"""The names that arrays of transitions go by, and one name for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gtp_fast.errors import UserError

ALIASES: Mapping[str, tuple[str, ...]] = {
    "observations": ("obs", "observation", "states", "state"),
    "actions": ("action", "acts"),
    "rewards": ("reward", "rews"),
    "terminals": ("terminal", "is_terminal", "terminated", "terminations", "done", "dones"),
    "timeouts": ("timeout", "truncated", "truncations", "truncation"),
    "next_observations": ("next_obs", "next_observation", "next_states", "next_state"),
    "masks": (),
    "episode_starts": ("is_first",),
    "last_steps": ("is_last",),
    "episode_ends": (),
    "episode_ids": ("episode_id", "episode_index", "episodes"),
}
"""Name -> its aliases. What each holds: docs/formats.md."""
DONE = ("done", "dones")
"""Names of the end of an episode for whatever reason, which gym's old API used."""


def chosen(name: str, present: Iterable[str]) -> dict[str, str]:
    """Return canonical name -> name in the file; `name`: of the dataset.

    The canonical name wins over its aliases. Raises UserError where two aliases mean one thing.
    """
    there = set(present)
    found = {}
    for canonical, aliases in ALIASES.items():
        if canonical in there:
            found[canonical] = canonical
            continue
        own = [alias for alias in aliases if alias in there]
        # Old gym: done ends an episode, terminated says why.
        own = [alias for alias in own if alias not in DONE] or own
        if len(own) > 1:
            raise UserError(
                f"{name}: {' and '.join(own)} both mean {canonical}; rename the one that counts to "
                f"{canonical}"
            )
        if own:
            found[canonical] = own[0]
    return found
