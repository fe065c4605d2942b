"""Numbers as they are printed."""

from __future__ import annotations

from gtp_fast.system.numbers import many, mean_and_deviation


def test_one_is_no_plural() -> None:
    assert [many(n, "seed") for n in (0, 1, 2, 1000)] == [
        "0 seeds", "1 seed", "2 seeds", "1,000 seeds",
    ]  # fmt: skip


def test_one_value_has_no_deviation_and_several_have_that_of_a_sample() -> None:
    assert mean_and_deviation([3.788], 3, 8) == "   3.788"
    # (1 + 0 + 1) / (3 - 1) = 1.
    assert mean_and_deviation([2.0, 3.0, 4.0], 1) == "3.0 +- 1.0"
