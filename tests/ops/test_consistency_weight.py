"""The weight of the consistency loss: constant, 1 / (t - u), N - 1; in every form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from agent_cases import TINY, build, run, synthetic_table
from native_cases import draw, needs_native, perturbed
from reference_cases import KEYS, noise
from tolerance import assert_as_accurate
from torch import Tensor
from torch.autograd import gradcheck

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.ops import loss, perturb

N = 11


def case(kind: str, rows: int = 40, **options: Any) -> tuple[Any, ...]:
    """Return student, teacher, a, w, the perturbation with a weight and that without."""
    a = torch.tanh(noise(2, rows, 3, step=1))
    nodes = reference.karras_nodes(N, dtype=torch.float64)
    p, plain = (
        reference.perturb(a, nodes, N, KEYS[:2], 4, consistency_weight=name, **options)
        for name in (kind, "none")
    )
    w = noise(2, rows, 1, step=5)[..., 0].exp()
    return noise(2, 2 * rows, 3, step=2), noise(2, rows, 3, step=3), a, w, p, plain


def factor(kind: str, p: reference.Perturbation) -> Tensor:
    """Return the weight by its definition."""
    return {"none": torch.ones_like(p.t), "gap": 1 / (p.t - p.u), "nodes": 10 + 0 * p.t}[kind]


@pytest.mark.parametrize("u_mode", reference.U_MODES)
@pytest.mark.parametrize("kind", reference.CONSISTENCY_WEIGHTS)
def test_it_weighs_equation_17_alone(kind: str, u_mode: str) -> None:
    student, teacher, a, w, p, plain = case(kind, u_mode=u_mode)
    found = reference.flow_map_loss(student, teacher, a, p, w)
    wanted, _ = reference.flow_map_loss(student, teacher, a, plain, w * factor(kind, plain))
    _, flow = reference.flow_map_loss(student, teacher, a, plain, w)
    assert torch.allclose(found[0], wanted, rtol=1e-12, atol=0)
    assert torch.equal(found[1], flow)
    changed = {
        name for name in p._fields if not torch.equal(getattr(p, name), getattr(plain, name))
    }
    assert changed == (set() if kind == "none" else {"q_t", "q_u"})


def test_the_weight_of_the_gap_takes_adjacent_jumps_of_a_line_to_one_scale() -> None:
    """A residual that grows as the gap, as that of a straight path does, weighs as the gap."""
    nodes = reference.karras_nodes(N, dtype=torch.float64)
    t, u = nodes[1:], nodes[:-1]
    c = reference.consistency_weight(t, u, N, "gap")
    assert torch.allclose((c * (t - u)).sum(), torch.tensor(10.0).double())
    assert torch.equal(reference.consistency_weight(t, u, torch.tensor(N), "nodes"), 10 + 0 * t)
    with pytest.raises(ValueError, match="not 'half'"):
        reference.consistency_weight(t, u, N, "half")


@pytest.mark.parametrize("kind", ["gap", "nodes"])
def test_gradcheck_of_the_weighted_loss(kind: str) -> None:
    student, teacher, a, w, p, _ = case(kind, rows=3)
    student.requires_grad_()
    assert gradcheck(lambda s: reference.flow_map_loss(s, teacher, a, p, w), (student,))


@needs_native
@pytest.mark.parametrize("u_mode", reference.U_MODES)
@pytest.mark.parametrize("kind", ["gap", "nodes"])
@pytest.mark.parametrize(("S", "B", "A", "count"), [(1, 1, 1, 2), (2, 257, 3, 1281)])
def test_the_native_form(S: int, B: int, A: int, count: int, kind: str, u_mode: str) -> None:
    a, options = torch.tanh(draw(0, S, B, A)), {"u_mode": u_mode, "consistency_weight": kind}
    student, teacher, w = draw(3, S, 2 * B, A), draw(4, S, B, A), draw(5, S, B).square()
    fast, plain, exact = (
        perturbed(function, a, count, dtype, **options)
        for function, dtype in (
            (perturb.native_perturb, torch.float32),
            (reference.perturb, torch.float32),
            (reference.perturb, torch.float64),
        )
    )
    for name in ("q_t", "q_u"):
        assert_as_accurate(name, *(getattr(p, name) for p in (fast, plain, exact)))
    results = []
    for function, p in (
        (loss.native_loss, fast),
        (reference.flow_map_loss, plain),
        (reference.flow_map_loss, exact),
    ):
        leaf = student.to(p.t.dtype).requires_grad_()
        losses = function(leaf, teacher.to(p.t.dtype), a.to(p.t.dtype), p, w.to(p.t.dtype))
        (gradient,) = torch.autograd.grad(torch.stack(losses).sum(), leaf)
        results.append([*(x.detach() for x in losses), *gradient.chunk(2, 1)])
    names = ("consistency", "flow", "gradient of consistency", "gradient of flow")
    for name, *values in zip(names, *results, strict=True):
        assert_as_accurate(f"{name} {S, B, A, count}", *values)


def test_a_form_refuses_a_weight_that_it_does_not_know() -> None:
    for function in (perturb.native_perturb, reference.perturb):
        with pytest.raises(ValueError, match="'half'"):
            perturbed(function, draw(0, 1, 4, 2), N, consistency_weight="half")


@pytest.mark.parametrize("kind", ["gap", "nodes"])
def test_objectives_of_single_operations_have_the_same_weight(kind: str) -> None:
    config, options = replace(TINY, consistency_weight=kind), {"backend": "reference"}
    fused, single = (
        build(one, (0, 1), dtype=torch.float64, **options)
        for one in (config, replace(config, flow_weight="edm"))
    )
    left, right = (run(agent, synthetic_table(), 1) for agent in (fused, single))
    row = fused.metric_names.index("consistency_loss")
    assert torch.allclose(left[row], right[row], rtol=1e-10)
    plain = run(build(TINY, (0, 1), dtype=torch.float64, **options), synthetic_table(), 1)
    assert not torch.allclose(left[row], plain[row], rtol=0.1)
    flow = fused.metric_names.index("flow_loss")
    assert torch.equal(left[flow], plain[flow])


@pytest.mark.parametrize("objective", ["flow", "mean-flow", "shortcut"])
def test_an_objective_that_draws_no_u_refuses_it(objective: str) -> None:
    with pytest.raises(UserError, match=f"--objective {objective}, which draws no u"):
        build(replace(TINY, objective=objective, consistency_weight="nodes"), (0,))
