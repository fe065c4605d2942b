"""The native sampler on NumPy arrays, by any instruction set that this machine runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from folded import Folded

from gtp_fast.ops import sampler
from gtp_fast.system import native


@contextlib.contextmanager
def limited_to(name: str) -> Iterator[None]:
    """Let native code choose as by GTP_FAST_ISA=name, which a process reads only once."""
    before = native.module().limit_isa(name)
    try:
        yield
    finally:
        native.module().limit_isa(before)


def instruction_sets() -> list[str]:
    """Return the values of GTP_FAST_ISA that this machine runs, narrowest first."""
    names = ("portable", "neon", "avx2", "avx512", "avx512vnni", "avx512bf16")
    return [name for name in names if native.available() and _runs(name)]


def _runs(name: str) -> bool:
    with limited_to(name):
        try:
            native.module().isa()
        except ValueError:
            return False
    return True


ISAS = instruction_sets()
# The others differ in bf16 or int8 only.
FLOAT_ISAS = [isa for isa in ISAS if isa not in ("avx512vnni", "avx512bf16")]


class OnArrays:
    """A native sampler whose inputs and outputs are arrays."""

    def __init__(self, policy: Folded, isa: str = "", precision: str = "fp32"):
        with limited_to(isa) if isa else contextlib.nullcontext():
            self.sampler = sampler.NativeSampler(policy.policy(), precision)
        self.isa = self.sampler.native.isa
        self.act, self.action = self.sampler.native.act, self.sampler.action

    def load(self, policy: Folded) -> None:
        self.sampler.load(policy.policy())

    def sample(
        self, observation: np.ndarray, noise: np.ndarray, out: np.ndarray, threads: int = 1
    ) -> None:
        """Write actions [S, B, A] to out."""
        arrays = observation, noise, out
        assert all(x.flags.c_contiguous and x.dtype == np.float32 for x in arrays)
        self.sampler.fit.check(torch.from_numpy(observation), torch.from_numpy(noise))
        addresses = (x.ctypes.data for x in arrays)
        self.sampler.native.sample(*addresses, observation.shape[1], threads)
