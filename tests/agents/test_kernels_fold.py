"""The policy folded and packed by Triton's kernels, and the sampler that reads it."""

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

pytest.importorskip("triton")
pytest.importorskip("gymnasium", reason="the agent's data package needs gymnasium")

from agent_cases import TINY
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
