"""The sums of metrics in native code."""

from __future__ import annotations

import pytest
import torch

from gtp_fast import reference
from gtp_fast.ops import tally
from gtp_fast.system import native

pytestmark = pytest.mark.skipif(not native.available(), reason=native.missing())


def test_metrics_are_summed_and_the_first_bad_step_is_kept() -> None:
    metrics = torch.randn(5, 3)
    metrics[0], metrics[1, 1] = torch.tensor([torch.nan, torch.inf, 1e30]), 11.0
    metrics[1, 2], metrics[4, 0] = -torch.inf, 1e9
    results = []
    for form in (tally.native_tally, reference.tally):
        total, limits = torch.ones(5, 3), torch.tensor([torch.inf, 10.0])
        bad = torch.tensor([[-1, -1, -1], [-1, -1, 4]])
        step = torch.tensor(9)
        form(metrics, total, limits, bad, step, True)
        results.append((total.nan_to_num(3.0), bad, step))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    assert results[0][1].tolist() == [[9, 9, -1], [-1, 9, 4]] and results[0][2] == 10
