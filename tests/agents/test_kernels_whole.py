"""The kernels that a whole update of GTP is made of, one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")
pytest.importorskip("gymnasium", reason="the agent's data package needs gymnasium")

from mlp_case import MlpCase
from triton_cases import (  # noqa: F401
    DEVICE,
    STEP,
    generator,
    poisoned_outputs,
    pytestmark,
    seeds,
)

from gtp_fast import reference
from gtp_fast.reference.philox import Stream


@pytest.mark.parametrize("law", ["uniform", "lognormal"])
@pytest.mark.parametrize(
    ("S", "B", "m", "v", "by_lots"),
    [(1, 1, 1, 1, False), (2, 63, 3, 2, False), (2, 63, 1, 1, True)],
)
def test_a_batch_is_what_its_parts_draw_one_by_one(
    S: int, B: int, m: int, v: int, by_lots: bool, law: str
) -> None:
    from gtp_fast.kernels import batch, gather, perturb, philox

    O, A, N = 5, 3, 41  # noqa: E741
    table = torch.randn(1000, 2 * O + A + 2, generator=generator(1)).to(DEVICE)
    nodes, step = reference.karras_nodes(N).to(DEVICE), torch.tensor(STEP, device=DEVICE)
    streams = (Stream.BATCH, Stream.TARGET, Stream.VALUE, Stream.TIME, Stream.NOISE)
    cdf = reference.lognormal_cdf(N).to(DEVICE) if law == "lognormal" else None
    weights = (2 * torch.randn(1000, generator=generator(2))).exp()
    lots = reference.alias_table((1e3 * weights).ceil().long()).to(DEVICE) if by_lots else None
    drawn = batch.draw_batch(
        table, (O, A, B), (m, v), nodes, N, seeds(S), step, streams, lots=lots, cdf=cdf
    )

    s, a, r, after, mask = gather.gather(table, O, A, seeds(S), step, Stream.BATCH, B, lots)
    counts = ((Stream.TARGET, m), (Stream.VALUE, v))
    noise = [philox.normals(seeds(S), step, stream, count * B, A) for stream, count in counts]
    states = torch.cat((after.repeat(1, m, 1), s.repeat(1, v, 1)), 1)
    for one, other in zip(drawn[:5], (states, torch.cat(noise, 1), a, r, mask), strict=True):
        assert torch.equal(one, other)
    parts = perturb.perturb(a, nodes, N, seeds(S), step, cdf=cdf)
    for name in perturb.Perturbed._fields[2:]:
        assert torch.equal(getattr(drawn.perturbed, name), parts[name]), name
    assert torch.equal(drawn.perturbed.actions[1], parts["a_t"])
    assert torch.equal(drawn.perturbed.row_fields[10], parts["out_u"])


@pytest.mark.parametrize("save", [True, False])
def test_a_pair_of_passes_is_each_of_them_alone(save: bool) -> None:
    from gtp_fast.kernels.mlp import mlp
    from gtp_fast.kernels.mlp_pair import mlp_pair

    one = MlpCase(4, 33, (5, 4), 24, 2, 3, "mish", "fp32")
    other = MlpCase(4, 50, (5, 4), 24, 2, 3, "mish", "fp32")
    other.flat = one.flat * 0.5
    pair = mlp_pair(one.inputs, other.inputs, one.flat, other.flat, (24, 3, 2), "fp32", save)
    for case, y in ((one, pair.y), (other, pair.other)):
        parts = case.flat.split([torch.Size(shape).numel() for shape in case.shapes], 1)
        views = [p.unflatten(1, shape) for p, shape in zip(parts, case.shapes, strict=True)]
        alone, saved = mlp(case.inputs, views[::2], views[1::2], save=save)
        assert torch.equal(y, alone)
        if save and case is one:
            assert torch.equal(pair.saved.hidden, saved.hidden)
            assert torch.equal(pair.saved.slopes, saved.slopes)


def stepped(losses: Tensor, diverged: Tensor, sums: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    from gtp_fast.kernels.step import take_step

    S, P = sums.shape[0], 1100
    buffers = tuple(torch.full((S, P), float(i + 1), device=DEVICE) for i in range(5))
    terms, norms = torch.full((2, S), -1.0, device=DEVICE), torch.full((S,), -1.0, device=DEVICE)
    take_step(
        buffers, sums, losses, terms, norms, torch.full((S,), 0.1, device=DEVICE), diverged,
        torch.tensor(6, device=DEVICE), 0.5, None, None, 0.0, (0.9, 0.999), 1e-8,
    )  # fmt: skip
    return list(buffers), terms, norms


def test_a_step_sums_losses_and_freezes_the_seeds_that_diverged() -> None:
    S = 5
    losses = torch.ones(2, S, 70, device=DEVICE)
    losses[1, 1, 69], losses[0, 2, 0] = torch.nan, torch.inf
    sums = torch.full((S, 3), 3.0, device=DEVICE)
    sums[3, 2] = torch.inf
    diverged = torch.tensor([-1, -1, -1, -1, 2], device=DEVICE)
    buffers, terms, norms = stepped(losses, diverged, sums)
    assert diverged.tolist() == [-1, 6, 6, 6, 2]
    assert terms[:, 0].tolist() == [70.0, 70.0] and norms[0] == 3.0
    for i, buffer in enumerate(buffers):
        assert (buffer[1:] == i + 1.0).all(), "a seed that diverged stays as it was"
        # The gradient is only read, and its square is the second moment already.
        assert (buffer[0] != i + 1.0).all() or i in (1, 3)


def test_metrics_are_summed_and_the_first_bad_step_is_kept() -> None:
    from gtp_fast.kernels.tally import tally

    metrics = torch.randn(5, 3, generator=generator(3)).to(DEVICE)
    metrics[0], metrics[1, 1] = torch.tensor([torch.nan, torch.inf, 1e30]), 11.0
    metrics[1, 2], metrics[4, 0] = -torch.inf, 1e9
    results = []
    for form in (tally, reference.tally):
        total = torch.ones(5, 3, device=DEVICE)
        limits = torch.tensor([torch.inf, 10.0], device=DEVICE)
        bad = torch.tensor([[-1, -1, -1], [-1, -1, 4]], device=DEVICE)
        step = torch.tensor(9, device=DEVICE)
        form(metrics, total, limits, bad, step, True)
        results.append((total.nan_to_num(3.0), bad, step))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    assert results[0][1].tolist() == [[9, 9, -1], [-1, 9, 4]] and results[0][2] == 10
