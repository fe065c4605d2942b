"""Statistics against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gtp_fast.studies import stats


def test_iqm_cuts_a_quarter_at_each_end() -> None:
    assert stats.iqm([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -100.0]) == pytest.approx(3.5)


def test_iqm_rounds_the_cut_down_when_the_count_is_no_multiple_of_four() -> None:
    assert stats.iqm([0.0, 1.0, 2.0, 3.0, 10.0]) == pytest.approx(2.0)
    assert stats.iqm([1.0, 2.0, 6.0]) == pytest.approx(3.0)
    assert stats.iqm([7.0]) == 7.0


def test_iqm_reduces_the_last_axis_only() -> None:
    assert stats.iqm(np.array([[0.0, 1.0, 3.0, 9.0], [4.0, 4.0, 4.0, 4.0]])).tolist() == [2.0, 4.0]


def test_interval_of_two_scores_spans_them() -> None:
    # Of the four equally likely resamples of (0, 1) one is all 0 and one all 1: both lie outside
    # the 2.5 % tails.
    assert stats.bootstrap_interval([[0.0, 1.0]], stats.mean) == (0.0, 1.0)


def test_interval_of_the_mean_agrees_with_the_binomial_law() -> None:
    # 100 coin flips resampled: the mean is binomial / 100, whose 2.5 % and 97.5 % quantiles are
    # 0.40 and 0.60.
    flips = [0.0] * 50 + [1.0] * 50
    low, high = stats.bootstrap_interval([flips], stats.mean, repetitions=20000)
    assert [low, high] == pytest.approx([0.40, 0.60], abs=0.011)


@pytest.mark.parametrize("seldom", [0.0, 1.0])
def test_intervals_leave_out_two_and_a_half_percent_at_each_end(seldom: float) -> None:
    # Of eight scores five are the same: a resample has these alone with chance (5/8)^8 = 2.3 %,
    # which is more than 2 % and less than 2.5 %, and all three others with a smaller one.
    scores, tie = [1.0 - seldom] * 5 + [seldom] * 3, [0.5, 0.5]
    inner = abs(1.0 - seldom - 1 / 8)
    for low, high in (
        stats.bootstrap_interval([scores], stats.mean, repetitions=200_000),
        stats.improvement_interval([scores], [tie], repetitions=200_000),
    ):
        assert (high if seldom == 0.0 else low) == inner


def test_bootstrap_never_mixes_strata() -> None:
    # Within each task all seeds agree, so resampling inside the tasks can change nothing.
    assert stats.bootstrap_interval([[0.0] * 5, [100.0] * 5], stats.mean) == (50.0, 50.0)


def test_one_seed_has_no_interval() -> None:
    assert all(math.isnan(edge) for edge in stats.bootstrap_interval([[3.0]]))


def test_a_task_of_one_seed_leaves_no_interval() -> None:
    # Nothing is known of its spread, which is part of that of all.
    assert np.isnan(stats.bootstrap_interval([[1.0, 2.0], [3.0]])).all()
    assert np.isnan(stats.improvement_interval([[3, 4]], [[1]])).all()
    assert np.isnan(stats.improvement_interval([[3, 4], [1, 2]], [[1, 2], [5]])).all()


def test_the_average_gives_every_task_one_weight() -> None:
    strata = [[0.0] * 5, [100.0, 50.0], [6.0]]
    average = stats.average(strata)
    assert average(np.concatenate(strata)) == 27.0
    assert average(np.array([[0.0] * 8, [1.0] * 5 + [3.0] * 2 + [8.0]])).tolist() == [0.0, 4.0]


def test_interval_is_the_same_twice() -> None:
    scores = [[1.0, 4.0, 2.0], [8.0, 5.0, 7.0]]
    assert stats.bootstrap_interval(scores, seed=3) == stats.bootstrap_interval(scores, seed=3)


def test_a_seed_chooses_the_resamples() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 1, 10))
    for one, other in (
        [stats.bootstrap_interval(scores[0], seed=seed) for seed in (0, 1)],
        [stats.improvement_interval(*scores, repetitions=99, seed=seed) for seed in (0, 1)],
    ):
        assert one != other


def test_probability_of_improvement_counts_pairs_and_halves_ties() -> None:
    # Task one: 3 of 4 pairs won, 1 tied; the other two: none won.
    assert stats.probability_of_improvement(
        [[2.0, 3.0], [0.0], [1.0]], [[1.0, 2.0], [5.0], [4.0]]
    ) == pytest.approx(0.875 / 3)


def test_the_interval_of_an_improvement_holds_what_resampling_reaches() -> None:
    # Every resample of (3, 4) beats every one of (1, 2).
    assert stats.improvement_interval([[3, 4]], [[1, 2]]) == (1.0, 1.0)
    # One seed against one says nothing of the spread; ties count half.
    assert np.isnan(stats.improvement_interval([[1]], [[2]])).all()
    assert stats.improvement_interval([[1, 1]], [[1, 1]]) == (0.5, 0.5)
    # One task always won and one always lost are half in every resample.
    assert stats.improvement_interval([[3, 4], [1, 2]], [[1, 2], [3, 4]]) == (0.5, 0.5)
    low, high = stats.improvement_interval([[0, 4]], [[1, 3]])
    assert low < stats.probability_of_improvement([[0, 4]], [[1, 3]]) == 0.5 < high


def test_the_interval_of_an_improvement_agrees_with_the_binomial_law() -> None:
    # Half of 100 runs beat both others: that chance is binomial / 100, and so is its complement.
    flips, even = [-1.0] * 50 + [1.0] * 50, [0.0, 0.0]
    for pair in (([flips], [even]), ([even], [flips])):
        assert stats.improvement_interval(*pair) == pytest.approx((0.40, 0.60), abs=0.011)
