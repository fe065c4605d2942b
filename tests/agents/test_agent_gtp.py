"""The GTP agent as a whole: against a straightforward one, against itself, between backends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from agent_cases import TINY, build, run, synthetic_table
from plain_gtp import PlainGTP

from gtp_fast import ops, reference
from gtp_fast.errors import UserError
from gtp_fast.reference import philox


def double(config, seeds=(0, 1), **options):
    return build(config, seeds, backend="reference", dtype=torch.float64, **options)


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


VARIANTS = {
    "default": TINY,
    "uniform u, cm": replace(TINY, u_mode="uniform", precondition="cm"),
    "no preconditioning": replace(TINY, precondition="none", lambda_flow=(0.3,)),
    "guided hard, clamped": replace(TINY, eta=(4.0,), weight_maximum=5.0),
    "unclamped": replace(TINY, weight_maximum=None),
    "max-Q backup": replace(TINY, max_q_backup=3, value_samples=4),
    "one step, shallow": replace(TINY, k=1, depth=1),
    "clipped": replace(TINY, max_gradient_norm=0.01),
    "clones": replace(TINY, eta=(0.0,)),
    "weight decay": replace(TINY, weight_decay=5.0),
    "decay, two rates of averages": replace(TINY, cosine_decay=True, ema_rate=0.2),
    "other times and scale": replace(
        TINY, precondition="cm", sigma_data=0.8, t_min=0.01, t_max=20.0, k=3
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_updates_are_those_of_a_straightforward_agent(variant: str) -> None:
    config, table = VARIANTS[variant], synthetic_table()
    agent = double(config, seeds=(3, 2**64 - 5))
    agent.prepare(12)
    plain = [PlainGTP(agent, index) for index in range(2)]
    for step in range(12):
        metrics = agent.update(table, step)
        for index, one in enumerate(plain):
            expected = one.update(table, step)
            got = dict(zip(agent.metric_names, metrics[:, index].tolist(), strict=True))
            for name, value in expected.items():
                assert got[name] == pytest.approx(value, rel=1e-7, abs=1e-10), (name, step)
    state = agent.state_dict()
    for index, one in enumerate(plain):
        for name, value in one.flat_state().items():
            if config.eta == (0.0,) and name.startswith("critic"):
                continue
            assert torch.allclose(state[name][index], value, rtol=1e-6, atol=1e-9), name


def test_no_parameter_holds_a_graph_and_no_average_learns_by_gradient() -> None:
    agent = double(replace(TINY, ema_rate=0.0, critic_ema_rate=0.0))
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    run(agent, synthetic_table(), 3)
    after = agent.state_dict()
    for name in ("actor", "critic"):
        assert torch.equal(after[f"{name}.average"], before[f"{name}.average"])
        assert not torch.equal(after[f"{name}.online"], before[f"{name}.online"])
        learner = agent.learners()[name]
        assert not any(view.requires_grad for view in learner.average_views.values())
        assert all(view.grad is None for view in learner.views.values())


def test_the_actor_loss_does_not_move_the_critic_nor_the_critic_loss_the_actor() -> None:
    table = synthetic_table()
    frozen_critic = double(replace(TINY, critic_learning_rate=(0.0,)))
    frozen_actor = double(replace(TINY, learning_rate=(0.0,)))
    start = {name: value.clone() for name, value in frozen_critic.state_dict().items()}
    run(frozen_critic, table, 3)
    run(frozen_actor, table, 3)
    assert torch.equal(frozen_critic.state_dict()["critic.online"], start["critic.online"])
    assert not torch.equal(frozen_critic.state_dict()["actor.online"], start["actor.online"])
    assert torch.equal(frozen_actor.state_dict()["actor.online"], start["actor.online"])
    assert not torch.equal(frozen_actor.state_dict()["critic.online"], start["critic.online"])


@pytest.mark.parametrize("config", [TINY, VARIANTS["clipped"], VARIANTS["max-Q backup"]])
def test_a_seed_among_others_is_that_seed_alone(config) -> None:
    table = synthetic_table()
    together = double(config, seeds=(5, 6, 7))
    alone = double(config, seeds=(6,))
    metrics = run(together, table, 10), run(alone, table, 10)
    # Batched products of other shapes may round otherwise; in float64 that is all that is left.
    assert torch.allclose(metrics[0][:, 1:2], metrics[1], rtol=1e-8, atol=1e-11)
    whole = together.state_dict()
    for name, value in alone.state_dict().items():
        assert torch.allclose(whole[name][1:2], value, rtol=1e-7, atol=1e-10), name


def test_seeds_start_and_draw_apart() -> None:
    agent = double(TINY, seeds=(0, 1, 2**32))
    online = agent.state_dict()["actor.online"]
    critic = agent.critic.learner.parameters.flat
    for rows in (online, critic):
        for i in range(len(rows)):
            for j in range(i):
                assert (rows[i] == rows[j]).float().mean() < 0.01
    # Weights of two networks of a seed have the sign of each other by chance alone.
    count = critic.shape[1]
    for other in critic[:2]:
        assert 0.3 < (online[0, :count].sign() == other.sign()).float().mean() < 0.7
    bound = 1 / (2 + 32 + 3) ** 0.5
    first = agent.actor.views["layer0.weight"].detach()
    assert first.abs().max() <= bound
    assert float(first.std()) == pytest.approx(bound / 3**0.5, rel=0.1)


def test_each_seed_takes_its_own_settings() -> None:
    table, etas, rates = synthetic_table(), (0.0, 0.5, 2.0), (1e-3, 3e-4, 1e-4)
    vector = replace(TINY, eta=etas, learning_rate=rates, lambda_flow=(1.0, 2.0, 0.0))
    together = double(vector, seeds=(1, 2, 3))
    metrics = run(together, table, 5)
    weight = metrics[together.metric_names.index("weight")].tolist()
    assert weight[0] == 1.0
    assert 1.0 < weight[1] < weight[2]
    for index in range(3):
        single = replace(
            TINY,
            eta=etas[index : index + 1],
            learning_rate=rates[index : index + 1],
            lambda_flow=vector.lambda_flow[index : index + 1],
        )
        alone = double(single, seeds=(index + 1,))
        run(alone, table, 5)
        left, right = together.state_dict()["actor.online"], alone.state_dict()["actor.online"]
        assert torch.allclose(left[index], right[0], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", ["eta", "lambda_flow", "learning_rate", "critic_learning_rate"])
def test_a_setting_for_the_wrong_number_of_seeds_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="2 values for 3 seeds"):
        build(replace(TINY, **{name: (1.0, 2.0)}), (0, 1, 2))


def test_without_guidance_every_weight_is_one_and_rewards_do_not_matter() -> None:
    poor, rich = synthetic_table(), synthetic_table(reward_scale=100.0)
    agents = [double(replace(TINY, eta=(0.0,))) for _ in range(2)]
    for agent, table in zip(agents, (poor, rich), strict=True):
        metrics = run(agent, table, 4)
        for name in ("weight", "weight_max"):
            assert (metrics[agent.metric_names.index(name)] == 1).all()
    assert_same(*(agent.state_dict() for agent in agents))


def test_guidance_off_for_one_seed_equals_guidance_off_for_all() -> None:
    table = synthetic_table()
    mixed = double(replace(TINY, eta=(0.0, 1.0)))
    clones = double(replace(TINY, eta=(0.0,)))
    run(mixed, table, 4)
    run(clones, table, 4)
    left, right = mixed.state_dict(), clones.state_dict()
    assert torch.allclose(left["actor.online"][0], right["actor.online"][0], rtol=1e-9)
    assert not torch.allclose(left["actor.online"][1], right["actor.online"][1], rtol=1e-3)


class NotedSampler:
    """A sampler that keeps the actions it has drawn."""

    def __init__(self, inner: Any):
        self.inner, self.draws = inner, inner.draws

    def load(self, policy: reference.FoldedPolicy) -> None:
        self.inner.load(policy)

    def sample(self, observation: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        self.actions = self.inner.sample(observation, noise)
        return self.actions


@pytest.mark.parametrize(("backups", "samples"), [(0, 1), (1, 2), (3, 1), (10, 4)])
def test_policy_actions_have_their_shapes_and_belong_to_their_states(backups, samples) -> None:
    config = replace(TINY, max_q_backup=backups, value_samples=samples, ema_rate=0.0)
    agent, table = double(config), synthetic_table()
    rows = philox.integers(agent.keys, 0, philox.Stream.BATCH, config.batch_size, len(table))
    batch = table.gather(rows)
    batch = type(batch)(*(field.double() for field in batch))
    agent.chain = NotedSampler(agent.chain)
    agent.update(table, 0)
    copies = max(1, backups)
    split = copies * config.batch_size
    following, own = agent.chain.actions[:, :split], agent.chain.actions[:, split:]
    assert following.shape == (2, copies * config.batch_size, 2)
    assert own.shape == (2, samples * config.batch_size, 2)
    assert following.abs().max() <= 1
    for stream, actions, states in (
        (philox.Stream.TARGET, following, batch.next_observation.repeat(1, copies, 1)),
        (philox.Stream.VALUE, own, batch.observation.repeat(1, samples, 1)),
    ):
        noise = philox.normals(agent.keys, 0, stream, actions.shape[1], 2, torch.float64)
        again = agent.ops.sampler(agent.folded("ema")).sample(states, noise)
        assert torch.allclose(actions, again, rtol=1e-10, atol=1e-12)


def test_a_sampler_is_packed_right_before_the_first_update_that_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed, real = [], ops.resolve

    def noted(*setup: Any) -> Any:
        found = real(*setup)
        return replace(found, chain=lambda policy: packed.append(policy) or found.chain(policy))

    monkeypatch.setattr(ops, "resolve", noted)
    for config, expected in ((TINY, 1), (replace(TINY, eta=(0.0,)), 0)):
        packed.clear()
        agent = double(config)
        agent.prepare(4)
        agent.acting()
        assert packed == []
        agent.advance(0, synthetic_table())
        assert len(packed) == expected
        for step in range(2):
            agent.update(synthetic_table(), step)
        assert len(packed) == expected
