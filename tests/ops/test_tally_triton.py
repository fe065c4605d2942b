"""The Triton form of the sums of metrics against the reference."""

from __future__ import annotations

import pytest
import torch
from triton_cases import DEVICE, normal, poisoned_outputs, pytestmark  # noqa: F401

from gtp_fast import reference


@pytest.mark.parametrize("S", [1, 300])
def test_metrics_of_more_seeds_than_a_block_holds_are_summed(S: int) -> None:
    from gtp_fast.kernels.tally import tally

    limits, results = torch.tensor([1.0, 0.5], device=DEVICE), []
    for form in (tally, reference.tally):
        total, bad = normal(1, 5, S), torch.full((2, S), -1, device=DEVICE)
        step = torch.tensor(9, device=DEVICE)
        for update in range(3):
            form(normal(2 + update, 5, S), total, limits, bad, step, True)
        results.append((total, bad, step))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_tally_refuses_totals_of_another_shape() -> None:
    from gtp_fast.kernels.tally import tally

    metrics, limits = torch.zeros(5, 2, device=DEVICE), torch.zeros(2, device=DEVICE)
    bad = torch.zeros(2, 3, dtype=torch.int64, device=DEVICE)
    with pytest.raises(ValueError, match="totals of 5 metrics and 2 losses do not fit 2 seeds"):
        tally(metrics, metrics, limits, bad, 0)
