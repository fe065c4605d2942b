"""The K-step sampler: exact maps, the folded policy, then the native form on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from folded import FORMS, Folded, Form, Sizes
from native_cases import needs_native
from on_arrays import FLOAT_ISAS, ISAS, OnArrays
from oracles import TWO_MODES, Mixture, judge, normal_scores, solve
from tolerance import assert_as_accurate

from gtp_fast import networks, reference
from gtp_fast.networks.parameters import Parameters, initialise
from gtp_fast.reference import philox

UNEVEN = Mixture((0.3, 0.7), (-0.7, 0.5), (0.15, 0.1))


def tensor(x: object) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


def exact_phi(mixture: Mixture):
    def phi(x: torch.Tensor, t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        ratio = float(s) / float(t)
        moved = mixture.flow(x.numpy(), float(t), float(s))
        return (tensor(moved) - ratio * x) / (1 - ratio)

    return phi


@pytest.mark.parametrize("steps", [1, 2, 5, 16])
def test_sampler_with_the_exact_map_gives_the_data_law(steps: int) -> None:
    noise = tensor(normal_scores(2001))[None, :, None]
    times = reference.sampling_times(steps, dtype=torch.float64)
    drawn = reference.sample(exact_phi(TWO_MODES), noise, times, clip=None)[0, :, 0].numpy()
    assert drawn == pytest.approx(
        TWO_MODES.flow(80.0 * noise[0, :, 0].numpy(), 80.0, 0.0), abs=1e-8
    )
    shape = judge(drawn)
    assert shape.distance < 2e-4
    assert shape.middle == pytest.approx(0.0098, abs=6e-4)


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_sampler_with_the_denoiser_is_euler(steps: int) -> None:
    noise = tensor(normal_scores(101))[None, :, None]
    grid = tensor(np.append(np.geomspace(10.0, 0.1, steps), 0.0))
    drawn = reference.sample(
        lambda x, t, s: tensor(UNEVEN.denoiser(x.numpy(), float(t))), noise, grid, clip=None
    )
    x = 10.0 * noise.numpy()
    for t, s in zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True):
        x = solve(UNEVEN.field, x, t, s, 1, 1)
    assert drawn.numpy() == pytest.approx(x, abs=1e-12)


def test_sampler_clips_only_its_result() -> None:
    noise = tensor([[[-3.0], [0.001], [3.0]]])
    times = tensor([80.0, 1.0, 0.0])
    seen = []

    def phi(x: torch.Tensor, t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        seen.append(x.abs().max().item())
        return x

    assert reference.sample(phi, noise, times).flatten().tolist() == [-1.0, 0.08, 1.0]
    assert reference.sample(phi, noise, times, clip=0.05).flatten().tolist() == [-0.05, 0.05, 0.05]
    assert reference.sample(phi, noise, times, clip=None).abs().max() == 240.0
    assert seen == [240.0] * 6


@pytest.mark.parametrize("kind", reference.PRECONDITIONINGS)
@pytest.mark.parametrize(("depth", "steps"), [(1, 1), (2, 5), (3, 2)])
def test_folded_sampler_is_the_sampler_through_the_network(kind, depth, steps) -> None:
    seeds, rows, observed, acted = 3, 7, 4, 2
    network = networks.FlowMapNetwork(observed, acted, 8, depth, reference.mlp)
    keys = philox.key_tensor(range(seeds))
    parameters = Parameters(seeds, network.shapes(), torch.device("cpu"), torch.float64)
    initialise(parameters, keys, (0,))
    times = reference.sampling_times(steps, dtype=torch.float64)
    observation = philox.normals(keys, 0, 5, rows, observed, torch.float64)
    noise = philox.normals(keys, 0, 6, rows, acted, torch.float64)

    def phi(a: torch.Tensor, t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        skip, out, scale = reference.precondition(t, kind)
        levels = torch.stack((reference.noise_level(t, 0.002), reference.noise_level(s, 0.002)))
        levels = levels.expand(seeds, rows, 2)
        output = network(parameters.views, scale * a, levels, observation)
        return reference.clean_action(a, output, skip.expand(seeds, rows), out.expand(seeds, rows))

    with torch.no_grad():
        plain = reference.sample(phi, noise, times)
    policy = network.fold(
        parameters.views, tuple(times.tolist()), kind=kind, sigma_data=0.5, t_min=0.002
    )
    folded = reference.folded_sample(policy, observation, noise)
    assert not plain.abs().eq(1).all()
    assert torch.allclose(folded, plain, rtol=1e-11, atol=1e-12)
    alone = reference.folded_sample(policy.select(1), observation[1:2], noise[1:2])
    assert torch.allclose(alone, folded[1:2], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("form", [Form(), *FORMS], ids=str)
def test_folded_sampler_is_its_definition_in_every_form(form: Form) -> None:
    policy = Folded(Sizes(S=2, A=3, H=20, K=4), form=form)
    observation, noise, _ = policy.inputs(9)
    folded = policy.policy()
    result = reference.folded_sample(folded.to(torch.float64), tensor(observation), tensor(noise))
    assert folded.draws == (4 if form.stochastic else 1)
    assert result.numpy() == pytest.approx(policy.exact(observation, noise), abs=1e-13)
    assert not result.abs().eq(1).all()


# --- native --------------------------------------------------------------------------------------


def check(policy: Folded, rows: int, isa: str = "", threads: int = 1) -> None:
    # One number of plain PyTorch can be exact by luck: a few dozen rows judge, batch by batch.
    batches = -(-48 // rows)
    observation, noise, out = policy.inputs(batches * rows)
    run = OnArrays(policy, isa)
    for first in range(0, batches * rows, rows):
        part = [x[:, first : first + rows].copy() for x in (observation, out)]
        run.sample(part[0], noise[..., first : first + rows, :].copy(), part[1], threads)
        out[:, first : first + rows] = part[1]
    exact, plain = policy.exact(observation, noise), policy.plain(observation, noise)
    assert_as_accurate(f"actions {policy.sizes} B={rows} {isa}", out, plain, exact)


@needs_native
@pytest.mark.parametrize("isa", FLOAT_ISAS)
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 13, 47, 48, 49, 63, 255, 256, 257, 1000])
def test_batches(rows: int, isa: str) -> None:
    check(Folded(Sizes(H=128, K=2)), rows, isa)


@needs_native
@pytest.mark.parametrize("isa", FLOAT_ISAS)
@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize(
    "sizes",
    [Sizes(A=a, H=32, K=2) for a in (1, 3, 6, 8, 17, 64)]
    + [Sizes(O=o, H=32, K=2) for o in (1, 11, 17, 27, 29, 105, 400)]
    + [Sizes(H=h, K=2) for h in (1, 5, 32, 100, 128, 256, 300)]
    + [Sizes(L=n, H=32) for n in (1, 2, 8)]
    + [Sizes(K=k, H=32) for k in (1, 2, 5, 64)]
    + [Sizes(S=3, O=11, A=3, H=100), Sizes(S=2, O=1, A=1, H=1, L=1, K=1), Sizes()],
    ids=str,
)
def test_shapes(sizes: Sizes, rows: int, isa: str) -> None:
    check(Folded(sizes), rows, isa)


@needs_native
@pytest.mark.parametrize("isa", FLOAT_ISAS)
@pytest.mark.parametrize("rows", [1, 13, 100])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_forms(form: Form, rows: int, isa: str) -> None:
    check(Folded(Sizes(S=2, A=3, H=36, K=4), form=form), rows, isa)


@needs_native
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("form", [Form("mish"), *FORMS], ids=str)
def test_instruction_sets_with_a_fused_multiply_add_give_the_same_bits(
    form: Form, precision: str
) -> None:
    fused = [isa for isa in ISAS if isa != "portable"]
    if len(fused) < 2:
        pytest.skip(f"needs two instruction sets with a fused multiply-add; here: {fused}")
    for sizes in (Sizes(S=2, A=9, H=70, K=3), Sizes(H=256)):
        policy = Folded(sizes, form=form)
        observation, noise, first = policy.inputs(50)
        OnArrays(policy, fused[0], precision).sample(observation, noise, first)
        for isa in fused[1:]:
            again = np.full_like(first, np.nan)
            OnArrays(policy, isa, precision).sample(observation, noise, again, 2)
            assert np.array_equal(first, again), isa


@needs_native
def test_a_large_batch_on_threads_of_its_own() -> None:
    check(Folded(Sizes(S=2, H=32, K=1)), 65536, threads=2)


@needs_native
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("isa", ISAS)
def test_a_rows_bits_depend_on_nothing_but_the_row(isa: str, precision: str) -> None:
    policy = Folded(Sizes(S=2, A=17, H=100))
    run = OnArrays(policy, isa, precision)
    observation, noise, once = policy.inputs(257)
    run.sample(observation, noise, once, 1)
    for threads in (1, 2, 3, 64):
        again = np.full_like(once, np.nan)
        run.sample(observation, noise, again, threads)
        assert np.array_equal(once, again)
    for row in (0, 100, 256):
        alone = np.full((2, 1, 17), np.nan, np.float32)
        pick = slice(row, row + 1)
        run.sample(observation[:, pick].copy(), noise[:, pick].copy(), alone)
        assert np.array_equal(alone, once[:, pick])


@needs_native
def test_a_seed_among_others_equals_it_alone() -> None:
    policy, one = Folded(Sizes(S=3, H=64)), Folded(Sizes(S=1, H=64))
    for name in ("first_action", "first_observation", "step_bias", "last_weight", "last_bias"):
        setattr(one, name, getattr(policy, name)[2:])
    one.hidden, one.hidden_bias = (
        [w[2:] for w in policy.hidden],
        [b[2:] for b in policy.hidden_bias],
    )
    one.c_in, one.keep, one.gain = policy.c_in, policy.keep, policy.gain
    observation, noise, out = policy.inputs(9)
    OnArrays(policy).sample(observation, noise, out)
    alone = np.full_like(out[2:], np.nan)
    OnArrays(one).sample(observation[2:].copy(), noise[2:].copy(), alone)
    assert np.array_equal(out[2:], alone)


@needs_native
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_loading_again_equals_a_fresh_sampler(precision: str) -> None:
    sizes = Sizes(S=2, A=3, H=100)
    first, second = Folded(sizes, seed=0), Folded(sizes, seed=1)
    observation, noise, fresh = first.inputs(5)
    OnArrays(second, precision=precision).sample(observation, noise, fresh)
    used = OnArrays(first, precision=precision)
    used.sample(observation, noise, np.empty_like(noise))
    used.load(second)
    again = np.full_like(noise, np.nan)
    used.sample(observation, noise, again)
    assert np.array_equal(fresh, again)


@needs_native
def test_the_flat_order_is_that_of_the_folded_policy() -> None:
    policy = Folded(Sizes(S=2, A=3, H=20))
    assert np.array_equal(policy.policy().flatten().numpy(), policy.flat())


@needs_native
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("form", [Form(), *FORMS], ids=str)
def test_nan_goes_through_and_no_row_touches_another(form: Form, precision: str, isa: str) -> None:
    policy = Folded(Sizes(S=2, A=3, H=36, K=3), form=form)
    observation, noise, out = policy.inputs(9)
    run, before = OnArrays(policy, isa, precision), np.full_like(out, np.nan)
    run.sample(observation, noise, before)
    observation[1, 3, 2] = np.nan
    run.sample(observation, noise, out)
    assert np.isnan(out[1, 3]).all()
    out[1, 3] = before[1, 3]
    assert np.array_equal(out, before)


@needs_native
@pytest.mark.parametrize("isa", FLOAT_ISAS)
def test_squash_is_tanh_everywhere_and_keeps_a_nan(isa: str) -> None:
    """A policy whose phi is its noise."""
    values = [0.0, 1e-30, 1e-6, 1e-3, 0.3, 0.5, 1.0, 3.0, 9.0, 10.0, 44.0, 1e4, 1e38]
    x = np.concatenate([values, np.negative(values), np.linspace(-6, 6, 1001)]).astype(np.float32)
    policy = Folded(Sizes(O=1, A=1, H=4, K=1, L=1), form=Form("relu", squash=True))
    policy.initial_scale = 1.0
    policy.keep[:], policy.gain[:], policy.skip[:], policy.out[:] = 0, 1, 1, 0
    policy.c_in[:] = 0
    noise = x[None, :, None]
    observation, out = np.zeros_like(noise), np.full_like(noise, np.nan)
    OnArrays(policy, isa).sample(observation, noise, out)
    exact = np.tanh(noise.astype(np.float64))
    assert_as_accurate(f"tanh {isa}", out, torch.tensor(noise).tanh(), exact)
    assert (np.diff(out[0, -1001:, 0]) >= 0).all() and np.abs(out).max() == 1
    observation[:] = np.nan
    OnArrays(policy, isa).sample(observation, noise, out)
    assert np.isnan(out).all()


@needs_native
def test_actions_are_clipped() -> None:
    policy = Folded(Sizes(H=64, K=1))
    policy.gain[:] = 50.0
    observation, noise, out = policy.inputs(100)
    OnArrays(policy).sample(observation, noise, out)
    assert out.max() == 1.0 and out.min() == -1.0


@needs_native
def test_an_empty_batch_is_no_error() -> None:
    policy = Folded(Sizes(H=32))
    observation, noise, out = policy.inputs(0)
    OnArrays(policy).sample(observation, noise, out)
