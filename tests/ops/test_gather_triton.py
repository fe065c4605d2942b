"""The Triton form of a batch's draw against the definition."""

from __future__ import annotations

import pytest
import torch
from triton_cases import DEVICE, STEP, normal, poisoned_outputs, pytestmark, seeds  # noqa: F401

from gtp_fast import reference
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream


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


def test_a_word_at_the_bound_of_a_lot_draws_the_lots_own_row() -> None:
    from gtp_fast.kernels.gather import gather

    # Of more rows than 16 bits tell apart.
    count, key = 70_000, seeds(1)
    table = torch.arange(count, dtype=torch.float32, device=DEVICE)[:, None].repeat(1, 5)
    first, second, *_ = (int(word) for word in philox.words(key, STEP, Stream.BATCH, 1, 1))
    other = count - 1
    for bound, drawn in ((second, first * count >> 32), (second - 1, other)):
        signed = bound - 2**32 if bound >= 2**31 else bound
        lots = torch.full((count,), signed * 2**32 + other, device=DEVICE)
        state, *_ = gather(table, 1, 1, key, STEP, Stream.BATCH, 1, lots)
        assert state.item() == drawn


def test_gather_refuses_a_wrong_shape() -> None:
    from gtp_fast.kernels.gather import gather

    flat = torch.zeros(2, 9, device=DEVICE)
    with pytest.raises(ValueError, match="9 columns"):
        gather(flat, 3, 2, seeds(2), 0, 0, 4)


@pytest.mark.parametrize(
    ("lots", "message"),
    [
        (torch.zeros(9, dtype=torch.int64), r"lots must be \[10\] int64, not \[9\]"),
        (torch.zeros(10, dtype=torch.int32), r"lots must be \[10\] int64, .* torch.int32"),
    ],
)
def test_lots_that_do_not_fit_the_table_are_refused(lots: torch.Tensor, message: str) -> None:
    from gtp_fast.kernels import batch, gather

    table, nodes = torch.zeros(10, 10, device=DEVICE), reference.karras_nodes(11).to(DEVICE)
    lots, streams = lots.to(DEVICE), (0, 3, 4, 1, 2)
    with pytest.raises(ValueError, match=message):
        gather.gather(table, 3, 2, seeds(2), 0, 0, 4, lots)
    with pytest.raises(ValueError, match=message):
        batch.draw_batch(table, (3, 2, 4), (1, 1), nodes, 11, seeds(2), 0, streams, lots=lots)
