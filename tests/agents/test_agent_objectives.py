"""Every objective in the agent: closed forms, who learns and who must not, and the battery."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch
from agent_cases import TINY, build, make_table, run, synthetic_table

from gtp_fast import agents, ops, reference
from gtp_fast.agents.gtp import GTP, GTPConfig, objectives, update
from gtp_fast.agents.gtp import config as gtp_config
from gtp_fast.agents.gtp.state import sampler_plan
from gtp_fast.data.table import TransitionTable
from gtp_fast.errors import UserError
from gtp_fast.reference.philox import Stream

CASES = {
    "gtp, online teacher": replace(TINY, teacher="online", huber=True),
    "gtp, at zero": replace(TINY, compare_at="zero", flow_weight="edm", t_law="lognormal"),
    "flow": replace(TINY, objective="flow"),
    "flow, Heun": replace(TINY, objective="flow", solver="heun", k=3),
    "consistency": replace(TINY, objective="consistency"),
    "consistency, uniform u": replace(TINY, objective="consistency", u_mode="uniform"),
    "ctm": replace(TINY, objective="ctm"),
    "solver": replace(TINY, objective="solver"),
    "solver, Heun": replace(TINY, objective="solver", solver="heun", solver_steps=2),
    "shortcut": replace(TINY, objective="shortcut"),
    "mean-flow": replace(TINY, objective="mean-flow"),
    "linear-q": replace(TINY, objective="linear-q", lambda_q=(0.1,)),
}
each = pytest.mark.parametrize("case", CASES)


def double(config: GTPConfig, seeds: tuple[int, ...] = (0, 1), **options) -> GTP:
    return build(config, seeds, backend="reference", dtype=torch.float64, **options)


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
    """Move the moving average away from the actor, as training would."""
    flat = agent.actor.average.flat
    shift = torch.sin(torch.arange(flat.numel(), dtype=flat.dtype)).view_as(flat)
    flat.add_(0.05 * shift)


# --- closed forms --------------------------------------------------------------------------------


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


# --- gradients -----------------------------------------------------------------------------------


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
    agent = double(replace(CASES["linear-q"], eta=(3.0,), lambda_q=(1.0,)))
    assert torch.equal(agent.eta, torch.zeros_like(agent.eta))
    agent.prepare(4)
    agent.advance(0, synthetic_table())
    batch = agent.batch(synthetic_table(), 0)
    terms = objectives.linear_guidance(agent, batch, 0)
    noise = agent.chain_noise(0, Stream.GUIDANCE, TINY.batch_size)
    action = reference.folded_sample(agent.folded("online"), batch.observation, noise)
    q = agent.critic.values(batch.observation, action).amin(0).mean(1)
    assert torch.allclose(terms["guidance_loss"], -q, rtol=1e-9)


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


# --- edges ---------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("nodes", [1, 2, 40])
def test_terms_and_gradients_are_finite_down_to_one_interval(case: str, nodes: int) -> None:
    """One interval: u = tau = 0 in every row; two: tau = u and tau = 0 among them."""
    config = replace(CASES[case], first_nodes=nodes, last_nodes=nodes)
    for kind in reference.PRECONDITIONINGS:
        terms, found = gradient(build(replace(config, precondition=kind), (0, 1)))
        assert all(torch.isfinite(v).all() for v in terms.values()), (kind, terms)
        assert torch.isfinite(found).all(), kind


# --- the battery ---------------------------------------------------------------------------------


@each
def test_a_seed_among_others_is_that_seed_alone(case: str) -> None:
    table = synthetic_table()
    together, alone = double(CASES[case], seeds=(5, 6, 7)), double(CASES[case], seeds=(6,))
    metrics = run(together, table, 4), run(alone, table, 4)
    assert torch.allclose(metrics[0][:, 1:2], metrics[1], rtol=1e-7, atol=1e-10)
    left, right = together.state_dict()["actor.online"], alone.state_dict()["actor.online"]
    assert torch.allclose(left[1:2], right, rtol=1e-7, atol=1e-9)


@each
def test_runs_repeat_resume_and_take_a_step_on_the_device(case: str) -> None:
    table, total = synthetic_table(), 8
    config = replace(CASES[case], last_nodes=40)
    whole, again, cut, recorded = (build(config, (4, 9)) for _ in range(4))
    metrics = run(whole, table, total)
    assert torch.equal(metrics, run(again, table, total))
    assert torch.isfinite(metrics).all() and metrics.shape == (len(whole.metric_names), 2)
    assert whole.metric_names[: len(whole.loss_names)] == whole.loss_names

    cut.prepare(total)
    for step in range(3):
        cut.update(table, step)
    later = build(config, (4, 9))
    later.prepare(total)
    later.load_state_dict({name: value.clone() for name, value in cut.state_dict().items()})
    counter = torch.zeros((), dtype=torch.int64)
    recorded.prepare(total)
    for step in range(total):
        recorded.advance(step, table)
        recorded.update(table, counter)
        counter += 1
        if step >= 3:
            later.update(table, step)
    for other in (again, later, recorded):
        for name, value in whole.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


@each
@pytest.mark.parametrize("k", [1, 3])
def test_policies_act_in_the_box_by_their_own_sampler(case: str, k: int) -> None:
    agent = double(CASES[case])
    policy = agent.folded("online", k)
    state = torch.linspace(-1, 1, 2 * 5 * 3, dtype=torch.float64).reshape(2, 5, 3)
    noise = agent.chain_noise(0, 6, 5, policy.draws)
    actions = reference.folded_sample(policy, state, noise)
    assert actions.shape == (2, 5, 2) and float(actions.abs().max()) <= 1

    plan = sampler_plan(agent.config)(reference.sampling_times(k, dtype=torch.float64))
    batch = synthetic_table().gather(torch.zeros(2, 5, dtype=torch.int64))
    batch = type(batch)(*(x.double() for x in batch))._replace(observation=state)
    a = 80.0 * (noise[:, 0] if policy.draws > 1 else noise)
    before, full = torch.zeros_like(a), torch.ones_like(a[..., 0])
    for i, (t, told, keep, gain, carry, spread) in enumerate(zip(*plan, strict=True)):
        phi = agent.clean(agent.actor.views, a, t * full, told * full, batch)
        a = keep * a + gain * phi + carry * before
        if policy.draws > 1 and i + 1 < k:
            a = a + spread * noise[:, i + 1]
        before = phi
    assert torch.allclose(actions, a.detach().clamp(-1, 1), rtol=1e-9, atol=1e-10)


@each
def test_agents_are_built_again_from_the_settings_they_keep(case: str) -> None:
    agent = build(CASES[case], (0, 1))
    other = agents.build("gtp", agent.settings, 3, 2, (0, 1))
    assert other.config == agent.config
    assert other.metric_names == agent.metric_names


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (CASES["solver"], "--objective solver has no fused form"),
        (CASES["linear-q"], "sampler's gradient"),
        (replace(TINY, compare_at="zero"), "--compare-at zero has no fused form"),
        (replace(TINY, huber=True), "--huber has no fused form"),
    ],
)
def test_fused_losses_are_refused_where_there_are_none(
    config: GTPConfig, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ops.resolve
    monkeypatch.setattr(ops, "resolve", lambda _, *rest: real("auto", *rest))
    with pytest.raises(UserError, match=message):
        build(config, (0,), backend="fused")


def test_auto_says_why_an_objective_is_not_fused() -> None:
    agent = build(CASES["shortcut"], (0,))
    form = agent.ops.forms["loss"]
    assert form.name == "reference"
    assert form.reason == "--objective shortcut has no fused form"
    assert "--objective" not in build(TINY, (0,)).ops.describe()


def test_either_law_of_t_has_a_fused_form() -> None:
    config = replace(TINY, t_law="lognormal")
    assert gtp_config.unfused(config) == ""
    assert objectives.find(config) is None


@pytest.mark.parametrize("name", ["flow", "mean-flow"])
@pytest.mark.parametrize("setting", [{"compare_at": "zero"}, {"teacher": "online"}])
def test_settings_without_a_meaning_are_refused(name: str, setting) -> None:
    with pytest.raises(UserError, match="has no meaning for --objective"):
        build(replace(TINY, objective=name, **setting), (0,))
