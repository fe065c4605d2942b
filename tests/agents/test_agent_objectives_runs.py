"""Every objective of GTP as a run, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from agent_cases import TINY, build, run, synthetic_table
from objective_cases import CASES, double, each

from gtp_fast import agents, ops, reference
from gtp_fast.agents.gtp import GTPConfig, objectives
from gtp_fast.agents.gtp import config as gtp_config
from gtp_fast.agents.gtp.state import sampler_plan
from gtp_fast.errors import UserError


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
    for i, ((t, tau), *step) in enumerate(zip(plan.times, *plan.schedule, strict=True)):
        keep, gain, carry, spread = step[3:]
        phi = agent.clean(agent.actor.views, a, t * full, tau * full, batch)
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
