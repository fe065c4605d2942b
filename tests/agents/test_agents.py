"""One battery for the updates of every agent of the registry."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from agent_cases import make, make_table, run, synthetic_table, tiny
from torch.utils._python_dispatch import TorchDispatchMode

from gtp_fast import agents, engine
from gtp_fast.agents import health
from gtp_fast.agents.base import Agent
from gtp_fast.engine.loop import Captured, Eager
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream

NAMES = sorted(agents.REGISTRY)
CRITICS = [name for name in NAMES if name != "bc"]

# How strongly each agent is guided in the bandit: seed 0 as little as can be, seed 1 strongly.
_QIPO: dict[str, Any] = {
    "beta": (0.0, 10.0), "behaviour_fraction": 0.6, "support": 4, "k": 15, "learning_rate": (8e-3,),
}  # fmt: skip
GUIDED: dict[str, dict[str, Any]] = {
    "gtp": {"eta": (0.0, 4.0), "t_max": 20.0, "last_nodes": 40, "k": 5, "precondition": "none"},
    "diffusion-ql": {"eta": (0.0, 3.0)},
    "consistency-ac": {"eta": (0.0, 30.0), "last_nodes": 20, "t_max": 20.0},
    "iql": {"beta": (0.0, 20.0)},
    "fql": {"alpha": (100.0, 0.3), "flow_steps": 5},
    "qipo-diff": _QIPO,
    "qipo-ot": _QIPO,
    "sscql": {"alpha_completion": (30.0, 0.5), "alpha_flow": (30.0, 1.0)},
    "bc": {},
}
# These cannot keep two modes, they take their (weighted) mean: a policy of one action for each
# state, and SSCQL, whose one step from pure noise is fitted to the actions by squared error.
COLLAPSES = ("bc", "iql", "sscql")
UPDATES = 400


def double(name: str, seeds: tuple[int, ...] = (0, 1), **changes: Any) -> Agent:
    config = tiny(name, **changes)
    return make(name, seeds, config, backend="reference", dtype=torch.float64)


def state(agent: Agent) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in agent.state_dict().items()}


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


# --- learning ------------------------------------------------------------------------------------


@cache
def bandit_actions(name: str) -> torch.Tensor:
    """Train on one state with actions near -0.6 and 0.6, of which the right ones pay 1, and return
    256 actions of each seed [2, 256].
    """
    noise = philox.normals(philox.key_tensor([3]), 0, Stream.COLLECT, 512, 1)[0]
    side = torch.where(torch.arange(512) % 2 == 0, -1.0, 1.0)[:, None]
    action = (0.6 * side + 0.08 * noise).clamp(-1, 1)
    here, paid = torch.zeros(512, 1), (side[:, 0] > 0).float()
    table = make_table(here, action, paid, here, torch.zeros(512))
    fast = {"learning_rate": (4e-3,), "critic_learning_rate": (4e-3,), "width": 32}
    config = tiny(name, **(fast | {"batch_size": 64} | GUIDED[name]))
    agent = make(name, (0, 1), config, observation_dim=1, action_dim=1)
    run(agent, table, UPDATES)
    sampler = agent.acting("ema", num_candidates=1).sampler
    z = agent.chain_noise(0, Stream.ACT, 256, sampler.draws)
    return sampler.sample(torch.zeros(2, 256, 1), z)[..., 0]


def near(action: torch.Tensor, mode: float) -> float:
    return float(((action - mode).abs() < 0.3).float().mean())


@pytest.mark.parametrize("name", NAMES)
def test_both_modes_of_a_bandit_are_kept_unless_the_agent_has_one_action(name: str) -> None:
    action = bandit_actions(name)[0]
    if name in COLLAPSES:
        assert float(action.std()) < (0.2 if name == "sscql" else 1e-6)
        assert float(action.mean()) == pytest.approx(0.0, abs=0.15)
        return
    shares = near(action, -0.6), near(action, 0.6)
    assert min(shares) > 0.15 and float(action.std()) > 0.3, (shares, action[:20])


@pytest.mark.parametrize("name", CRITICS)
def test_the_mode_that_pays_is_preferred(name: str) -> None:
    cloned, guided = bandit_actions(name)
    right = float((guided > 0.3).float().mean())
    assert right > 0.7 and near(guided, -0.6) < 0.1, (right, guided[:20])
    assert float(guided.mean()) > float(cloned.mean()) + 0.2


# --- what moves, and what does not ---------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_targets_follow_at_their_rates(name: str) -> None:
    agent = double(name, ema_rate=0.1, critic_ema_rate=0.3)
    agent.prepare(4)
    rates = {"actor": 0.1, "critic": 0.3}
    for step in range(4):
        before = state(agent)
        agent.update(synthetic_table(), step)
        after = state(agent)
        for part, rate in rates.items():
            if f"{part}.online" not in after:
                continue
            old, online = before[f"{part}.average"], after[f"{part}.online"]
            wanted = old + rate * (online - old)
            assert torch.allclose(after[f"{part}.average"], wanted, rtol=1e-12, atol=1e-14), part
            assert not torch.equal(online, before[f"{part}.online"])


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_reaches_an_average(name: str) -> None:
    agent = double(name)
    run(agent, synthetic_table(), 2)
    for part in agent.learners().values():
        assert not any(view.requires_grad for view in part.average_views.values())
        assert all(view.grad is None for view in part.views.values())


@pytest.mark.parametrize("name", CRITICS)
def test_the_actors_loss_leaves_the_critic_alone_and_the_critics_the_actor(name: str) -> None:
    table = synthetic_table()
    for frozen, part in (("learning_rate", "actor"), ("critic_learning_rate", "critic")):
        agent = double(name, **{frozen: (0.0,)})
        before = state(agent)
        run(agent, table, 3)
        for key, value in state(agent).items():
            if key.endswith("online"):
                parts = {"actor": ("actor", "flow"), "critic": ("critic", "value")}[part]
                still = key.startswith(parts)
                assert torch.equal(value, before[key]) == still, key


# --- the seed axis, continuation, the device -----------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_among_others_is_that_seed_alone(name: str) -> None:
    table = synthetic_table()
    together, alone = double(name, (5, 6, 7)), double(name, (6,))
    metrics = run(together, table, 5), run(alone, table, 5)
    assert torch.allclose(metrics[0][:, 1:2], metrics[1], rtol=1e-8, atol=1e-11)
    whole = together.state_dict()
    for key, value in alone.state_dict().items():
        assert torch.allclose(whole[key][1:2], value, rtol=1e-7, atol=1e-10), key


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_agent_goes_on_bit_for_bit(name: str) -> None:
    table, total, agent = synthetic_table(), 8, make(name, (4, 9))
    run(agent, table, total)
    first, second = make(name, (4, 9)), make(name, (4, 9))
    for part, steps in ((first, range(3)), (second, range(3, total))):
        part.prepare(total)
        if part is second:
            second.load_state_dict(state(first))
        for step in steps:
            part.update(table, step)
    assert_same(second.state_dict(), agent.state_dict())


class _NoWaiting(TorchDispatchMode):
    """Fails where the host would have to wait for a number."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        waits = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select")
        # Agents here compute in float32: a number in float64 is a constant that lies on the host.
        host = isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float64
        assert host or func.overloadpacket.__name__ not in waits, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", NAMES)
