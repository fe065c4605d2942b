"""Sizes beyond a fused form: UserError where that was asked for, else one warning."""

from __future__ import annotations

import functools
import warnings

from gtp_fast.errors import UserError


@functools.cache
def beyond(what: str, limits: str, strict: bool) -> None:
    """Warn once that `what` runs through PyTorch, for the kernel holds `limits`.

    strict: raise UserError instead.
    """
    if strict:
        raise UserError(
            f"--backend fused is not available for {what}: the kernel holds {limits}; use "
            "--backend auto."
        )
    warnings.warn(f"{what} runs through PyTorch: the kernel holds {limits}", stacklevel=3)
