"""The package ogbench, an extra of its own, and the numbers that it draws."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from gtp_fast.errors import UserError


def required(what: str) -> ModuleType:
    """Return the package ogbench, with its environments registered.

    what: who needs it, for the message of the UserError raised where it is not installed.
    """
    try:
        import ogbench
    except ImportError as error:
        raise UserError(f"{what} needs the package ogbench: pip install 'gtp_fast[ogbench]'") from (
            error
        )
    package: ModuleType = ogbench
    return package


class Numbers:
    """A state of NumPy's global generator, which OGBench's environments draw from."""

    def __init__(self) -> None:
        self._state: dict[str, Any] = np.random.get_state(legacy=False)

    @contextlib.contextmanager
    def drawn(self, seed: int | None = None) -> Iterator[None]:
        """Draw from this state, or from a new one by `seed`, and give back the one before."""
        before = np.random.get_state(legacy=False)
        if seed is None:
            np.random.set_state(self._state)
        else:
            np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            self._state = np.random.get_state(legacy=False)
            np.random.set_state(before)
