"""Every objective in the agent: closed forms, who learns and who must not, and the battery."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch
from agent_cases import TINY, build, make_table, run, synthetic_table
from objective_cases import CASES, double, each
from plain_objectives import PlainObjective

from gtp_fast import reference
from gtp_fast.agents.gtp import GTP, objectives, update
from gtp_fast.agents.gtp import config as gtp_config
from gtp_fast.data.table import TransitionTable
from gtp_fast.reference.philox import Stream


def gradient(
    agent: GTP, step: int = 0, table: TransitionTable | None = None
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return the terms of the actor's loss at the start, and the gradient of their sum [S, P], of
    an update with w = 1 that moves nothing.
    """
    agent.prepare(4)
    agent.clones, agent.config = True, replace(agent.config, ema_rate=0.0)
    agent.rate.zero_()
    metrics = dict(
        zip(agent.metric_names, agent.update(table or synthetic_table(), step), strict=True)
    )
    terms = {name: metrics[name] for name in gtp_config.term_names(agent.config)}
    return terms, agent.actor.parameters.gradient.clone()


def displace(agent: GTP) -> None:
    """Move the moving averages away from actor and critic, as training would."""
    for learner in (agent.actor, agent.critic.learner):
        flat = learner.average.flat
        flat.add_(0.05 * torch.sin(torch.arange(flat.numel(), dtype=flat.dtype)).view_as(flat))


@each
def test_the_map_of_a_point_mass_costs_nothing(case: str) -> None:
    point = torch.tensor([0.3, -0.6])
    count = 32
    table = make_table(
        torch.randn(count, 3, generator=torch.Generator().manual_seed(0)),
        point.repeat(count, 1), torch.zeros(count), torch.zeros(count, 3), torch.zeros(count),
    )  # fmt: skip
    agent = double(replace(CASES[case], precondition="none"))
    for part in (agent.actor.parameters, agent.actor.average):
        part.flat.zero_()
        part.views[f"layer{TINY.depth}.bias"].data.copy_(point)
    terms, _ = gradient(agent, table=table)
    for name, term in terms.items():
        if name != "guidance_loss":
            assert float(term.abs().max()) < 1e-12, name


@each
def test_terms_are_those_of_points_in_place_of_displacements(case: str) -> None:
    of_time = {"sigma_data": 0.8, "t_min": 0.01, "t_max": 20.0}
    agent = double(replace(CASES[case], batch_size=64, **of_time))
    displace(agent)
    agent.prepare(4)
    agent.advance(0, synthetic_table())
    batch = agent.batch(synthetic_table(), 0)
    w = 1 + batch.reward.square()
    objective = objectives.find(agent.config) or objectives.jumps_to(objectives.anchored_target)
    found = objective(agent, batch, w, 0)
    for name, value in PlainObjective(agent, batch, 0).terms(w).items():
        # The derivative of mean flow is one by differences here.
        assert torch.allclose(found[name], value, rtol=1e-6 if case == "mean-flow" else 1e-9), name


class ExactNetwork:
    """F of the exact map of N(0, 0.5^2) data, for precondition none and sigma_data 0.5."""

    def __call__(self, views, x, levels, observation):
        t, s = (torch.exp(4 * level)[..., None] for level in levels.unbind(-1))
        s = torch.where(s < 0.0021, 0.0, s)
        a = x * torch.sqrt(t**2 + 0.25)
        exact = a * torch.sqrt((0.25 + s**2) / (0.25 + t**2))
        still = (t - s).abs() < 1e-9 * t
        denoised = a * 0.25 / (0.25 + t**2)
        return torch.where(still, denoised, (exact - s / t * a) / (1 - s / t).clamp(min=1e-9))


@pytest.mark.parametrize("u_mode", ["adjacent", "uniform"])
def test_a_solver_with_many_steps_and_the_exact_field_is_the_exact_map(u_mode: str) -> None:
    """The residual of the exact map vanishes with the solver, and never with the approximation."""
    rest = {"u_mode": u_mode, "precondition": "none", "first_nodes": 6, "last_nodes": 6}
    left = {}
    cases = (("gtp", 1), ("solver", 2), ("solver", 8), ("solver", 32))
    for name, steps in cases:
        config = replace(TINY, objective=name, solver="heun", solver_steps=steps, **rest)
        agent = double(config)
        agent.prepare(4)
        agent.advance(0, synthetic_table())
        agent.network = ExactNetwork()
        batch = agent.batch(synthetic_table(), 0)
        rows = objectives.Rows(agent, batch, torch.ones_like(batch.reward), 0)
        aim = (
            objectives.solver_target(rows) if name == "solver" else objectives.anchored_target(rows)
        )
        d_t = rows.offset({})(rows.start, rows.p.t, rows.p.tau)
        # To time 0 the field goes in one step from the smallest time that it has seen.
        residual = (rows.p.q_t[..., None] * d_t - aim)[rows.p.u > 0]
        left[name, steps] = float(residual.abs().max())
    assert left["solver", 32] < left["solver", 8] / 8 < left["solver", 2] / 64
    assert left["solver", 32] < 1e-2
    assert left["gtp", 1] > 0.05


def test_ctm_is_gtp_with_its_own_choices() -> None:
    config = gtp_config.resolved(CASES["ctm"])
    assert (config.compare_at, config.teacher, config.flow_weight) == ("zero", "online", "edm")
    same = replace(TINY, compare_at="zero", teacher="online", flow_weight="edm", precondition="edm")
    first, second = (gradient(double(c)) for c in (CASES["ctm"], same))
    assert torch.equal(first[1], second[1])


