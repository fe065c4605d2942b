"""Figures of health: closed forms, the same rows and bits each time, an agent left as it was."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from agent_cases import TINY, build, make, make_table, run, tiny

from gtp_fast import reference
from gtp_fast.agents import health
from gtp_fast.agents.gtp import GTP
from gtp_fast.agents.setup import Setup
from gtp_fast.data.table import TransitionTable

GUIDED = replace(TINY, eta=(1.0,), value_samples=2)


def table() -> TransitionTable:
    """Return eight episodes of eight rows, each of which earns more than the one before."""
    draw = torch.Generator().manual_seed(3)
    observation = torch.randn(64, 3, generator=draw)
    action = torch.rand(64, 2, generator=draw) * 2 - 1
    reward = (torch.arange(64) // 8).float()
    following = torch.randn(64, 3, generator=draw)
    return make_table(observation, action, reward, following, torch.ones(64), length=8)


def trained(config: object = GUIDED, seeds: tuple[int, ...] = (0, 5)) -> GTP:
    agent = build(config, seeds)
    run(agent, table(), 20)
    return agent


# --- formulas -------------------------------------------------------------------------------------


def test_the_effective_share_counts_the_rows_that_matter() -> None:
    w = torch.tensor([[1.0, 1, 1, 1], [0, 0, 7, 0], [2, 2, 0, 0], [1, 1, 1, 3]])
    expected = torch.tensor([1.0, 0.25, 0.5, 36 / 48])
    torch.testing.assert_close(reference.effective_share(w), expected)


def test_correlation_of_straight_lines_and_of_constants() -> None:
    x = torch.tensor([1.0, 2.0, 4.0, 5.0])
    other = torch.tensor([2.0, 5.0, 1.0, 4.0])
    constant = torch.full((4,), 0.1)
    pairs = [
        (x, 3 * x + 1),
        (x, -x),
        (constant, constant),
        (x, constant),
        (constant, x),
        (x, other),
    ]
    found = reference.correlation(*(torch.stack(side) for side in zip(*pairs, strict=True)))
    # About the mean 3: x is -2 -1 1 2 and the other -1 2 -2 1, which sums to 0.
    torch.testing.assert_close(found, torch.tensor([1.0, -1.0, 1.0, 0.0, 0.0, 0.0]))


def test_quartiles_cut_by_rank_and_keep_equal_values_together() -> None:
    assert reference.quartiles(torch.tensor([5.0, 1, 9, 3, 7, 2, 8, 6])).tolist() == [
        1, 0, 3, 1, 2, 0, 3, 2,
    ]  # fmt: skip
    # Of a success rate of 80 %, the failures are the lowest and the rest is around the middle.
    assert reference.quartiles(torch.tensor([1.0, 0, 1, 1, 1])).tolist() == [2, 0, 2, 2, 2]
    assert reference.quartiles(torch.zeros(6)).tolist() == [2] * 6


def test_mean_weights_by_quartile_have_nan_where_there_is_no_row() -> None:
    w, quartile = torch.tensor([[1.0, 3.0, 5.0]]), torch.tensor([[0, 0, 3]])
    found = reference.quartile_means(w, quartile)[:, 0].tolist()
    assert (found[0], found[3]) == (2.0, 5.0)
    assert math.isnan(found[1]) and math.isnan(found[2])


def test_error_and_deviation_of_samples() -> None:
    samples = torch.tensor([[[[0.0, 1.0]], [[2.0, 1.0]]]])
    error = reference.mean_action_error(samples, torch.tensor([[[1.0, 3.0]]]))
    assert error.tolist() == [(0 + 4) / 2]
    deviation = reference.action_deviation(samples)
    torch.testing.assert_close(deviation, torch.tensor([math.sqrt(2) / 2]))


# --- of an agent ----------------------------------------------------------------------------------


def test_figures_are_one_a_seed_and_leave_the_agent_as_it_was() -> None:
    agent = trained()
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    found = health.figures(agent, table())
    assert set(found) == {
        "weight_ess", "weight_correlation", *(f"weight_quartile_{i}" for i in range(1, 5)),
        "map_error", "euler_error", "map_std", "action_std_one_jump", "action_std_k_steps",
    }  # fmt: skip
    assert all(len(values) == 2 and math.isfinite(sum(values)) for values in found.values())
    # Two policy actions a state are no V(s), and two draws of them not the same.
    assert max(found["weight_correlation"]) < 1.0 - 1e-6
    assert health.figures(agent, table()) == found
    for name, value in agent.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_rows_are_the_same_all_run_long() -> None:
    agent = build(GUIDED, (0, 5))
    first = health.rows(agent, table())
    run(agent, table(), 3)
    assert torch.equal(health.rows(agent, table()), first)
    assert first.shape == (2, health.ROWS) and not torch.equal(first[0], first[1])
    # Nor do they begin with those that the first update draws.
    batch = agent.ops.integers(agent.keys, 0, health.Stream.BATCH, health.ROWS, len(table()))
    assert not torch.equal(first, batch)
    assert torch.equal(health.rows(build(GUIDED, (5,)), table())[0], first[1])


def test_weights_are_those_that_training_gives_and_their_noise_goes_by_the_draw() -> None:
    agent, data = trained(), table()
    index = torch.arange(32).expand(2, -1)
    w, again, same = (agent.weights_of(data, index, draw) for draw in (0, 1, 0))
    assert w is not None and again is not None and same is not None
    assert torch.equal(w, same) and not torch.equal(w, again)
    batch = data.gather(index)
    noise = agent.chain_noise(0, health.Stream.HEALTH_VALUE, 64)
    states = batch.observation.repeat(1, 2, 1)
    policy = reference.folded_sample(agent.folded("ema"), states, noise)
    actions = torch.cat((batch.action, policy), 1)
    values = agent.critic.values(batch.observation, actions).detach()
    expected = reference.weigh(values, agent.eta, 32, agent.config.weight_maximum)[0]
    torch.testing.assert_close(w, expected, rtol=1e-4, atol=1e-5)


def test_a_clone_weighs_all_rows_alike_and_others_none() -> None:
    clone = trained(replace(TINY, eta=(0.0,)))
    index = health.rows(clone, table())
    found = health.weight_figures(clone, table(), index)
    assert all(values == [1.0, 1.0] for values in found.values()) and len(found) == 6
    other = make("iql", (0, 5), tiny("iql"))
    assert health.weight_figures(other, table(), index) == {}
    assert health.action_figures(other, table(), index) == {}
    assert set(health.figures(other, table())) <= {"action_std_one_jump", "action_std_k_steps"}


def test_one_seed_alone_has_the_figures_that_it_has_among_others() -> None:
    both, one = build(GUIDED, (0, 5)), build(GUIDED, (5,))
    pair, alone = health.figures(both, table()), health.figures(one, table())
    for name, values in alone.items():
        assert values[0] == pytest.approx(pair[name][1], rel=1e-5), name


def test_unclamped_weights_beyond_float32_keep_the_figures_finite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = build(GUIDED, (0,))
    w = torch.ones(1, health.ROWS)
    w[0, 7] = math.inf
    monkeypatch.setattr(agent, "weights_of", lambda *_: w)
    found = health.weight_figures(agent, table(), health.rows(agent, table()))
    assert found["weight_ess"][0] == pytest.approx(1 / health.ROWS)
    assert found["weight_correlation"] == [pytest.approx(1.0)]


def test_quartiles_follow_the_returns_of_the_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, data = build(GUIDED, (0,)), table()
    index = health.rows(agent, data)
    # A row's weight is its reward, 0 to 7 by episode: two episodes lie in each quartile.
    monkeypatch.setattr(agent, "weights_of", lambda data, index, *_: data.gather(index).reward)
    found = health.weight_figures(agent, data, index)
    for i in range(4):
        assert 2 * i < found[f"weight_quartile_{i + 1}"][0] < 2 * i + 1


def test_quartiles_follow_success_where_guidance_goes_by_it() -> None:
    agent, data = build(replace(GUIDED, advantage_start=None), (0,)), table()
    # The four episodes of the lowest returns end at the goal, and are drawn three times as often.
    mask = torch.ones(64)
    mask[7:32:8] = 0.0
    data.rows[:, data.columns.mask] = mask
    data = replace(
        data,
        lots=reference.alias_table(torch.tensor([3, 1]).repeat_interleave(32)),
        rules=replace(data.rules, cut_at_goal=True),
        statistics=replace(data.statistics, success_rate=0.5),
    )
    assert data.episode_scores().tolist() == [1.0] * 4 + [0.0] * 4
    found = health.weight_figures(agent, data, health.rows(agent, data))
    quartiles = [found[f"weight_quartile_{i}"][0] for i in range(1, 5)]
    # Episodes that score alike share their middle rank, which leaves two quartiles empty.
    assert [math.isnan(one) for one in quartiles] == [True, False, True, False]
    assert (quartiles[1], quartiles[3]) == pytest.approx((0.5, 1.5))


def test_quartiles_count_how_often_an_episode_is_drawn() -> None:
    agent = build(replace(GUIDED, advantage_start=None), (0,))
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0]).repeat_interleave(16)
    data = replace(table(), lots=reference.alias_table(weights.long()))
    found = health.weight_figures(agent, data, health.rows(agent, data))
    shares = [found[f"weight_quartile_{i}"][0] for i in range(1, 5)]
    assert shares == pytest.approx([0.4, 0.8, 1.2, 1.6], rel=1e-6)
    assert (found["weight_ess"], found["weight_correlation"]) == ([1.0], [1.0])


def test_map_and_flow_are_told_apart() -> None:
    agent, data = trained(), table()
    index = health.rows(agent, data)
    found = health.action_figures(agent, data, index)
    flow = tuple(reference.flow_times(agent.config.k, dtype=torch.float64).tolist())
    for name, plan, times in (
        ("map", reference.map_plan, tuple(agent.times.tolist())),
        ("euler", reference.euler_plan, flow),
    ):
        batch = data.gather(index)
        c = agent.config
        policy = agent.network.fold(
            agent.actor.average_views, times, kind=c.precondition,
            sigma_data=c.sigma_data, t_min=c.t_min, plan=plan,
        )  # fmt: skip
        noise = agent.chain_noise(0, health.Stream.HEALTH_ACTION, health.SAMPLES * health.ROWS)
        states = batch.observation.repeat(1, health.SAMPLES, 1)
        samples = reference.folded_sample(policy, states, noise).unflatten(1, (health.SAMPLES, -1))
        expected = (samples.mean(1) - batch.action).square().mean((1, 2))
        assert found[f"{name}_error"] == pytest.approx(expected.tolist(), rel=1e-4)
        spread = samples.std(1).mean((1, 2)).tolist()
        assert (found["map_std"] == pytest.approx(spread, rel=1e-4)) == (name == "map")
    assert found["map_error"] != found["euler_error"]
    solved = build(replace(GUIDED, objective="flow"), (0,))
    assert health.action_figures(solved, data, index[:1]) == {}


def test_neither_scaled_noise_nor_standardised_observations_change_figures_of_actions() -> None:
    settings = replace(GUIDED, act_by="euler", noise_scale=0.25)
    plain = GTP(settings, Setup(3, 2, (0, 5)))
    moments = {"observation_mean": (3.0, -1.0, 0.5), "observation_scale": (2.0, 0.5, 4.0)}
    standard = GTP(settings, Setup(3, 2, (0, 5), **moments))
    loud = GTP(replace(settings, noise_scale=1.0), Setup(3, 2, (0, 5)))
    # All read the same numbers, which the second one's policy makes of raw observations.
    for of in (
        lambda agent: health.held_out_figures(agent, table(), table()),
        lambda agent: health.action_spread(agent, table(), 16),
    ):
        figures = of(plain)
        assert len(figures) == 2 and of(loud) == figures
        for name, values in of(standard).items():
            assert values == pytest.approx(figures[name], rel=1e-4), name


def test_the_spread_of_actions_is_that_of_the_map_without_candidates() -> None:
    alone = build(replace(GUIDED, act_by="map"), (0,))
    several = {"act_by": "euler", "num_candidates": 3, "candidate_rule": "mean"}
    among = build(replace(GUIDED, **several), (0,))
    found = health.action_spread(alone, table(), 16)
    assert health.action_spread(among, table(), 16) == found
    # One jump is all of the steps where K is 1.
    single = build(replace(GUIDED, act_by="map", k=1), (0,))
    of_one = health.action_spread(single, table(), 16)
    assert of_one["action_std_k_steps"] == found["action_std_one_jump"]
