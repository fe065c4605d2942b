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
    strata = [[0.0] * 5, [100.0, 50.0]]
    average = stats.average(strata)
    assert average(np.concatenate(strata)) == 37.5
    assert average(np.array([[0.0] * 7, [1.0] * 5 + [3.0] * 2])).tolist() == [0.0, 2.0]


def test_interval_is_the_same_twice() -> None:
    scores = [[1.0, 4.0, 2.0], [8.0, 5.0, 7.0]]
    assert stats.bootstrap_interval(scores, seed=3) == stats.bootstrap_interval(scores, seed=3)


def test_probability_of_improvement_counts_pairs_and_halves_ties() -> None:
    # Task one: 3 of 4 pairs won, 1 tied; task two: none won.
    assert stats.probability_of_improvement(
        [[2.0, 3.0], [0.0]], [[1.0, 2.0], [5.0]]
    ) == pytest.approx(0.4375)


def test_the_interval_of_an_improvement_holds_what_resampling_reaches() -> None:
    # Every resample of (3, 4) beats every one of (1, 2).
    assert stats.improvement_interval([[3, 4]], [[1, 2]]) == (1.0, 1.0)
    # One seed against one says nothing of the spread; ties count half.
    assert np.isnan(stats.improvement_interval([[1]], [[2]])).all()
    assert stats.improvement_interval([[1, 1]], [[1, 1]]) == (0.5, 0.5)
    low, high = stats.improvement_interval([[0, 4]], [[1, 3]])
    assert low < stats.probability_of_improvement([[0, 4]], [[1, 3]]) == 0.5 < high


def test_the_interval_of_an_improvement_agrees_with_the_binomial_law() -> None:
    # Half of 100 runs beat both others: that chance is binomial / 100, and so is its complement.
    flips, even = [-1.0] * 50 + [1.0] * 50, [0.0, 0.0]
    for pair in (([flips], [even]), ([even], [flips])):
        assert stats.improvement_interval(*pair) == pytest.approx((0.40, 0.60), abs=0.011)
