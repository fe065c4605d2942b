"""Acting through a sampler: noise by counter, one action, several threads of Python."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from folded import Folded, Form, Sizes
from native_cases import needs_native
from nodes import Operators
from on_arrays import OnArrays
from tolerance import assert_as_accurate

from gtp_fast.ops import philox as native_philox
from gtp_fast.ops import sampler, sampling
from gtp_fast.reference import philox

pytestmark = needs_native


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


@pytest.mark.parametrize("draws", [1, 3])
def test_noise_for_a_gpu_is_drawn_on_the_host_and_copied(draws: int) -> None:
    launched: list[str] = []
    with Operators(launched):
        drawn = sampling.acting_noise(draws, 2**63 + 5, 7, 4, 6, torch.empty(0, device="meta"))
    assert drawn.shape == ((1, 4, 6) if draws == 1 else (1, 3, 4, 6))
    assert drawn.device.type == "meta" and launched == ["torch _to_copy"], launched


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


@pytest.mark.parametrize("place", [0, 5])
def test_an_action_with_one_number_that_is_not_finite_is_none(place: int) -> None:
    policy = Folded(Sizes(A=6, H=64))
    policy.last_bias[0, place] = np.nan
    row = policy.inputs(1)[0][0, 0]
    for kind in (sampler.NativeSampler, sampler.ReferenceSampler):
        assert kind(policy.policy()).action(row, 5, 9) is None


def test_the_two_samplers_draw_the_same_noise_for_act() -> None:
    policy = Folded(Sizes(A=6, H=64), form=Form(stochastic=True)).policy()
    observation = np.random.default_rng(0).standard_normal((5, 29)).astype(np.float32)
    fast, plain, exact = (np.empty((5, 6), dtype) for dtype in (np.float32, np.float32, np.float64))
    sampler.NativeSampler(policy).act(observation, fast, 11, 3)
    sampler.ReferenceSampler(policy).act(observation, plain, 11, 3)
    sampler.ReferenceSampler(policy.to(torch.float64)).act(observation, exact, 11, 3)
    assert_as_accurate("act with noise in its steps", fast, plain, exact)


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


def test_act_refuses_arrays_that_do_not_fit() -> None:
    policy = Folded(Sizes(H=32))
    run = OnArrays(policy)
    observation, out = policy.inputs(4)[0][0], np.empty((4, 8), np.float32)
    cases = [
        (np.repeat(observation, 2, 0)[::2], "observation .*non-contiguous"),
        (np.asfortranarray(observation), "observation .*non-contiguous"),
        (observation.astype(np.float64), "observation must be .*float32.*float64"),
        (observation[:, :5].copy(), "observation .*length 29.*\\(4, 5\\)"),
        (np.zeros((4, 30), np.float32), "observation .*length 29.*\\(4, 30\\)"),
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
