"""What a sampler is given has to fit its policy: shapes, dtype, device, instructions."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from folded import Folded, Form, Sizes
from native_cases import needs_native
from on_arrays import FLOAT_ISAS, OnArrays, limited_to

from gtp_fast import ops
from gtp_fast.errors import UserError
from gtp_fast.ops import limits, sampler
from gtp_fast.ops.candidates import CandidateSampler
from gtp_fast.system import native

pytestmark = needs_native


@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize("form", [Form(), Form(stochastic=True)], ids=str)
def test_what_does_not_fit_the_policy_is_refused(form: Form, backend: str) -> None:
    policy = Folded(Sizes(S=2, O=5, A=3, H=16, K=3), form=form)
    made = ops.make_sampler(policy.policy(), backend)
    observation, noise, _ = (torch.tensor(x) for x in policy.inputs(4))
    assert made.sample(observation, noise).shape == (2, 4, 3)
    more, fewer = observation.repeat(2, 1, 1), noise[:1]
    misfits = [
        (more, noise.repeat_interleave(2, 0)), (observation[:1], fewer), (observation, fewer),
        (observation[..., :4], noise), (observation, noise[..., :2]), (observation[:, :3], noise),
        (observation[0], noise[0]), (observation, noise[:, :, :-1]),
        (observation, noise[:, :1] if form.stochastic else noise[:, None].repeat(1, 3, 1, 1)),
    ]  # fmt: skip
    for states, z in misfits:
        with pytest.raises(UserError, match=r"takes observation \[2, B, 5\] and noise \[2, "):
            made.sample(states, z)
    chosen = CandidateSampler(made, policy.policy().last_bias, lambda s, a: a[..., 0], 2)
    assert chosen.sample(observation, torch.zeros(2, chosen.draws, 4, 3)).shape == (2, 4, 3)
    for states, draws in ((more, chosen.draws), (observation, chosen.draws - 1)):
        with pytest.raises(UserError, match=rf"noise \[2, {chosen.draws}, B, 3\]"):
            chosen.sample(states, torch.zeros(len(states), draws, 4, 3))


def test_what_is_no_float32_of_this_device_is_not_read_by_its_address() -> None:
    policy = Folded(Sizes(S=2, O=5, A=3, H=16, K=3))
    made, other = (sampler.NativeSampler(policy.policy()) for _ in range(2))
    observation, noise, _ = (torch.tensor(x) for x in policy.inputs(4))
    wanted = made.sample(observation, noise)
    turned = observation.transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(made.sample(turned, noise), wanted), "what can be mended is mended"
    for states, z in ((observation.double(), noise), (observation, noise.half())):
        with pytest.raises(UserError, match=r"contiguous torch.float(64|16) on cpu: the native"):
            made.sample(states, z)
    with pytest.raises(UserError, match="on meta: the native sampler reads"):
        made.sample(observation.to("meta"), noise)
    for wrong in (policy.policy().to(torch.float64), policy.policy().select(0)):
        with pytest.raises(UserError, match=r"torch.float64 on cpu|made for a policy of S, O, A"):
            made.load(wrong)
    for change in ({"squash": True}, {"clamp": True}, {"activation": "relu"}):
        with pytest.raises(UserError, match=r"squash, noise in each step = \('mish', False, False"):
            made.load(policy.policy()._replace(**change))
    flat = policy.policy().flatten()
    for wrong in (flat.double(), torch.stack((flat, flat), 1)[:, 0]):
        with pytest.raises(UserError, match="The laid out policy is"):
            other.take(wrong, policy.initial_scale, 4)
    for wrong in (torch.zeros(8, device="meta"), torch.zeros(8)[::2]):
        with pytest.raises(UserError, match="The packed policy is"):
            other.take(flat, policy.initial_scale, 4, wrong)
    assert torch.equal(made.sample(observation, noise), wanted)


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_a_policy_of_another_kind_is_not_loaded(backend: str) -> None:
    sizes = Sizes(S=2, O=5, A=3, H=16, K=3)
    plain, noisy = (
        Folded(sizes, form=Form(carries=True, stochastic=stochastic)).policy()
        for stochastic in (False, True)
    )
    for own, other in ((plain, noisy), (noisy, plain), (plain, plain.select(0))):
        made = ops.make_sampler(own, backend)
        made.load(own)
        with pytest.raises(UserError, match="This sampler was made for a policy of S, O, A"):
            made.load(other)


@pytest.mark.parametrize(
    ("precision", "wrong"), [("bf16", torch.float32), ("tf32", torch.bfloat16)]
)
def test_packed_weights_of_another_precision_are_not_read_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, precision: str, wrong: torch.dtype
) -> None:
    policy = Folded(Sizes(O=5, A=3, H=16, K=3))
    made = sampler.NativeSampler(policy.policy())
    # What is refused before any address is read is refused without a GPU too.
    monkeypatch.setattr(made, "on_gpu", True)
    monkeypatch.setattr(made, "precision", precision)
    with pytest.raises(UserError, match=f"The packed policy is contiguous {wrong} on cpu"):
        made.take(policy.policy().flatten(), 1.0, 4, torch.zeros(8, dtype=wrong))


def test_what_does_not_fit_is_refused_by_name() -> None:
    policy = Folded(Sizes(H=32))
    run = OnArrays(policy).sampler.native
    observation, noise, out = policy.inputs(4)
    addresses = [x.ctypes.data for x in (observation, noise, out)]
    with pytest.raises(ValueError, match="observation is a null pointer"):
        run.sample(0, *addresses[1:], 4)
    with pytest.raises(ValueError, match="rows must not be negative"):
        run.sample(*addresses, -1)
    flat = policy.flat()
    for size in (flat.size - 1, flat.size + 1):
        with pytest.raises(ValueError, match=rf"must hold {flat.size} numbers, not {size}"):
            run.load(flat.ctypes.data, size, 1.0)
    with pytest.raises(RuntimeError, match="call load first"):
        native.module().Sampler(*policy.sizes.tuple()).sample(*addresses, 4)
    with pytest.raises(ValueError, match="mish, gelu or relu, not tanh"):
        native.module().Sampler(*policy.sizes.tuple(), "tanh")
    with pytest.raises(ValueError, match="fp32, bf16 or int8, not tf32"):
        native.module().Sampler(*policy.arguments(), "tf32")
    with pytest.raises(ValueError, match="width must be"):
        native.module().Sampler(1, 1, 1, 0, 1, 1)


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


def test_auto_samples_sizes_beyond_the_native_sampler_by_the_reference_and_says_so() -> None:
    wide = Folded(Sizes(O=16385, A=2, H=8, L=2, K=2))
    policy = wide.policy()
    observation, noise, _ = (torch.tensor(x) for x in wide.inputs(3))
    with pytest.raises(UserError, match=r"must be 1\.\.16384, not 16385; use --backend auto"):
        ops.make_sampler(policy, "fused")
    limits.beyond.cache_clear()
    resolved = ops.resolve("auto")
    assert "reference" not in resolved.describe()
    with pytest.warns(UserWarning, match=r"the sampler runs through PyTorch: .*, not 16385$"):
        made = resolved.chain(policy)
    assert "reference: sampler (observation_dim must be 1..16384, not " in resolved.describe()
    plain = ops.make_sampler(policy, "reference")
    assert made.describe() == plain.describe() == "reference PyTorch"
    assert torch.equal(made.sample(observation, noise), plain.sample(observation, noise))


def test_auto_does_not_take_the_reference_for_an_instruction_set_that_is_unknown() -> None:
    with limited_to("sse9"), pytest.raises(UserError, match="'sse9' is not one of"):
        ops.make_sampler(Folded(Sizes(H=8)).policy(), "auto")
