"""The native sampler with bfloat16 and int8 weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from folded import FORMS, Folded, Form, Sizes
from native_cases import needs_native
from on_arrays import ISAS, OnArrays
from tolerance import assert_as_accurate

from gtp_fast import ops, reference
from gtp_fast.errors import UserError

pytestmark = needs_native


def check_bf16(policy: Folded, rows: int, isa: str) -> None:
    observation, noise, out = policy.inputs(rows)
    OnArrays(policy, isa, "bf16").sample(observation, noise, out)
    rounded = policy.policy().rounded()
    policy.hidden = [w.numpy() for w in rounded.hidden_weights]
    exact = policy.exact(observation, noise)
    tensors = rounded, torch.tensor(observation), torch.tensor(noise)
    # A dot product of pairs reads its inputs rounded too.
    pairs = [lambda h: h.bfloat16().to(h.dtype)] if isa == "avx512bf16" else []
    plain = reference.folded_sample(*tensors, *pairs)
    assert_as_accurate(f"bf16 {policy.sizes} {policy.form} B={rows} {isa}", out, plain, exact)


def check_int8(policy: Folded, isa: str) -> None:
    # An input may be rounded to the level beside, in ours as in plain PyTorch: only many rows judge
    # that by the rule. Fewer rows give the same bits.
    observation, noise, out = policy.inputs(1000)
    OnArrays(policy, isa, "int8").sample(observation, noise, out)
    plain, exact = policy.int8(observation, noise)
    assert_as_accurate(f"int8 {policy.sizes} {policy.form} {isa}", out, plain, exact)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rows", [1, 26])
@pytest.mark.parametrize(
    "sizes",
    [Sizes(H=h, K=2) for h in (1, 33, 256)]
    + [Sizes(L=n, H=32) for n in (1, 2, 5)]
    + [Sizes(S=2, H=31, A=17, K=3)],
    ids=str,
)
def test_bf16_weights(sizes: Sizes, rows: int, isa: str) -> None:
    check_bf16(Folded(sizes), rows, isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_bf16_forms(form: Form, isa: str) -> None:
    check_bf16(Folded(Sizes(S=2, A=3, H=36, K=4), form=form), 13, isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "sizes",
    [Sizes(H=h, K=2) for h in (1, 33, 100, 256, 600)]
    + [Sizes(L=n, H=32) for n in (1, 2, 5)]
    + [Sizes(S=2, H=31, A=17, K=3), Sizes(H=1500, K=1, L=2)],
    ids=str,
)
def test_int8_weights(sizes: Sizes, isa: str) -> None:
    check_int8(Folded(sizes), isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_int8_forms(form: Form, isa: str) -> None:
    check_int8(Folded(Sizes(S=2, A=3, H=36, K=4), form=form), isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("width", [256, 516, 517, 1100])
def test_int8_sums_of_the_largest_whole_numbers_are_exact(width: int, isa: str) -> None:
    """Every input and every weight at the end of its levels, all of one sign."""
    policy = Folded(Sizes(H=width, K=1, L=2, A=1, O=1), form=Form("relu"))
    policy.first_action[:], policy.first_observation[:], policy.step_bias[:] = 0, 0, 2
    policy.hidden[0][:], policy.hidden_bias[0][:] = 0.25, 0
    policy.last_weight[:], policy.last_bias[:] = 1 / width**2, 0
    policy.keep[:], policy.gain[:] = 0, 1
    for sign in (1, -1):
        # The sum of a negative sign is brought back above 0, where relu lets it through.
        policy.hidden[0][:] *= sign
        policy.hidden_bias[0][:] = 0 if sign > 0 else np.float32(width)
        observation, noise, out = policy.inputs(3)
        OnArrays(policy, isa, "int8").sample(observation, noise, out)
        assert np.allclose(out, 0.5, rtol=1e-5)


@pytest.mark.parametrize("isa", ISAS)
def test_int8_scales_reach_down_to_small_numbers(isa: str) -> None:
    policy = Folded(Sizes(H=64, K=2), form=Form("relu"))
    policy.first_action *= 1e-9
    policy.first_observation *= 1e-9
    policy.step_bias[:] = policy.hidden_bias[0][:] = 0
    policy.hidden[0] *= 1e-6
    policy.hidden[1] *= 1e15
    check_int8(policy, isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bits", [0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF])
def test_bf16_keeps_every_nan_of_a_weight(bits: int, isa: str) -> None:
    # Cut to 16 bits the first two are infinities; rounded, the others become zeros.
    policy = Folded(Sizes(H=33, K=2))
    policy.hidden[0].view(np.uint32)[0, 7, 5] = bits
    observation, noise, out = policy.inputs(2)
    OnArrays(policy, isa, "bf16").sample(observation, noise, out)
    assert np.isnan(out).all()


@pytest.mark.parametrize("isa", ISAS)
def test_int8_keeps_nothing_as_nothing_and_nan_as_nan(isa: str) -> None:
    policy = Folded(Sizes(H=64), form=Form("relu"))
    policy.hidden[0][:, :, :5] = 0
    policy.step_bias[:] = -100
    observation, noise, out = policy.inputs(50)
    OnArrays(policy, isa, "int8").sample(observation, noise, out)
    plain, exact = policy.int8(observation, noise)
    assert_as_accurate(f"no input at all, {isa}", out, plain, exact)
    policy = Folded(Sizes(H=64))
    observation[0, 3], observation[0, 4] = np.nan, np.inf
    OnArrays(policy, isa, "int8").sample(observation, noise, out)
    assert np.isnan(out).any(-1)[0].nonzero()[0].tolist() == [3, 4]
    observation, noise, out = policy.inputs(2)
    policy.hidden[1][0, 7, 5] = np.nan
    OnArrays(policy, isa, "int8").sample(observation, noise, out)
    assert np.isnan(out).all()


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize(("precision", "most"), [("bf16", 1e-2), ("int8", 3e-2)])
def test_precision_rounds_the_hidden_weights_alone(
    backend: str, precision: str, most: float
) -> None:
    policy = Folded(Sizes(H=64)).policy()
    observation, noise, _ = Folded(Sizes(H=64)).inputs(20)
    tensors = torch.tensor(observation), torch.tensor(noise)
    chosen = ops.make_sampler(policy, backend, precision=precision)
    assert f"{precision} weights" in chosen.describe()
    exact = reference.folded_sample(policy, *tensors)
    change = (chosen.sample(*tensors) - exact).abs().max()
    assert 1e-5 < change < most
    chosen.load(policy)
    assert torch.equal((chosen.sample(*tensors) - exact).abs().max(), change)
    with pytest.raises(UserError, match="'fp16': choose fp32, tf32, bf16 or int8"):
        ops.make_sampler(policy, backend, precision="fp16")
