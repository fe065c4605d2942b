"""Normals and integers in Triton; test_kernels_offline.py runs it under the interpreter."""

from __future__ import annotations

import pytest
import torch
from tolerance import assert_as_accurate

pytest.importorskip("triton")
from triton_cases import (  # noqa: F401
    DEVICE,
    STEP,
    generator,
    poisoned_outputs,
    pytestmark,
    seeds,
)

from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream


@pytest.mark.parametrize("columns", [1, 6, 17])
def test_draws_match_the_definition(columns: int) -> None:
    from gtp_fast.kernels.philox import integers, normals

    step = torch.tensor(STEP, dtype=torch.int64, device=DEVICE)
    fast = normals(seeds(2), step, Stream.VALUE, 70, columns)
    plain, exact = (
        philox.normals(seeds(2), STEP, Stream.VALUE, 70, columns, dtype)
        for dtype in (torch.float32, torch.float64)
    )
    assert_as_accurate("normals", fast, plain, exact)
    drawn = integers(seeds(2), STEP, Stream.VALUE, 600, 12_345)
    assert torch.equal(drawn, philox.integers(seeds(2), STEP, Stream.VALUE, 600, 12_345))