def test_an_update_takes_its_step_as_a_tensor_and_waits_for_nothing(name: str) -> None:
    table = synthetic_table()
    counted, plain = (make(name, (0, 1), backend="reference") for _ in range(2))
    for agent in (counted, plain):
        agent.prepare(4)
    for step in range(4):
        counted.advance(step, table)
        number = torch.tensor(step)
        with _NoWaiting():
            metrics = counted.update(table, number)
        plain.advance(step, table)
        assert torch.allclose(metrics, plain.update(table, step), rtol=1e-4, atol=1e-6)
    for key, value in counted.state_dict().items():
        assert torch.allclose(value, plain.state_dict()[key], rtol=1e-4, atol=1e-5), key


class _Recording:
    """A recording that knows only the phase of the agent that it was made in."""

    def __init__(self, agent: Agent, work: Callable[[], None]):
        self.agent, self.work, self.phase = agent, work, agent.phase

    def replay(self) -> None:
        assert self.agent.phase == self.phase, "this form of the update was recorded earlier"
        self.work()


@pytest.mark.parametrize("name", NAMES)
def test_recorded_updates_follow_schedules_and_phases(name: str) -> None:
    """An agent says for how many updates one `advance` is enough, and when its form changes."""
    config = tiny(
        name, last_nodes=20, behaviour_fraction=0.4, warmup_fraction=0.3, advantage_start=13
    )
    table, total = synthetic_table(), 30
    eager, recorded = (make(name, (0, 1), config) for _ in range(2))
    for agent in (eager, recorded):
        agent.prepare(total)
    watches = [engine.Watch(agent) for agent in (eager, recorded)]
    captured = Captured(
        recorded, table, watches[1], lambda work: _Recording(recorded, work), lambda work: work(), 4
    )
    for runs, agent in ((Eager(eager, table, watches[0]), eager), (captured, recorded)):
        engine.run(runs, agent, 0, total, (), lambda done: None, lambda: 0)
    assert_same(eager.state_dict(), recorded.state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_finite_named_and_one_column_a_seed(name: str) -> None:
    agent = make(name, (0, 1, 2))
    assert agent.metric_names[: len(agent.loss_names)] == agent.loss_names
    metrics = run(agent, synthetic_table(), 3)
    assert metrics.shape == (len(agent.metric_names), 3)
    assert torch.isfinite(metrics).all()
    assert not metrics.requires_grad
    spread = health.action_spread(agent, synthetic_table(), 16)
    assert all(len(values) == 3 for values in spread.values())
    assert ("action_std_one_jump" in spread) == agent.k_is_free and "action_std_k_steps" in spread


def test_the_spread_of_actions_is_that_of_the_weights_that_act() -> None:
    agent = make("diffusion-ql", (0,), tiny("diffusion-ql", ema_start=1000))
    table = synthetic_table()
    before = health.action_spread(agent, table, 16)
    # The moving average stays the initial actor for the first 1,000 updates.
    run(agent, table, 3)
    assert health.action_spread(agent, table, 16) != before
