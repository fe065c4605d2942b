"""Alias tables: their shares exactly, and the draws that follow from them."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from reference_cases import python_words

from gtp_fast import reference
from gtp_fast.reference import philox

HEAVY = torch.tensor([1] * 9 + [100])


def exact_shares(table: torch.Tensor) -> tuple[list[Fraction], list[int]]:
    """Return the shares of an alias table without rounding, and how many entries name each row."""
    count = len(table)
    shares, named = [Fraction(0)] * count, [1] * count
    for row, entry in enumerate(table.tolist()):
        own = Fraction(((entry >> 32) & 0xFFFFFFFF) + 1, 2**32)
        other = entry & 0xFFFFFFFF
        shares[row] += own / count
        shares[other] += (1 - own) / count
        named[other] += own < 1
    return shares, named


def drawn(count: int, scale: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    uniform = torch.rand(count, generator=generator)
    w = (scale * torch.randn(count, generator=generator)).exp() if scale else uniform
    return (2**16 * w).ceil().long()


@pytest.mark.parametrize(
    "weights",
    [
        drawn(1), drawn(2), drawn(5), drawn(1000), torch.full((7,), 3), HEAVY, drawn(1000, 3.0),
        # The first heavy row gives all that it has to spare to the first light one.
        torch.tensor([1, 1, 3, 3]),
    ],
    ids=["1", "2", "5", "1000", "equal", "one heavy", "wide", "even gifts"],
)  # fmt: skip
def test_shares_are_those_of_the_weights(weights: torch.Tensor) -> None:
    table, n = reference.alias_table(weights), len(weights)
    assert table.dtype == torch.int64 and table.shape == (n,)
    shares, named = exact_shares(table)
    assert sum(shares) == 1
    whole = int(weights.sum())
    for share, names, w in zip(shares, named, weights.tolist(), strict=True):
        # Every entry that names a row rounds once.
        assert abs(share - Fraction(w, whole)) <= Fraction(names, 2**32 * n)


@pytest.mark.parametrize("weights", [drawn(1), drawn(5), HEAVY, drawn(300, 3.0)])
def test_a_table_tells_its_own_shares(weights: torch.Tensor) -> None:
    table = reference.alias_table(weights)
    expected = torch.tensor([float(x) for x in exact_shares(table)[0]], dtype=torch.float64)
    torch.testing.assert_close(reference.alias_shares(table), expected, rtol=1e-12, atol=1e-15)


def test_lots_choose_by_the_second_word_between_a_row_and_its_other_one() -> None:
    seed, table = 2**64 - 3, reference.alias_table(drawn(12, 2.0))
    hand = []
    for row in range(200):
        first, second, _, _ = python_words(seed, 4, 0, row, 0)
        entry = table[first * 12 >> 32].item()
        hand.append(first * 12 >> 32 if second <= entry >> 32 & 0xFFFFFFFF else entry & 0xFFFFFFFF)
    found = philox.lots(philox.key_tensor([seed]), 4, philox.Stream.BATCH, 200, table)
    assert found.tolist() == [hand]
    assert found.tolist() != philox.integers(philox.key_tensor([seed]), 4, 0, 200, 12).tolist()


def test_a_large_draw_has_the_shares_of_its_weights() -> None:
    weights, count = torch.tensor([1.0, 0.0, 5.0, 2.0, 2.0]), 200_000
    table = reference.alias_table(weights)
    for row in philox.lots(philox.key_tensor([1, 2]), 0, philox.Stream.BATCH, count, table):
        found, expected = torch.bincount(row, minlength=5).double(), count * weights.double() / 10
        assert found[1] == 0
        chi = ((found - expected).square() / expected)[weights > 0].sum()
        # 99.99 % quantile of chi-square with 3 degrees of freedom.
        assert chi < 21.1