def test_flow_alone_is_the_flow_loss_of_gtp() -> None:
    terms, _ = gradient(double(CASES["flow"]))
    both, _ = gradient(double(TINY))
    assert torch.allclose(terms["flow_loss"], both["flow_loss"], rtol=1e-12)
    assert tuple(terms) == ("flow_loss",)


def test_the_general_form_is_the_reference_of_the_fused_one() -> None:
    """With every option at its default the written-out objective is eq. 17 and 18."""
    one, other = double(TINY), double(TINY)
    for agent in (one, other):
        displace(agent)
        agent.prepare(4)
        agent.advance(0, synthetic_table())
    general = objectives.jumps_to(objectives.anchored_target)
    other.do = functools.partial(update.update, other, objective=general)
    metrics = [agent.update(synthetic_table(), 0) for agent in (one, other)]
    assert (metrics[0][one.metric_names.index("weight")] > 1).all()
    for name, *rows in zip(one.metric_names, *metrics, strict=True):
        assert torch.allclose(*rows, rtol=1e-12), name


@each
def test_gradients_are_those_of_finite_differences_with_the_target_held(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A student that is its own teacher has the gradient of a teacher of the same weights.
    agent = double(replace(CASES[case], teacher="ema"), seeds=(0,))
    if case == "ctm":
        monkeypatch.setattr(gtp_config, "_PRESETS", {"ctm": {"compare_at": "zero"}})
        agent = double(CASES[case], seeds=(0,))
    if "online" not in case:
        displace(agent)
    if case == "mean-flow":
        held: list[torch.Tensor] = []
        real = reference.mean_flow_target

        def target(*parts):
            held.append(real(*parts) if not held else held[0])
            return held[0]

        monkeypatch.setattr(reference, "mean_flow_target", target)
    terms, found = gradient(agent)
    assert all(torch.isfinite(v).all() for v in terms.values())
    flat = agent.actor.parameters.flat
    direction = torch.cos(torch.arange(flat.numel(), dtype=flat.dtype)).view_as(flat)
    values = []
    for h in (1e-6, -2e-6):
        flat.add_(h * direction)
        values.append(sum(gradient(agent)[0].values()).sum())
    slope = (values[0] - values[1]) / 2e-6
    assert float(slope) == pytest.approx(float((found * direction).sum()), rel=1e-6, abs=1e-9)
    assert float(found.abs().max()) > 0


@pytest.mark.parametrize("case", ["ctm", "gtp, online teacher"])
def test_a_teacher_that_is_the_student_lets_no_gradient_through(case: str) -> None:
    config = gtp_config.resolved(CASES[case])
    own, average = double(config), double(replace(config, objective="gtp", teacher="ema"))
    assert torch.equal(gradient(own)[1], gradient(average)[1])


@each
def test_only_the_actor_learns_from_the_actor_loss(case: str) -> None:
    table = synthetic_table()
    config = replace(CASES[case], critic_learning_rate=(0.0,), ema_rate=0.0)
    agent = double(config)
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    run(agent, table, 3)
    after = agent.state_dict()
    assert not torch.equal(after["actor.online"], before["actor.online"])
    for name in ("actor.average", "critic.online"):
        assert torch.equal(after[name], before[name]), name


def test_guidance_is_minus_q_of_own_actions_and_takes_no_weights() -> None:
    agent = double(replace(CASES["linear-q"], eta=(3.0,), lambda_q=(0.25, 2.0), t_max=20.0))
    assert torch.equal(agent.eta, torch.zeros_like(agent.eta))
    displace(agent)
    agent.prepare(4)
    agent.advance(0, synthetic_table())
    batch = agent.batch(synthetic_table(), 0)
    terms = objectives.linear_guidance(agent, batch, 0)
    noise = agent.chain_noise(0, Stream.GUIDANCE, TINY.batch_size)
    action = reference.folded_sample(agent.folded("online"), batch.observation, noise)
    q = agent.critic.values(batch.observation, action).amin(0).mean(1)
    assert torch.allclose(terms["guidance_loss"], -torch.tensor([0.25, 2.0]) * q, rtol=1e-9)


def test_consistency_jumps_to_time_zero_from_every_u() -> None:
    for case, adjacent in (("consistency", True), ("consistency, uniform u", False)):
        agent = double(replace(CASES[case], batch_size=400))
        agent.prepare(4)
        agent.advance(0, synthetic_table())
        batch = agent.batch(synthetic_table(), 0)
        p = objectives.Rows(agent, batch, torch.ones_like(batch.reward), 0).p
        assert torch.equal(p.tau, torch.zeros_like(p.tau))
        n_t, n_u = (torch.bucketize(x, agent.nodes[:11]) for x in (p.t, p.u))
        assert ((n_t - n_u == 1).all()) == adjacent
        assert (n_u < n_t).all() and (n_u == 0).any()


@each
@pytest.mark.parametrize("nodes", [1, 2, 40])
def test_terms_and_gradients_are_finite_down_to_one_interval(case: str, nodes: int) -> None:
    """One interval: u = tau = 0 in every row; two: tau = u and tau = 0 among them."""
    config = replace(CASES[case], first_nodes=nodes, last_nodes=nodes)
    for kind in reference.PRECONDITIONINGS:
        terms, found = gradient(build(replace(config, precondition=kind), (0, 1)))
        assert all(torch.isfinite(v).all() for v in terms.values()), (kind, terms)
        assert torch.isfinite(found).all(), kind
