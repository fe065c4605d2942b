"""The Triton form of the perturbation against the reference."""

from __future__ import annotations

import pytest
import torch
from ties import cdf_of_drawn_words
from tolerance import assert_as_accurate, assert_digits_kept
from torch import Tensor
from triton_cases import (  # noqa: F401
    BF16,
    DEVICE,
    F32,
    STEP,
    draw_actions,
    poisoned_outputs,
    pytestmark,
    seeds,
)

from gtp_fast import ops, reference
from gtp_fast.errors import UserError
from gtp_fast.reference import Perturbation

TIMES = ("t", "u", "tau")
_OPTIONS = ("u_mode", "kind", "cdf", "consistency_weight")


def fast_perturb(*args: object, **options: object) -> Perturbation:
    from gtp_fast.kernels.perturb import perturb

    return Perturbation(**perturb(*args, **options))


def assert_perturbation(
    a: Tensor,
    N: int,
    step: int = STEP,
    u_mode: str = "adjacent",
    kind: str = "edm",
    dtype: torch.dtype = F32,
    cdf: Tensor | None = None,
    weight: str = "none",
) -> Perturbation:
    """Compare all outputs with the reference and return them."""
    nodes, keys = reference.karras_nodes(N).to(DEVICE), seeds(a.shape[0])
    law = {"u_mode": u_mode, "cdf": cdf, "consistency_weight": weight}
    fast = fast_perturb(a, nodes, N, keys, step, kind=kind, dtype=dtype, **law)
    plain = reference.perturb(a, nodes, N, keys, step, kind=kind, dtype=dtype, **law)
    exact = reference.perturb(a.double(), nodes.double(), N, keys, step, kind=kind, **law)
    for name in Perturbation._fields:
        assert_as_accurate(name, getattr(fast, name), getattr(plain, name), getattr(exact, name))
    for name in ("q_t", "q_u"):
        assert_digits_kept(name, *(getattr(p, name) for p in (fast, plain, exact)))
    for name in TIMES:
        assert torch.equal(getattr(fast, name), getattr(plain, name)), (
            f"{name} must be equal bit for bit"
        )
    return fast


def assert_same_bits(one: Perturbation, other: Perturbation) -> None:
    for name in Perturbation._fields:
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize(
    ("S", "B", "A", "N", "u_mode", "kind", "dtype"),
    [
        (1, 1, 1, 2, "adjacent", "edm", F32),
        (1, 63, 3, 2, "adjacent", "cm", F32),
        (3, 63, 6, 41, "adjacent", "edm", F32),
        (1, 255, 3, 11, "uniform", "edm", BF16),
        (3, 256, 8, 1281, "adjacent", "edm", F32),
        (1, 257, 17, 1281, "uniform", "cm", F32),
        (1, 1000, 6, 161, "adjacent", "none", BF16),
        (1, 63, 64, 1281, "uniform", "edm", F32),
    ],
)
def test_perturb_matches_the_reference(
    S: int, B: int, A: int, N: int, u_mode: str, kind: str, dtype: torch.dtype
) -> None:
    assert_perturbation(draw_actions(S, B, A), N, u_mode=u_mode, kind=kind, dtype=dtype)


@pytest.mark.parametrize("u_mode", reference.U_MODES)
@pytest.mark.parametrize("N", [2, 11, 12, 1281])
def test_perturb_draws_the_nodes_of_a_cdf(N: int, u_mode: str) -> None:
    a, ties = draw_actions(2, 1300, 1), cdf_of_drawn_words(seeds(2), STEP, N)
    for cdf in (reference.lognormal_cdf(N).to(DEVICE), ties):
        # The zeros behind the law change the draw if they are read.
        assert_perturbation(a, N, u_mode=u_mode, cdf=torch.cat((cdf, torch.zeros_like(cdf)))[:N])


@pytest.mark.parametrize("weight", ["gap", "nodes"])
@pytest.mark.parametrize(("N", "u_mode"), [(2, "adjacent"), (1281, "adjacent"), (41, "uniform")])
def test_perturb_scales_its_jumps_by_the_weight(N: int, u_mode: str, weight: str) -> None:
    assert_perturbation(draw_actions(2, 63, 3), N, u_mode=u_mode, weight=weight)


def test_perturb_on_two_nodes_jumps_straight_to_the_clean_action() -> None:
    p = assert_perturbation(draw_actions(1, 63, 3), N=2)
    # tau = 0 at t, and u = tau: the base case of the recursion.
    expected = {"t": 80, "u": 0, "tau": 0, "r_t": 0, "q_t": 1, "r_u": 1, "q_u": 0}
    for name, value in expected.items():
        assert (getattr(p, name) == value).all(), name
    assert torch.equal(p.a_u, draw_actions(1, 63, 3))


