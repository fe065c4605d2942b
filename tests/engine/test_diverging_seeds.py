"""Seeds that diverge: they stay as they are, and the others go on as if alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("gymnasium", reason="the agent's data package needs gymnasium")

from agent_cases import TINY, build, synthetic_table
from recordings import Again

from gtp_fast import engine
from gtp_fast.engine.loop import Captured, Eager


@pytest.mark.parametrize("kind", ["eager", "captured"])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_seed_that_diverges_stays_and_the_others_are_as_if_alone(backend: str, kind: str) -> None:
    table, total = synthetic_table(), 30
    rates = (3e-3, 1e30, 3e-3)
    config = replace(TINY, learning_rate=rates)
    agent = build(config, (1, 2, 3), backend=backend)
    agent.prepare(total)
    watch = engine.Watch(agent)
    kinds = {
        "eager": lambda: Eager(agent, table, watch),
        "captured": lambda: Captured(agent, table, watch, Again, lambda work: work(), 4),
    }
    states = []

    def after(done: int) -> None:
        states.append({name: value.clone() for name, value in agent.state_dict().items()})

    engine.run(kinds[kind](), agent, 0, total, (), after, lambda: 0)
    (one,) = watch.diverged()
    assert one.seed == 2 and one.step < 10
    assert set(one.broken) <= set(agent.metric_names)
    assert agent.diverged.tolist() == [-1, one.step, -1]
    last = states[-1]
    assert all(torch.isfinite(value).all() for value in last.values())
    for part in ("actor", "critic"):
        for name in ("online", "average"):
            for state in states[-5:]:
                assert torch.equal(state[f"{part}.{name}"][1], last[f"{part}.{name}"][1])
    healthy = build(replace(config, learning_rate=(3e-3,)), (1, 2, 3), backend=backend)
    healthy.prepare(total)
    for step in range(total):
        healthy.update(table, step)
    for name, value in healthy.state_dict().items():
        if name != "diverged":
            assert torch.equal(value[[0, 2]], last[name][[0, 2]]), name


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_seed_that_has_diverged_stays_even_where_its_loss_is_finite_again(backend: str) -> None:
    agent, table = build(TINY, (1, 2), backend=backend), synthetic_table()
    agent.prepare(30)
    agent.update(table, 0)
    agent.diverged[1] = 0
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    assert torch.isfinite(agent.update(table, 1)).all()
    after = agent.state_dict()
    for name in ("actor.online", "actor.average", "critic.online", "critic.average"):
        assert torch.equal(after[name][1], before[name][1]), name
        assert not torch.equal(after[name][0], before[name][0]), name
    assert agent.diverged.tolist() == [-1, 0]


def test_a_diverged_seed_stays_so_in_a_resumed_run_and_old_checkpoints_have_none() -> None:
    agent, table = build(replace(TINY, learning_rate=(3e-3, 1e30)), (1, 2)), synthetic_table()
    agent.prepare(30)
    for step in range(20):
        agent.update(table, step)
    saved = {name: value.clone() for name, value in agent.state_dict().items()}
    assert saved["diverged"][1] >= 0
    again = build(replace(TINY, learning_rate=(3e-3, 1e30)), (1, 2))
    again.prepare(30)
    again.load_state_dict(saved)
    again.update(table, 20)
    assert torch.equal(again.state_dict()["actor.online"][1], saved["actor.online"][1])
    old = {name: value for name, value in saved.items() if name != "diverged"}
    again.load_state_dict(old)
    assert again.diverged.tolist() == [-1, -1]


def test_a_loss_that_runs_away_and_stays_finite_ends_its_seed() -> None:
    config = replace(TINY, objective="mean-flow", eta=(0.0,))
    agent = build(config, (1, 2))
    agent.prepare(10)
    watch, table = engine.Watch(agent), synthetic_table()
    agent.actor.parameters.flat[0] *= 1e3
    before = agent.actor.parameters.flat.clone()
    watch.add(agent.update(table, 0), 0)
    (one,) = watch.diverged()
    assert (one.broken[0], one.seed, one.step) == ("consistency_loss", 1, 0)
    assert torch.equal(agent.actor.parameters.flat[0], before[0])
    assert not torch.equal(agent.actor.parameters.flat[1], before[1])
