"""The kernels that a whole update of GTP is made of, one by one."""

from __future__ import annotations

import ctypes
import dataclasses

import emulated
import numpy as np
import pytest
import torch
from folded import Folded, Form, Sizes
from rounded import RoundedProducts
from tolerance import assert_as_accurate
from torch import Tensor

pytest.importorskip("triton")
pytest.importorskip("gymnasium", reason="the agent's data package needs gymnasium")

from agent_cases import TINY
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
from gtp_fast.agents.gtp import GTP
from gtp_fast.agents.setup import Setup
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


def folding_agent(dtype: torch.dtype, width: int = 24) -> GTP:
    config = dataclasses.replace(TINY, width=width, depth=3, k=5, eta=(1.0, 2.0))
    made = GTP(config, Setup(5, 3, (3, 5), DEVICE, "reference", dtype))
    made.actor.average.flat.mul_(1.25)
    return made


def test_a_policy_is_folded_and_times_are_embedded_as_the_network_does() -> None:
    from gtp_fast.kernels.fold import fold

    plain, exact = folding_agent(torch.float32), folding_agent(torch.float64)
    actor, S, B, K = plain.actor, 2, 70, 5
    levels = [torch.randn(S, n, 2, generator=generator(n)).to(DEVICE) for n in (2 * B, B)]
    times = plain.times[:-1], plain.times[1:]
    steps = torch.stack([reference.noise_level(t, plain.config.t_min) for t in times], -1)
    flat = torch.full((plain.folded().flatten().numel() - 7 * K,), torch.nan, device=DEVICE)
    sizes = (5, 3, 24, 3)
    student, teacher = fold(
        actor.parameters.flat, actor.average.flat, sizes, (16, 32), steps, flat, (24, 3), *levels
    )
    policies = [made.folded().flatten()[: -7 * K] for made in (plain, exact)]
    assert_as_accurate("policy", flat, *policies)
    for name, fast, level, views in (
        ("student", student, levels[0], lambda made: made.actor.views),
        ("teacher", teacher, levels[1], lambda made: made.actor.average_views),
    ):
        both = [m.network.embed(views(m), level.to(m.dtype)).detach() for m in (plain, exact)]
        assert_as_accurate(name, fast, *both)

    # Padded rows hold the same, and what lies between stays as it was.
    rows = [(3, 24), (5, 24), (K, 24), *[(24, 24)] * 2, *[(1, 24)] * 2, (24, 3), (1, 3)]
    count = S * sum(n * {24: 28, 3: 4}[length] for n, length in rows)
    padded = torch.full((count,), 7.0, device=DEVICE)
    fold(
        actor.parameters.flat, actor.average.flat, sizes, (16, 32), steps, padded, (28, 4), *levels
    )
    wide = narrow = 0
    for n, length in rows:
        longer = {24: 28, 3: 4}[length]
        part = padded[wide : wide + S * n * longer].view(-1, longer)
        assert torch.equal(part[:, :length].flatten(), flat[narrow : narrow + S * n * length])
        assert (part[:, length:] == 7.0).all()
        wide, narrow = wide + S * n * longer, narrow + S * n * length


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The sampler's source compiled for the host."""
    if reason := emulated.missing():
        pytest.skip(reason)
    return emulated.build(tmp_path_factory.mktemp("emulation"))


