"""The batch of an update in Triton; test_kernels_offline.py runs it under the interpreter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")
from triton_cases import (  # noqa: F401
    DEVICE,
    STEP,
    generator,
    poisoned_outputs,
    pytestmark,
    seeds,
)

from gtp_fast import reference
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed)).to(DEVICE)


@pytest.mark.parametrize("by_lots", [False, True])
@pytest.mark.parametrize(("S", "B", "O", "A"), [(1, 1, 1, 1), (2, 63, 11, 3), (1, 257, 29, 8)])
def test_gather_draws_and_copies_as_the_definition_does(
    S: int, B: int, O: int, A: int, by_lots: bool,  # noqa: E741
) -> None:  # fmt: skip
    from gtp_fast.kernels.gather import gather

    table = normal(1, 1000, 2 * O + A + 2)
    step = torch.tensor(STEP, dtype=torch.int64, device=DEVICE)
    weights = (1e3 * (2 * normal(2, 1000)).exp()).ceil().long()
    lots = reference.alias_table(weights) if by_lots else None
    fields = gather(table, O, A, seeds(S), step, Stream.BATCH, B, lots)
    drawn = (seeds(S), STEP, Stream.BATCH, B)
    rows = table[philox.integers(*drawn, 1000) if lots is None else philox.lots(*drawn, lots)]
    expected = (rows[..., :O], rows[..., O : O + A], rows[..., O + A], rows[..., O + A + 1 : -1], rows[..., -1])  # fmt: skip  # noqa: E501
    for one, other in zip(fields, expected, strict=True):
        assert torch.equal(one, other)
