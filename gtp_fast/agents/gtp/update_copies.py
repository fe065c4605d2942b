"""What the products of Triton's update read of the parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gtp_fast.networks.learner import Learner

Pair = tuple[Tensor, Tensor]


class Copies:
    """Aligned copies of each learner's parameters and average, or these themselves.

    A step of the update writes both the parameters and the copy. Whoever else writes parameters,
    such as a checkpoint that is loaded, does not: `refresh` copies them again then.
    """

    def __init__(self, learners: Sequence[Learner], kind: torch.dtype | None):
        """Copy at once; kind: of the copies, None for none."""
        from gtp_fast.kernels import dense

        self.own = {x: (x.parameters.flat, x.average.flat) for x in learners}
        self.copies: dict[Learner, Pair] = {}
        if kind is not None:
            for learner, (flat, average) in self.own.items():
                self.copies[learner] = (
                    dense.aligned_rows(flat, kind),
                    dense.aligned_rows(average, kind),
                )
        self.versions = self._versions()

    def _versions(self) -> list[int]:
        # PyTorch counts what its operators write; a step by Triton is none of them.
        return [x._version for pair in self.own.values() for x in pair]

    def refresh(self) -> None:
        """Copy again what was written by others, such as a checkpoint that is loaded."""
        versions = self._versions()
        if versions != self.versions:
            self.versions = versions
            for learner, copies in self.copies.items():
                for copy, flat in zip(copies, self.own[learner], strict=True):
                    copy.copy_(flat)

    def read(self, learner: Learner) -> Pair:
        """Return what products read instead of (parameters, average): [G, P] each."""
        return self.copies.get(learner, self.own[learner])

    def written(self, learner: Learner) -> Pair | None:
        """Return the copies that a step of the learner has to write; None: there are none."""
        return self.copies.get(learner)
