"""A batch of an update: whole rows of the table, then the native form."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from agent_cases import synthetic_table
from native_cases import STEP, draw, keys, needs_native

from gtp_fast import ops, reference
from gtp_fast.ops import gather as ops_gather
from gtp_fast.reference import philox


def test_a_batch_is_whole_rows_split_into_their_fields() -> None:
    table = synthetic_table()
    width = table.rows.shape[1]
    table = replace(table, rows=torch.arange(64.0 * width).view(64, width))
    state, action, reward, following, mask = ops.resolve("reference").gather(
        table, keys(2), STEP, 0, 37
    )
    row = philox.integers(keys(2), STEP, 0, 37, 64) * width
    for field, first in ((state, 0), (action, 3), (following, 6)):
        columns = first + torch.arange(field.shape[-1])
        assert torch.equal(field, (row[..., None] + columns).float())
    assert torch.equal(reward, (row + 5.0)) and torch.equal(mask, (row + 9.0))


@needs_native
def test_a_word_at_the_bound_of_a_lot_draws_the_lots_own_row() -> None:
    table = synthetic_table()
    first, second, *_ = (int(word) for word in philox.words(keys(1), STEP, 0, 1, 1))
    own = first * 64 >> 32
    other = (own + 1) % 64
    for bound, drawn in ((second, own), (second - 1, other)):
        signed = bound - 2**32 if bound >= 2**31 else bound
        lots = replace(table, lots=torch.full((64,), signed * 2**32 + other))
        for gather in (ops.resolve("reference").gather, ops_gather.native_gather):
            state, *_ = gather(lots, keys(1), STEP, 0, 1)
            assert torch.equal(state[0, 0], table.rows[drawn, :3])


@needs_native
@pytest.mark.parametrize("by_lots", [False, True])
def test_a_batch_is_the_rows_that_the_reference_draws(by_lots: bool) -> None:
    table = synthetic_table()
    lots = reference.alias_table((1e3 * (2 * draw(6, 64)).exp()).ceil().long())
    table = replace(table, lots=lots if by_lots else None)
    plain = ops.resolve("reference").gather(table, keys(3), STEP, 0, 37)
    for fast, field in zip(
        ops_gather.native_gather(table, keys(3), STEP, 0, 37), plain, strict=True
    ):
        assert torch.equal(fast, field) and fast.is_contiguous()
    if by_lots:
        rows = table.rows[philox.lots(keys(3), STEP, 0, 37, lots)]
        assert torch.equal(torch.cat([x.view(3, 37, -1) for x in plain], -1), rows)
    strided = replace(table, rows=table.rows.repeat(1, 2)[:, ::2])
    with pytest.raises(ValueError, match="must be contiguous float32"):
        ops_gather.native_gather(strided, keys(1), 0, 0, 4)
    with pytest.raises(ValueError, match=r"on the CPU, not torch\.float32 on meta"):
        ops_gather.native_gather(table.to("meta"), keys(1), 0, 0, 4)
    with pytest.raises(ValueError, match=r"must be \[N, 8\], not \[64, 10\]"):
        ops_gather.native_gather(replace(table, observation_dim=2), keys(1), 0, 0, 4)
    for wrong in (lots[1:], lots.int(), lots.repeat(2)[::2]):
        with pytest.raises(ValueError, match="the lots must be 64 contiguous int64"):
            ops_gather.native_gather(replace(table, lots=wrong), keys(1), 0, 0, 4)