def test_perturb_reads_strided_and_bfloat16_actions() -> None:
    strided = draw_actions(2, 12, 63).mT
    assert not strided.is_contiguous()
    assert_perturbation(strided, N=41)
    assert_perturbation(draw_actions(2, 63, 6).to(BF16), N=41)


def test_perturb_repeats_itself_bit_for_bit_and_changes_with_the_step() -> None:
    a, nodes = draw_actions(1, 63, 6), reference.karras_nodes(41).to(DEVICE)
    first, second, later = (fast_perturb(a, nodes, 41, seeds(1), s) for s in (STEP, STEP, STEP + 1))
    assert_same_bits(first, second)
    assert not torch.equal(first.z, later.z)
    assert not torch.equal(first.t, later.t)


def test_perturb_takes_its_scalars_from_the_device_and_a_longer_table() -> None:
    a, nodes = draw_actions(1, 63, 6), reference.karras_nodes(41).to(DEVICE)
    table = torch.cat((nodes, torch.full((1240,), torch.nan, device=DEVICE)))
    count = torch.tensor(41, dtype=torch.int32, device=DEVICE)
    step = torch.tensor(STEP, dtype=torch.int64, device=DEVICE)
    assert_same_bits(
        fast_perturb(a, nodes, 41, seeds(1), STEP), fast_perturb(a, table, count, seeds(1), step)
    )


@pytest.mark.parametrize("step", [0, 1, 2**31 + 5, 2**32 + 5])
def test_perturb_counts_steps_modulo_two_to_the_32(step: int) -> None:
    assert_perturbation(draw_actions(1, 1, 3), N=41, step=step)


def test_perturb_of_a_seed_among_others_equals_that_seed_alone() -> None:
    a, nodes = draw_actions(3, 63, 6), reference.karras_nodes(41).to(DEVICE)
    together = fast_perturb(a, nodes, 41, seeds(3), STEP)
    for k in range(3):
        alone = fast_perturb(a[k : k + 1], nodes, 41, seeds(3)[k : k + 1], STEP)
        assert_same_bits(Perturbation(*(x[k : k + 1] for x in together)), alone)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": (1, 4, 65)}, "1 to 64 action dimensions, not 65"),
        ({"a": (1, 4, 0)}, "1 to 64 action dimensions, not 0"),
        ({"seeds": 2}, r"seeds must be \[1\] int64"),
        ({"num_nodes": 1}, "num_nodes must lie in 2..11, not 1"),
        ({"num_nodes": 12}, "num_nodes must lie in 2..11, not 12"),
        ({"nodes": torch.float64}, "nodes must be one row of float32"),
        ({"cdf": torch.zeros(12, dtype=torch.int64)}, r"cdf must be \[11\] int64, not \[12\]"),
        ({"cdf": torch.zeros(11)}, r"cdf must be \[11\] int64, .* torch.float32"),
        ({"u_mode": "near"}, "'near'"),
        ({"kind": "ctm"}, "'ctm'"),
        ({"consistency_weight": "half"}, "'half'"),
    ],
)
def test_perturb_refuses(changes: dict[str, object], message: str) -> None:
    from gtp_fast.kernels.perturb import perturb

    options = {key: changes[key] for key in _OPTIONS if key in changes}
    nodes = reference.karras_nodes(11, dtype=changes.get("nodes", torch.float32)).to(DEVICE)
    with pytest.raises(ValueError, match=message):
        perturb(
            draw_actions(*changes.get("a", (1, 4, 3))),
            nodes,
            changes.get("num_nodes", 11),
            seeds(changes.get("seeds", 1)),
            0,
            **options,
        )


def test_more_actions_than_the_kernel_holds_go_through_the_reference_and_say_so() -> None:
    from gtp_fast.ops import limits, perturb

    given = draw_actions(2, 3, 65), reference.karras_nodes(11).to(DEVICE), 11, seeds(2), STEP
    limits.beyond.cache_clear()
    with pytest.warns(UserWarning, match="perturbation of 65 action dimensions runs through PyTor"):
        made = perturb.triton_perturb(*given)
    for one, other in zip(made, reference.perturb(*given), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(UserError, match="not available for the perturbation of 65 action"):
        perturb.triton_perturb(*given, strict=True)
    with pytest.raises(UserError, match="not available for the perturbation of 65 action"):
        ops.resolve("fused", DEVICE).perturb(*given)
