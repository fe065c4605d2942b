"""What the tests of Triton forms share: on a GPU or, under TRITON_INTERPRET=1, the CPU.

`test_kernels_offline.py` runs them under the interpreter, so every machine runs them one way.
"""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

from gtp_fast.reference import philox

pytest.importorskip("triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = (
    []
    if INTERPRETED
    else [
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: none here"),
    ]
)
F32, BF16 = torch.float32, torch.bfloat16
STEP = 123_456


@pytest.fixture(autouse=True)
def poisoned_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill every fresh buffer with NaN, so that an element left unwritten is seen."""
    empty = torch.empty

    def poisoned(*args: object, **options: object) -> Tensor:
        buffer = empty(*args, **options)
        return buffer.fill_(float("nan") if buffer.is_floating_point() else -(2**31))

    monkeypatch.setattr(torch, "empty", poisoned)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw_actions(S: int, B: int, A: int) -> Tensor:
    return (torch.rand(S, B, A, generator=generator(1)) * 2 - 1).to(DEVICE)


def seeds(S: int) -> Tensor:
    # Beyond 2^63, so that a sign bit and both words of the key take part.
    return philox.key_tensor([2**63 + 2**33 * k + 7 + k for k in range(S)], DEVICE)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed)).to(DEVICE)
