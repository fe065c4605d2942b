"""The perturbation in native code; its closed form is in reference/test_times.py."""

from __future__ import annotations

import math

import pytest
import torch
from native_cases import STEP, draw, keys, perturbed
from ties import cdf_of_drawn_words
from tolerance import assert_as_accurate

from gtp_fast import reference
from gtp_fast.ops import perturb
from gtp_fast.system import native

pytestmark = pytest.mark.skipif(not native.available(), reason=native.missing())


@pytest.mark.parametrize("kind", ["edm", "cm", "none"])
@pytest.mark.parametrize("u_mode", ["adjacent", "uniform"])
@pytest.mark.parametrize(("S", "B", "A", "N"), [(1, 1, 1, 2), (3, 63, 3, 11), (2, 257, 17, 1281)])
def test_perturb(S: int, B: int, A: int, N: int, u_mode: str, kind: str) -> None:
    a = torch.tanh(draw(0, S, B, A))
    options = {"u_mode": u_mode, "kind": kind}
    fast = perturbed(perturb.native_perturb, a, N, **options)
    plain = perturbed(reference.perturb, a, N, **options)
    exact = perturbed(reference.perturb, a, N, torch.float64, **options)
    for name in fast._fields:
        values = (getattr(p, name) for p in (fast, plain, exact))
        assert_as_accurate(f"{name} {S, B, A, N}", *values)
    for name in ("t", "u", "tau"):
        assert torch.equal(getattr(fast, name), getattr(plain, name)), name


@pytest.mark.parametrize("u_mode", reference.U_MODES)
@pytest.mark.parametrize("N", [2, 11, 41, 1281])
def test_perturb_draws_the_nodes_of_a_cdf(N: int, u_mode: str) -> None:
    a = torch.zeros(2, 3000, 1)
    for cdf in (reference.lognormal_cdf(N), cdf_of_drawn_words(keys(2), STEP, N)):
        options = {"u_mode": u_mode, "cdf": cdf}
        fast = perturbed(perturb.native_perturb, a, N, **options)
        plain = perturbed(reference.perturb, a, N, **options)
        for name in ("t", "u", "tau"):
            assert torch.equal(getattr(fast, name), getattr(plain, name)), name
    for wrong in (cdf[1:], cdf.int()):
        with pytest.raises(ValueError, match=rf"cdf must be \[{N}\] int64"):
            perturbed(perturb.native_perturb, a, N, cdf=wrong)


def test_perturb_takes_its_scalars_as_tensors_and_a_longer_table() -> None:
    a, options = draw(1, 2, 9, 3), {"u_mode": "uniform"}
    nodes = torch.cat((reference.karras_nodes(11), torch.full((5,), math.nan)))
    fast = perturbed(perturb.native_perturb, a, 11, **options)
    again = perturb.native_perturb(
        a, nodes, torch.tensor(11), keys(2), torch.tensor(STEP), **options
    )
    assert all(torch.equal(x, y) for x, y in zip(fast, again, strict=True))
    alone = perturbed(perturb.native_perturb, a[1:], 11, seeds=keys(2)[1:], **options)
    assert all(torch.equal(x[1:], y) for x, y in zip(fast, alone, strict=True))
    with pytest.raises(ValueError, match=r"2\.\.16, not 17"):
        perturb.native_perturb(a, nodes, 17, keys(2), 0)
    with pytest.raises(ValueError, match="sideways"):
        perturb.native_perturb(a, nodes, 11, keys(2), 0, u_mode="sideways")
