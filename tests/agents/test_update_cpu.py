"""The whole update in one native call, against the same passes called one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from agent_cases import TINY, synthetic_table
from folded import Folded, Form, Sizes
from tolerance import assert_as_accurate

from gtp_fast.agents.gtp import GTP, update
from gtp_fast.agents.gtp.update_native import NativeUpdate
from gtp_fast.agents.setup import Setup
from gtp_fast.errors import UserError
from gtp_fast.ops.sampler import NativeSampler
from gtp_fast.system import native

pytestmark = pytest.mark.skipif(not native.available(), reason=native.missing())
BASE = replace(TINY, eta=(1.0, 2.0), max_gradient_norm=1.0)
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "two steps, uniform u": {"k": 2, "u_mode": "uniform", "precondition": "cm"},
    "log-normal t": {"t_law": "lognormal", "last_nodes": 40},
    "several actions": {"max_q_backup": 2, "value_samples": 3},
    "shares, one layer": {"lambda_flow": (0.3, 2.0), "depth": 1, "weight_maximum": 3.0},
    "averages": {"ema_rate": 0.2, "critic_ema_rate": 0.01},
    "decay": {"cosine_decay": True, "learning_rate": (1e-3, 1e-2), "max_gradient_norm": None},
    "cloning": {"eta": (0.0,)},
    "weight decay": {"weight_decay": 5.0, "cosine_decay": True, "learning_rate": (1e-3, 1e-2)},
    "by lots": {"trajectory_eta": 2.0},
    "by lots alone": {"trajectory_eta": 2.0, "advantage_start": None},
    "weights later": {"advantage_start": 3},
    "jumps by their gap": {"consistency_weight": "gap", "u_mode": "uniform"},
    "jumps by the nodes": {"consistency_weight": "nodes", "last_nodes": 40},
    "other times": {"t_min": 0.01, "t_max": 20.0, "sigma_data": 0.8, "precondition": "cm"},
}


def trained(
    config: Any, by_one_call: bool, seeds: tuple[int, ...] = (3, 5), updates: int = 6
) -> dict[str, torch.Tensor]:
    agent = GTP(config, Setup(3, 2, seeds, "cpu", "fused"))
    agent.prepare(10)
    table = agent.drawn_from(synthetic_table(length=8))
    agent.advance(0, table)
    assert isinstance(agent.do, NativeUpdate)
    if not by_one_call:
        agent.do = update.build(agent)
    assert (table.lots is None) == (config.trajectory_eta == 0.0)
    metrics = [agent.update(table, step) for step in range(updates)]
    return agent.state_dict() | {"metrics": torch.stack(metrics)}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_the_bits_are_those_of_single_operations(name: str, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        config = replace(BASE, **CASES[name])
        own, plain = trained(config, True), trained(config, False)
    finally:
        torch.set_num_threads(before)
    assert torch.isfinite(own["metrics"]).all()
    for key, value in own.items():
        assert torch.equal(value, plain[key]), key


@pytest.mark.parametrize("updates", [1, 10, 100])
def test_parameters_stay_as_close_to_float64_as_plain_pytorch(updates: int) -> None:
    def done(backend: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        # Sixteen seeds: the largest error of one may be luck.
        agent = GTP(replace(BASE, eta=(1.0,)), Setup(3, 2, range(16), "cpu", backend, dtype))
        agent.prepare(100)
        metrics = [agent.update(synthetic_table(), step) for step in range(updates)]
        state = {name: x for name, x in agent.state_dict().items() if x.is_floating_point()}
        return state | {"metrics": torch.stack(metrics)}

    fast, plain = done("fused", torch.float32), done("reference", torch.float32)
    exact = done("reference", torch.float64)
    for name in exact:
        assert_as_accurate(name, fast[name], plain[name], exact[name])


def test_a_seed_alone_equals_itself_among_others() -> None:
    config = replace(BASE, eta=(1.0,))
    among, alone = trained(config, True, (3, 5, 9)), trained(config, True, (5,))
    for name, value in alone.items():
        whole = among[name][..., 1:2] if name == "metrics" else among[name][1:2]
        assert torch.equal(whole, value), name


def test_a_seed_that_diverges_stays_while_others_go_on() -> None:
    agent = GTP(BASE, Setup(3, 2, (3, 5), "cpu", "fused"))
    agent.prepare(10)
    agent.update(synthetic_table(), 0)
    agent.actor.parameters.flat[0, 0] = float("nan")
    before = agent.state_dict()["actor.average"].clone()
    agent.update(synthetic_table(), 1)
    assert agent.diverged.tolist() == [1, -1]
    after = agent.state_dict()["actor.average"]
    assert torch.equal(before[0], after[0]) and not torch.equal(before[1], after[1])


@pytest.mark.parametrize("by_one_call", [True, False])
def test_a_seed_stays_where_the_sum_of_its_losses_alone_is_infinite(by_one_call: bool) -> None:
    config = replace(BASE, lambda_flow=(1.0, 1e6))
    agent, table = GTP(config, Setup(3, 2, (3, 5), "cpu", "fused")), synthetic_table()
    if not by_one_call:
        agent.do = update.build(agent)
    # Either loss is some 1e34 in both seeds: the second seed's share takes the sum beyond float32.
    with torch.no_grad():
        agent.actor.parameters.views["layer2.bias"].fill_(1e17)
    metrics = agent.update(table, 0)
    assert torch.isfinite(metrics).all()
    assert agent.diverged.tolist() == [-1, 0]


def test_objectives_without_a_whole_update_go_by_single_operations() -> None:
    agent = GTP(replace(BASE, objective="flow"), Setup(3, 2, (3, 5), "cpu", "auto"))
    assert torch.isfinite(agent.update(synthetic_table(), 0)).all()
    assert not isinstance(agent.do, NativeUpdate)


def test_a_table_it_cannot_read_is_refused() -> None:
    agent, table = GTP(BASE, Setup(3, 2, (3, 5), "cpu", "fused")), synthetic_table()
    with pytest.raises(ValueError, match="contiguous float32"):
        agent.update(replace(table, rows=table.rows.double()), 0)


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_a_table_of_another_task_is_refused(backend: str) -> None:
    agent, table = GTP(BASE, Setup(3, 2, (3, 5), "cpu", backend)), synthetic_table()
    agent.update(table, 0)
    before = agent.actor.parameters.flat.clone()
    # Rows of one width: only the sizes of their fields tell the two tasks apart.
    other = replace(table, observation_dim=2, action_dim=4)
    with pytest.raises(UserError, match="observations of 2 numbers and actions of 4, the agent"):
        agent.update(other, 1)
    if backend == "fused":
        with pytest.raises(UserError, match=r"rows of the table must be \[N, 10\], not \[64, 9\]"):
            agent.update(replace(table, rows=table.rows[:, 1:].contiguous()), 1)
    assert torch.equal(agent.actor.parameters.flat, before)


def test_networks_that_do_not_fit_are_refused() -> None:
    agent = GTP(BASE, Setup(3, 2, (3, 5), "cpu", "fused"))
    agent.observation_dim = 4
    with pytest.raises(ValueError, match="does not fit the observation"):
        NativeUpdate(agent)


# A place among actor, both clocks and critic, and one end of that network.
@pytest.mark.parametrize(
    ("place", "end", "message"),
    [(0, end, "the actor does not fit") for end in (0, -1)]
    + [(place, -1, "the two clocks must be alike") for place in (1, 2)]
    + [(3, end, "the critic does not fit") for end in (0, -1)],
)
def test_a_network_of_another_size_is_refused(
    place: int, end: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = GTP(BASE, Setup(3, 2, (3, 5), "cpu", "fused"))
    nets = NativeUpdate(agent)._nets()
    nets[place][0][end] += 1
    monkeypatch.setattr(NativeUpdate, "_nets", lambda _: nets)
    with pytest.raises(ValueError, match=message):
        NativeUpdate(agent)


OWN = {"S": 2, "O": 3, "A": 2, "H": 8, "L": 2, "K": 2}


@pytest.mark.parametrize("name", ["S", "O", "A", "H", "L", "noise"])
def test_a_sampler_of_another_policy_is_refused(name: str) -> None:
    agent = GTP(BASE, Setup(3, 2, (3, 5), "cpu", "fused"))
    agent.chain = NativeSampler(Folded(Sizes(**OWN)).policy())
    NativeUpdate(agent)
    sizes = Sizes(**OWN | ({name: OWN[name] + 1} if name in OWN else {}))
    form = Form(stochastic=name == "noise")
    agent.chain = NativeSampler(Folded(sizes, form=form).policy())
    with pytest.raises(ValueError, match="the sampler does not fit the actor"):
        NativeUpdate(agent)


@pytest.mark.parametrize("nothing", ["batch_size", "value_samples"])
def test_an_update_of_nothing_is_refused(nothing: str) -> None:
    agent = GTP(BASE, Setup(3, 2, (3, 5), "cpu", "fused"))
    agent.config = replace(agent.config, **{nothing: 0})
    with pytest.raises(ValueError, match="an update needs seeds, rows and actions"):
        NativeUpdate(agent)


def test_a_table_without_rows_is_refused() -> None:
    agent, rows = GTP(BASE, Setup(3, 2, (3, 5), "cpu", "fused")), torch.zeros(1000)
    at = rows.data_ptr()
    with pytest.raises(ValueError, match="there is nothing to draw from"):
        NativeUpdate(agent).native.run(at, 0, 0, (3, 2), 0, 10, [at, at], 1.0, at)
