"""Sums of metrics and the first bad step of each loss: by hand, in every form."""

from __future__ import annotations

import math

import pytest
import torch
from native_cases import needs_native

from gtp_fast import reference
from gtp_fast.ops import tally

NAN, INF = math.nan, math.inf
# Two losses and one other metric of three seeds, in three updates.
UPDATES = (
    ((1.0, NAN, 2.0), (3.0, 4.0, -11.0), (1e9, 5.0, 6.0)),
    ((1.0, 1.0, INF), (10.0, -10.0, 0.0), (7.0, NAN, 8.0)),
    ((-INF, NAN, 1e30), (10.5, 0.0, 12.0), (0.5, 0.25, -6.0)),
)
LIMITS = (INF, 10.0)
FORMS = pytest.mark.parametrize(
    "form", [reference.tally, pytest.param(tally.native_tally, marks=needs_native)]
)


@FORMS
def test_metrics_are_summed_and_the_step_of_the_first_bad_loss_stays(form) -> None:
    total, bad = torch.full((3, 3), 0.5), torch.full((2, 3), -1)
    step = torch.tensor(9)
    for update in UPDATES:
        form(torch.tensor(update), total, torch.tensor(LIMITS), bad, step, True)
    # A loss may be as large as its limit, of either sign; what is no loss is never judged.
    assert bad.tolist() == [[11, 9, 10], [11, -1, 9]]
    assert step == 12
    expected = torch.tensor([[-INF, NAN, INF], [24.0, -5.5, 1.5], [1e9, NAN, 8.5]])
    assert torch.equal(total.nan_to_num(7.0), expected.nan_to_num(7.0))


@FORMS
def test_a_step_is_counted_on_only_where_that_is_asked_for(form) -> None:
    metrics, limits = torch.ones(2, 1), torch.zeros(1)
    for step in (torch.tensor(4), 4):
        total, bad = torch.zeros(2, 1), torch.full((1, 1), -1)
        form(metrics, total, limits, bad, step)
        assert (step, bad.item()) == (4, 4) and torch.equal(total, metrics)
    form(metrics, total, limits, bad, 4, True)
    assert torch.equal(total, 2 * metrics), "an integer is not advanced, nor refused"


@FORMS
def test_a_loss_that_is_bad_at_step_zero_stays_so(form) -> None:
    bad = torch.full((1, 1), -1)
    for step in range(2):
        form(torch.ones(1, 1), torch.zeros(1, 1), torch.zeros(1), bad, step)
    assert bad.item() == 0


@needs_native
def test_buffers_with_gaps_are_refused() -> None:
    wide, bad = torch.zeros(3, 6), torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="must be contiguous"):
        tally.native_tally(torch.zeros(3, 3), wide[:, ::2], torch.zeros(2), bad, 0)
