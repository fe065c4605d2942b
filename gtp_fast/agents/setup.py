"""What an agent is built for, besides its settings: sizes, seeds, device and arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gtp_fast.errors import UserError
from gtp_fast.ops.launches import DEFAULT, Launches


@dataclass(frozen=True)
class Setup:
    """Sizes, seeds, device and arithmetic of an agent.

    seeds: trained by this agent. all_seeds: of the whole run, by default the same; settings with
    one value a seed are indexed by them. backend, dtype, precision: as `ops.resolve` takes them.
    observation_mean, observation_scale: [O] where the table's observations are standardised; the
    policy acts on raw ones. launches: of an update on a GPU.
    """

    observation_dim: int
    action_dim: int
    seeds: Sequence[int]
    device: torch.device | str = "cpu"
    backend: str = "auto"
    dtype: torch.dtype = torch.float32
    precision: str = "fp32"
    all_seeds: Sequence[int] = ()
    observation_mean: Sequence[float] = ()
    observation_scale: Sequence[float] = ()
    launches: Launches = DEFAULT

    def __post_init__(self) -> None:
        """Fix all seeds, so that a copy with a part of `seeds` keeps them."""
        if not self.all_seeds:
            object.__setattr__(self, "all_seeds", tuple(self.seeds))

    def of_seeds(self, values: Sequence[float], name: str) -> list[float]:
        """Return one value for each of `seeds`, from one for all or one for each.

        values: one, or as many as `all_seeds`; UserError for any other number of them. name: of the
        option they came by.
        """
        if len(values) not in (1, len(self.all_seeds)):
            raise UserError(
                f"--{name} has {len(values)} values for {len(self.all_seeds)} seeds: give one for "
                "all, or one for each."
            )
        value = dict(zip(self.all_seeds, itertools.cycle(values), strict=False))
        return [value[seed] for seed in self.seeds]
