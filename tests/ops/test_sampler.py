"""The native sampler on the CPU: comparison rule, shapes, instruction sets, checks."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from folded import FORMS, Folded, Form, Sizes
from on_arrays import OnArrays, instruction_sets
from tolerance import assert_as_accurate

from gtp_fast.errors import UserError
from gtp_fast.ops import philox as native_philox
from gtp_fast.ops import sampler
from gtp_fast.reference import philox
from gtp_fast.system import native

pytestmark = pytest.mark.skipif(not native.available(), reason=native.missing())
ISAS = instruction_sets()
# The others differ in bf16 or int8 only.
FLOAT_ISAS = [isa for isa in ISAS if isa not in ("avx512vnni", "avx512bf16")]


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


@pytest.mark.parametrize("isa", FLOAT_ISAS)
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 13, 47, 48, 49, 63, 255, 256, 257, 1000])
def test_batches(rows: int, isa: str) -> None:
    check(Folded(Sizes(H=128, K=2)), rows, isa)


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


@pytest.mark.parametrize("isa", FLOAT_ISAS)
@pytest.mark.parametrize("rows", [1, 13, 100])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_forms(form: Form, rows: int, isa: str) -> None:
    check(Folded(Sizes(S=2, A=3, H=36, K=4), form=form), rows, isa)


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


def test_a_large_batch_on_threads_of_its_own() -> None:
    check(Folded(Sizes(S=2, H=32, K=1)), 65536, threads=2)


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


def test_the_flat_order_is_that_of_the_folded_policy() -> None:
    policy = Folded(Sizes(S=2, A=3, H=20))
    assert np.array_equal(policy.policy().flatten().numpy(), policy.flat())


@pytest.mark.parametrize("rows", [1, 7, 100])
@pytest.mark.parametrize("form", [Form(), Form(stochastic=True)], ids=str)
def test_act_draws_its_noise_by_counter(form: Form, rows: int) -> None:
    policy = Folded(Sizes(A=6, H=64), form=form)
    observation, noise, out = policy.inputs(rows)
    key, draws = 2**63 + 12345, noise.reshape(-1, 6)
    stream = philox.Stream.ACT
    draws[:] = native_philox.native_normals(philox.key_tensor([key]), 77, stream, *draws.shape)[
        0
    ].numpy()
    run = OnArrays(policy)
    run.sample(observation, noise, out)
    for threads in (1, 3):
        acted = np.full_like(out[0], np.nan)
        run.act(observation[0], acted, key, 77, threads)
        assert np.array_equal(acted, out[0])


def test_one_action_is_the_first_of_a_batch() -> None:
    policy = Folded(Sizes(A=6, H=64), form=Form(stochastic=True))
    observation, _, out = policy.inputs(1)
    rows = observation[0]
    for made in (
        sampler.NativeSampler(policy.policy()),
        sampler.ReferenceSampler(policy.policy()),
    ):
        made.act(rows, out[0], 5, 9)
        action = made.action(rows[0], 5, 9)
        assert action is not None and np.array_equal(action, out[0, 0])
        assert made.action(rows[0].astype(np.float64), 5, 9) is None
        assert made.action(np.repeat(rows[0], 2)[::2], 5, 9) is None
        for bad in (np.nan, -np.inf):
            spoilt = rows[0].copy()
            spoilt[7] = bad
            assert made.action(spoilt, 5, 9) is None
    native_one = sampler.NativeSampler(policy.policy()).action
    assert native_one(rows[0, :5].copy(), 5, 9) is None
    assert native_one(rows, 5, 9) is None


def test_the_two_samplers_draw_the_same_noise_for_act() -> None:
    policy = Folded(Sizes(A=6, H=64), form=Form(stochastic=True)).policy()
    observation = np.random.default_rng(0).standard_normal((5, 29)).astype(np.float32)
    fast, plain, exact = (np.empty((5, 6), dtype) for dtype in (np.float32, np.float32, np.float64))
    sampler.NativeSampler(policy).act(observation, fast, 11, 3)
    sampler.ReferenceSampler(policy).act(observation, plain, 11, 3)
    sampler.ReferenceSampler(policy.to(torch.float64)).act(observation, exact, 11, 3)
    assert_as_accurate("act with noise in its steps", fast, plain, exact)


def test_nan_goes_through_and_no_row_touches_another() -> None:
    policy = Folded(Sizes(H=64))
    observation, noise, out = policy.inputs(50)
    observation[0, 3] = np.nan
    OnArrays(policy).sample(observation, noise, out)
    bad = np.isnan(out).any(-1)[0]
    assert bad[3] and bad.sum() == 1


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


def test_actions_are_clipped() -> None:
    policy = Folded(Sizes(H=64, K=1))
    policy.gain[:] = 50.0
    observation, noise, out = policy.inputs(100)
    OnArrays(policy).sample(observation, noise, out)
    assert out.max() == 1.0 and out.min() == -1.0


def test_threads_of_python_share_a_sampler() -> None:
    policy = Folded(Sizes(H=64))
    run = OnArrays(policy)
    observation, noise, expected = policy.inputs(300)
    run.sample(observation, noise, expected)
    outs = [np.full_like(expected, np.nan) for _ in range(4)]
    workers = [
        threading.Thread(target=run.sample, args=(observation, noise, out, 2)) for out in outs
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(out, expected) for out in outs)


def test_threads_of_python_with_a_sampler_each() -> None:
    policies = [Folded(Sizes(H=64, A=3), seed=i) for i in range(4)]
    runs = [
        OnArrays(policy, precision="bf16" if i % 2 else "fp32") for i, policy in enumerate(policies)
    ]
    observation = policies[0].inputs(200)[0][0]

    def act(run, outs: list[np.ndarray]) -> None:
        for rows in (1, 200, 7, 1, 60):
            outs.append(np.full((rows, 3), np.nan, np.float32))
            run.act(observation[:rows], outs[-1], rows, 4, 2)
            outs.append(run.action(observation[rows - 1], rows, 5))

    expected, got = ([[] for _ in runs] for _ in range(2))
    for run, outs in zip(runs, expected, strict=True):
        act(run, outs)
    workers = [threading.Thread(target=act, args=pair) for pair in zip(runs, got, strict=True)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for one, other in zip(expected, got, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert not np.array_equal(got[0][0], got[2][0])


def test_what_does_not_fit_is_refused_by_name() -> None:
    policy = Folded(Sizes(H=32))
    run = OnArrays(policy).sampler.native
    observation, noise, out = policy.inputs(4)
    addresses = [x.ctypes.data for x in (observation, noise, out)]
    with pytest.raises(ValueError, match="observation is a null pointer"):
        run.sample(0, *addresses[1:], 4)
    with pytest.raises(ValueError, match="rows must not be negative"):
        run.sample(*addresses, -1)
    with pytest.raises(ValueError, match="must hold"):
        run.load(policy.flat()[:-1].copy().ctypes.data, policy.flat().size - 1, 1.0)
    with pytest.raises(RuntimeError, match="call load first"):
        native.module().Sampler(*policy.sizes.tuple()).sample(*addresses, 4)
    with pytest.raises(ValueError, match="mish, gelu or relu, not tanh"):
        native.module().Sampler(*policy.sizes.tuple(), "tanh")
    with pytest.raises(ValueError, match="fp32, bf16 or int8, not tf32"):
        native.module().Sampler(*policy.arguments(), "tf32")
    with pytest.raises(ValueError, match="width must be"):
        native.module().Sampler(1, 1, 1, 0, 1, 1)


def test_act_refuses_arrays_that_do_not_fit() -> None:
    policy = Folded(Sizes(H=32))
    run = OnArrays(policy)
    observation, out = policy.inputs(4)[0][0], np.empty((4, 8), np.float32)
    cases = [
        (np.repeat(observation, 2, 0)[::2], "observation .*non-contiguous"),
        (np.asfortranarray(observation), "observation .*non-contiguous"),
        (observation.astype(np.float64), "observation must be .*float32.*float64"),
        (observation[:, :5].copy(), "observation .*length 29.*\\(4, 5\\)"),
        (observation[0], "observation .*2 axes"),
        (observation[:3], "observation and out differ in axis 0"),
    ]
    for rows, message in cases:
        with pytest.raises(ValueError, match=message):
            run.act(rows, out, 0, 0)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        run.act(observation, out, 0, 0)
    two = OnArrays(Folded(Sizes(S=2, H=32)))
    with pytest.raises(ValueError, match="one seed"):
        two.act(observation, np.empty((4, 8), np.float32), 0, 0)


def test_an_instruction_set_can_be_forced() -> None:
    policy = Folded(Sizes(H=32))
    for isa in FLOAT_ISAS:
        assert OnArrays(policy, isa).isa == isa
    with pytest.raises(UserError, match="'sse9' is not one of"):
        OnArrays(policy, "sse9")
    code = (
        "from gtp_fast import ops; from gtp_fast.system import native; print(native.module().isa())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"GTP_FAST_ISA": "portable"},
        capture_output=True,
        check=True,
    )
    assert result.stdout.decode().strip() == "portable"


def test_an_empty_batch_is_no_error() -> None:
    policy = Folded(Sizes(H=32))
    observation, noise, out = policy.inputs(0)
    OnArrays(policy).sample(observation, noise, out)