@pytest.mark.parametrize(("precision", "width"), [("bf16", 24), ("bf16", 150), ("tf32", 24)])
def test_weights_are_packed_as_the_sampler_packs_them(
    emulator: ctypes.CDLL, precision: str, width: int
) -> None:
    from gtp_fast.kernels import fold, folded

    made, wide = folding_agent(torch.float32, width), -(-width // 4) * 4
    sizes, actor = (5, 3, width, 3), made.actor
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    flat = torch.zeros(folded.starts(2, sizes, 5, (wide, 4)).end, device=DEVICE)
    units = torch.zeros(folded.units_of(2, sizes, kind).count, dtype=kind, device=DEVICE)
    levels = [torch.randn(*shape, device=DEVICE) for shape in ((5, 2), (2, 4, 2), (2, 2, 2))]
    fold.fold(
        actor.parameters.flat, actor.average.flat, sizes, (16, 32), levels[0], flat, (wide, 4),
        *levels[1:], units,
    )  # fmt: skip
    policy = Folded(Sizes(S=2, O=5, A=3, H=width, L=3, K=5))
    wanted = emulated.pack(emulator, policy, precision, flat.cpu())
    assert np.array_equal(units.cpu().view(torch.uint8).numpy(), wanted) and wanted.any()


@pytest.mark.parametrize(("precision", "plans"), [("bf16", 6), ("tf32", 5)])
def test_a_sampler_reads_what_the_fold_has_packed(
    emulator: ctypes.CDLL, precision: str, plans: int
) -> None:
    from gtp_fast.kernels import fold, folded

    plain, exact = folding_agent(torch.float32), folding_agent(torch.float64)
    sizes, policy = (5, 3, 24, 3), plain.folded()
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    schedule = torch.cat(policy.schedule)
    end = folded.starts(2, sizes, 5, (24, 4)).end
    flat = torch.cat((torch.zeros(end, device=DEVICE), schedule))
    units = torch.zeros(folded.units_of(2, sizes, kind).count, dtype=kind, device=DEVICE)
    times = [torch.zeros(2, n, 2, device=DEVICE) for n in (2, 1)]
    fold.fold(
        plain.actor.parameters.flat, plain.actor.average.flat, sizes, (16, 32),
        plain.step_levels(), flat, (24, 4), *times, units,
    )  # fmt: skip
    form = Form(policy.activation, policy.clamp, squash=policy.squash)
    shape = Folded(Sizes(S=2, O=5, A=3, H=24, L=3, K=5), form=form)
    shape.initial_scale = policy.initial_scale
    observation, noise, _ = shape.inputs(24)
    weights = [x.cpu().view(torch.uint8).numpy() for x in (flat, units, policy.flatten())]
    rows = torch.tensor(observation), torch.tensor(noise)
    with RoundedProducts(precision):
        rounded = reference.folded_sample(policy.to("cpu"), *rows)
    truth = reference.folded_sample(exact.folded().to("cpu"), *(x.double() for x in rows))
    for number in range(plans):
        out, count = emulated.run_taken(
            emulator, shape, precision, (observation, noise), weights, (24, 232448, 90), number
        )
        assert count == plans and np.array_equal(out[0], out[1])
        for name, actions in zip(("lent", "packed", "loaded"), out, strict=True):
            assert_as_accurate(f"{name}, plan {number}", torch.tensor(actions), rounded, truth)


@pytest.mark.parametrize("law", ["uniform", "lognormal"])
def test_an_update_begins_at_once_as_it_does_in_two_launches(law: str) -> None:
    from gtp_fast.kernels import batch, begin, fold

    made, N = folding_agent(torch.float32), 11
    actor, step = made.actor, torch.tensor(STEP, device=DEVICE)
    table = torch.randn(500, 15, generator=generator(1)).to(DEVICE)
    nodes = reference.karras_nodes(N).to(DEVICE)
    laws = {"u_mode": "uniform"}
    if law == "lognormal":
        laws = {"cdf": reference.lognormal_cdf(N).to(DEVICE)}
    streams = (Stream.BATCH, Stream.TARGET, Stream.VALUE, Stream.TIME, Stream.NOISE)
    of_batch = (table, (5, 3, 70), (1, 2), nodes, N, seeds(2), step, streams)
    levels = torch.randn(5, 2, generator=generator(2)).to(DEVICE)
    flats = [torch.zeros(made.folded().flatten().numel(), device=DEVICE) for _ in range(2)]
    of_fold = [
        (actor.parameters.flat, actor.average.flat, (5, 3, 24, 3), (16, 32), levels, x, (24, 3))
        for x in flats
    ]
    drawn, embedded = begin.begin((of_batch, laws), of_fold[0])
    apart = batch.draw_batch(*of_batch, **laws)
    times = apart.perturbed.student_levels, apart.perturbed.teacher_levels
    alone = fold.fold(*of_fold[1], *times)
    assert torch.equal(*flats) and flats[0].any()
    pairs = [*zip(drawn[:5], apart[:5], strict=True), *zip(embedded, alone, strict=True)]
    pairs += zip(drawn.perturbed, apart.perturbed, strict=True)
    for one, other in pairs:
        assert torch.equal(one, other)


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
        torch.tensor(6, device=DEVICE), 0.5, None, None, (0.9, 0.999), 1e-8,
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
