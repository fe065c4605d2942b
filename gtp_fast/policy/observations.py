"""Observations as users give them to a policy, made into rows or refused in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gtp_fast.errors import UserError, untrusted
from gtp_fast.system import nested

NOT_FINITE = (
    "The observation holds NaN or infinite values, or some beyond float32: look at where it comes "
    "from."
)


class Observations(NamedTuple):
    """What a policy takes: [dim], or a batch [B, dim], or the dict of `keys` in their order.

    widths: numbers of each entry of that dict; empty for flat observations and older runs.
    """

    dim: int
    keys: tuple[str, ...]
    widths: tuple[int, ...] = ()

    def joined(self, observation: Mapping[str, Any]) -> Any:
        """Return the entries of a dict as one array or tensor."""
        if not self.keys:
            raise UserError(
                f"A dict observation came, but this policy takes flat arrays of {self.dim} numbers."
            )
        if any(isinstance(value, Mapping) for value in observation.values()):
            observation = nested.flat(observation)
        if missing := [key for key in self.keys if key not in observation]:
            raise UserError(
                f"The observation lacks {', '.join(missing)}: it has "
                f"{', '.join(map(str, observation)) or 'no entry'}, and this policy needs "
                f"{', '.join(self.keys)}."
            )
        parts = [observation[key] for key in self.keys]
        with untrusted(
            "The observation's entries do not fit together", "give them as [n] or [B, n]."
        ):
            whole = (
                torch.cat(parts, -1) if isinstance(parts[0], Tensor) else np.concatenate(parts, -1)
            )
        self._check_widths(parts)
        return whole

    def _check_widths(self, parts: Sequence[Any]) -> None:
        """Raise UserError for entries of other widths, which may add up to the right one."""
        found = tuple(np.shape(part)[-1] for part in parts)
        if self.widths and found != self.widths:
            entries = zip(self.keys, found, self.widths, strict=True)
            wrong = [f"{key} {given}, not {own}" for key, given, own in entries if given != own]
            raise UserError(
                "Entries of the observation have other widths than in training: "
                f"{'; '.join(wrong)}: give each entry whole."
            )

    def array(self, observation: Any) -> NDArray[np.float32]:
        """Return an array or list as float32, in its own shape, contiguous and finite."""
        if isinstance(observation, tuple):
            _refuse_pair(observation)
        with untrusted("The observation is no array", "give numbers of one shape."):
            observation = np.asarray(observation)
        self.check_shape(observation.shape)
        if observation.dtype.kind not in "fiu":
            raise UserError(f"The observation holds {observation.dtype}: numbers are expected.")
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(observation, np.float32)
        if not np.isfinite(rows).all():
            raise UserError(NOT_FINITE)
        return rows

    def check_kind(self, observation: Tensor) -> None:
        """Raise UserError for a tensor without dense real numbers."""
        if observation.is_meta or observation.layout != torch.strided:
            kind = "meta" if observation.is_meta else "sparse"
            raise UserError(f"The observation is a {kind} tensor: give it dense, with numbers.")
        if observation.is_complex() or observation.dtype == torch.bool:
            raise UserError(f"The observation holds {observation.dtype}: numbers are expected.")

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise UserError for another shape than [dim] and [B, dim]."""
        if len(shape) not in (1, 2) or shape[-1] != self.dim:
            parts = f", the dict of {', '.join(self.keys)}" if self.keys else ""
            raise UserError(
                f"The observation has shape {list(shape)}: this policy takes [{self.dim}], "
                f"a batch [B, {self.dim}]{parts}."
            )


def _refuse_pair(observation: tuple[Any, ...]) -> None:
    """Raise UserError for what `reset` and `step` of an environment return as a whole."""
    if len(observation) in (2, 5) and isinstance(observation[-1], Mapping):
        raise UserError(
            "The observation is a tuple that ends in a dict, as reset() and step() of an "
            "environment return it: give its first entry."
        )
