"""The Triton form of the sums of metrics against the reference."""

from __future__ import annotations

import pytest
import torch
from triton_cases import DEVICE, normal, poisoned_outputs, pytestmark  # noqa: F401

from gtp_fast import reference


@pytest.mark.parametrize("S", [1, 300])
def test_metrics_of_more_seeds_than_a_block_holds_are_summed(S: int) -> None:
    from gtp_fast.kernels.tally import tally

    # A loss at its limit is sound.
    limits, results = torch.tensor([1.0, float(normal(2, 5, S)[1, 0].abs())], device=DEVICE), []
    for form in (tally, reference.tally):
        total, bad = normal(1, 5, S), torch.full((2, S), -1, device=DEVICE)
        step = torch.tensor(9, device=DEVICE)
        for update in range(3):
            form(normal(2 + update, 5, S), total, limits, bad, step, True)
        results.append((total, bad, step))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_an_integer_step_is_not_advanced() -> None:
    from gtp_fast.kernels.tally import tally

    metrics, total = normal(3, 4, 2), torch.zeros(4, 2, device=DEVICE)
    bad = torch.full((1, 2), -1, device=DEVICE)
    tally(metrics, total, torch.zeros(1, device=DEVICE), bad, 9, True)
    assert torch.equal(total, metrics) and (bad == 9).all()


def test_a_step_that_accounts_adds_up_what_the_tally_does() -> None:
    from gtp_fast.kernels import step, tally

    S, P = 4, 1100
    metrics = normal(3, 6, S)
    metrics[0, 3], losses = 99.0, normal(4, 2, S, 7).abs().clamp(max=1.0)
    # The last seed has diverged before, and its losses are still bad.
    losses[1, 2, 6] = losses[0, 3, 1] = torch.nan
    limits = torch.tensor([5.0, torch.inf, 7.5], device=DEVICE)
    results = []
    for accounts in (True, False):
        total = torch.ones(6, S, device=DEVICE)
        bad = torch.tensor([[-1] * S, [-1] * S, [-1, 2, -1, -1]], device=DEVICE)
        buffers = [torch.full((S, P), float(i + 1), device=DEVICE) for i in range(5)]
        diverged = torch.tensor([-1, -1, -1, 2], device=DEVICE)
        at = torch.tensor(7, device=DEVICE)
        account = tally.Account(metrics, total, limits, bad, 1, 4)
        step.take_step(
            tuple(buffers), torch.full((S, 3), 3.0, device=DEVICE), losses, metrics[1:3],
            metrics[4], torch.full((S,), 0.1, device=DEVICE), diverged, at + int(accounts), 0.5,
            None, None, 0.0, (0.9, 0.999), 1e-8, account=account if accounts else None,
        )  # fmt: skip
        if not accounts:
            reference.tally(metrics, total, limits, bad, 7)
        results.append([*buffers, diverged, total.nan_to_num(3.0), bad])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    assert results[0][-1].tolist() == [[-1, -1, -1, 7], [-1, -1, -1, 7], [-1, 2, 7, -1]]
    assert results[0][5].tolist() == [-1, -1, 7, 2]


def test_tally_refuses_totals_of_another_shape() -> None:
    from gtp_fast.kernels.tally import tally

    metrics, limits = torch.zeros(5, 2, device=DEVICE), torch.zeros(2, device=DEVICE)
    bad = torch.zeros(2, 3, dtype=torch.int64, device=DEVICE)
    with pytest.raises(ValueError, match="totals of 5 metrics and 2 losses do not fit 2 seeds"):
        tally(metrics, metrics, limits, bad, 0)
