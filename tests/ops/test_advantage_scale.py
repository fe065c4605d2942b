"""The scale of A in the weights w: its standard deviation, or its median absolute deviation."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest
import torch
from agent_cases import TINY, build, run, synthetic_table
from native_cases import draw, needs_native
from reference_cases import noise
from tolerance import assert_as_accurate

from gtp_fast import reference
from gtp_fast.agents.gtp.update_native import NativeUpdate
from gtp_fast.errors import UserError
from gtp_fast.ops import weigh
from gtp_fast.ops.operations import Form


@pytest.mark.parametrize("count", [1, 2, 63, 64])
def test_it_is_the_median_distance_from_the_median(count: int) -> None:
    a = 3 * noise(2, count, 1, step=9)[..., 0]
    found = reference.advantage_scale(a, "mad")
    for seed in range(2):
        values = a[seed].tolist()
        middle = statistics.median_low(values)
        distance = statistics.median_low([abs(v - middle) for v in values])
        assert found[seed].item() == pytest.approx(1.4826 * distance, rel=1e-12)
    with pytest.raises(ValueError, match="not 'iqr'"):
        reference.advantage_scale(a, "iqr")


def test_of_a_normal_law_it_is_the_standard_deviation() -> None:
    a = 5 + 3 * noise(1, 200_000, 1, step=9)[..., 0]
    std, mad = (reference.advantage_scale(a, kind).item() for kind in reference.ADVANTAGE_SCALES)
    assert std == pytest.approx(3, rel=0.01) and mad == pytest.approx(3, rel=0.01)


def test_it_does_not_feel_a_tail_that_switches_the_other_off() -> None:
    """A hundredth of the rows with A a thousand times larger leaves w of all others as it was."""
    a = noise(1, 1000, 1, step=9)[..., 0]
    tail = a.clone()
    tail[:, :10] = 1000.0
    kept = slice(10, None)
    for kind, bound in (("mad", 0.05), ("std", 0.99)):
        before, after = (
            reference.advantage_weights(x, 1.0, scale=kind)[:, kept] for x in (a, tail)
        )
        excess = ((after - 1).sum() / (before - 1).sum()).item()
        assert (abs(1 - excess) < bound) == (kind == "mad"), (kind, excess)


def test_weights_divide_by_it_alone() -> None:
    a = noise(2, 63, 1, step=9)[..., 0]
    scale = reference.advantage_scale(a, "mad")
    wanted = torch.exp(0.7 * a.clamp(min=0) / (scale + 1e-6)).clamp(max=20)
    found = reference.advantage_weights(a, 0.7, maximum=20.0, scale="mad")
    assert torch.allclose(found, wanted, rtol=1e-12)
    assert (found[a <= 0] == 1).all() and found.max() <= 20 * (1 + 1e-12)
    # Q of the data is A where that of the policy is 0.
    values = torch.cat((a, 0 * a), 1).expand(2, 2, -1)
    eta = torch.full((2,), 0.7, dtype=torch.float64)
    w, _, reported, *_ = reference.weigh(values, eta, 63, 20.0, "mad")
    assert torch.equal(w, found) and torch.equal(reported, scale[:, 0])


@needs_native
@pytest.mark.parametrize("maximum", [100.0, None])
@pytest.mark.parametrize(("S", "B", "m"), [(1, 1, 1), (1, 2, 1), (2, 63, 3), (3, 256, 1)])
def test_the_native_form(S: int, B: int, m: int, maximum: float | None) -> None:
    values, eta = 30 * draw(4, 2, S, (1 + m) * B), torch.tensor([1.0, 0.0, 0.5][:S])
    fast, plain, exact = (
        function(v, e, B, maximum, "mad")
        for function, v, e in (
            (weigh.native_weigh, values, eta),
            (reference.weigh, values, eta),
            (reference.weigh, values.double(), eta.double()),
        )
    )
    names = ("w", "q", "scale", "mean", "largest")
    for name, *compared in zip(names, fast, plain, exact, strict=True):
        assert_as_accurate(f"{name} {S, B, m, maximum}", *compared)
    assert (fast[2] > 0).all() == (B > 2)


@needs_native
def test_a_nan_reaches_the_native_scale() -> None:
    values = draw(4, 2, 1, 2 * 63)
    values[0, 0, 40] = math.nan
    assert all(x.isnan().any() for x in weigh.native_weigh(values, torch.ones(1), 63, 100.0, "mad"))


@needs_native
def test_infinite_advantages_of_both_signs_leave_the_median_finite() -> None:
    values = torch.zeros(2, 1, 8)
    values[:, 0, :4] = torch.tensor([math.inf, -math.inf, 1.0, 2.0])
    fast, plain, exact = (
        function(v, torch.ones(1, dtype=v.dtype), 4, 100.0, "mad")
        for function, v in (
            (weigh.native_weigh, values),
            (reference.weigh, values),
            (reference.weigh, values.double()),
        )
    )
    assert fast[2].item() == pytest.approx(1.4826, rel=1e-6)
    for name, i in (("w", 0), ("scale", 2), ("mean", 3), ("largest", 4)):
        assert_as_accurate(name, fast[i], plain[i], exact[i])


@needs_native
def test_the_whole_native_update_serves_it_and_reports_it() -> None:
    config = replace(TINY, advantage_scale="mad", value_samples=3)
    agents = [build(config, (0, 1), backend=backend) for backend in ("fused", "reference")]
    fast, plain = (run(agent, synthetic_table(), 1) for agent in agents)
    assert isinstance(agents[0].do, NativeUpdate)
    row = agents[0].metric_names.index("advantage_std")
    assert torch.allclose(fast[row], plain[row], rtol=1e-4)
    usual = run(build(replace(config, advantage_scale="std"), (0, 1)), synthetic_table(), 1)
    assert not torch.allclose(fast[row], usual[row], rtol=0.01)


def test_without_a_kernel_auto_says_so_and_fused_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(TINY, advantage_scale="mad")
    made = build(config, (0,))
    forms = made.ops.forms | {"weigh": Form("triton")}
    monkeypatch.setattr("gtp_fast.ops.resolve", lambda *_: replace(made.ops, forms=forms))
    on_gpu = build(config, (0,))
    reason = "--advantage-scale mad has no form on a GPU"
    assert on_gpu.ops.forms["weigh"] == Form("reference", reason)
    assert on_gpu.ops.weigh is reference.weigh and reason in on_gpu.ops.describe()
    assert on_gpu.ops.forms["update"] == Form("single operations", reason)
    with pytest.raises(UserError, match=f"--backend fused is not available: {reason}"):
        build(config, (0,), backend="fused")


def test_it_is_refused_where_every_weight_is_one() -> None:
    for setting in ({"advantage_scale": "mad"}, {"value_by": "network"}):
        with pytest.raises(UserError, match="no meaning for --objective linear-q, whose weights"):
            build(replace(TINY, objective="linear-q", **setting), (0,))
