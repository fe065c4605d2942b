"""Training and acting give the same bits whatever the number of threads."""

from __future__ import annotations

import pytest
import torch
from agent_cases import make, synthetic_table, tiny

from gtp_fast import agents
from gtp_fast.networks import FlowMapNetwork
from gtp_fast.networks.actor import ActorNetwork
from gtp_fast.system import native

pytestmark = pytest.mark.skipif(not native.available(), reason=native.missing())


def trained(name: str, threads: int) -> dict[str, torch.Tensor]:
    """Return an agent's state after some updates of one seed, and what acts."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        # Wide enough for PyTorch to share a product of one seed among threads.
        agent = make(name, (3,), tiny(name, width=64, batch_size=256, k=5), backend="fused")
        agent.prepare(10)
        table = agent.drawn_from(synthetic_table(2048, length=8))
        for step in range(4):
            agent.update(table, step)
        return agent.state_dict() | {"policy": agent.folded().flatten()}
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", sorted(agents.REGISTRY))
def test_the_bits_of_a_seed_do_not_depend_on_threads(name: str) -> None:
    alone = trained(name, 1)
    for threads in (2, 3):
        shared = trained(name, threads)
        assert [key for key, value in alone.items() if not torch.equal(value, shared[key])] == []


@pytest.mark.parametrize("name", sorted(agents.REGISTRY))
def test_every_network_that_folds_time_has_the_agents_product(name: str) -> None:
    agent = make(name, (3,), backend="fused")
    networks = [x for x in vars(agent).values() if isinstance(x, (ActorNetwork, FlowMapNetwork))]
    assert networks
    for network in networks:
        if isinstance(network, FlowMapNetwork) or network.edges[0] < network.edges[1]:
            assert network.affine is agent.ops.affine
