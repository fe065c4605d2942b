"""Guidance by whole episodes: what an episode is held against, and what is drawn for it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from agent_cases import TINY, build, synthetic_table

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.reference import trajectory_advantage

GUIDED = replace(TINY, trajectory_eta=2.0)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def correlation(x: torch.Tensor, y: torch.Tensor) -> float:
    return float(reference.correlation(x.double(), y.double()))


def smooth(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return starts on a line, a smooth function of them, and noise."""
    draw = generator(count)
    start = 2 * torch.rand(count, 1, generator=draw) - 1
    return start, 10 * torch.sin(3 * start[:, 0]), 0.5 * torch.randn(count, generator=draw)


def test_starts_that_tell_nothing_leave_the_two_groups_of_returns() -> None:
    returns = torch.tensor([3.0, 7.0]).repeat(100)
    advantage = trajectory_advantage(returns, torch.randn(200, 3, generator=generator(0)))
    assert advantage.dtype == torch.float64
    assert float(advantage.std(correction=0)) == pytest.approx(1.0)
    assert correlation(advantage, returns) > 0.95
    same = trajectory_advantage(returns, torch.ones(200, 3))
    torch.testing.assert_close(same, torch.tensor([-1.0, 1.0]).repeat(100).double())


# Of more than 512 episodes, some are judged that the regression is not fitted to.
@pytest.mark.parametrize("count", [200, 700])
def test_what_the_start_tells_is_explained_away(count: int) -> None:
    start, told, noise = smooth(count)
    advantage = trajectory_advantage(told + noise, start)
    assert advantage.shape == (count,) and torch.isfinite(advantage).all()
    assert float(advantage.std(correction=0)) == pytest.approx(1.0)
    assert correlation(advantage, noise) > 0.95
    assert abs(correlation(advantage, told)) < 0.15


def test_episodes_beside_the_fit_are_judged_like_those_of_it() -> None:
    start, told, noise = smooth(700)
    advantage = trajectory_advantage(told + noise, start)
    fit = torch.zeros(700, dtype=torch.bool)
    fit[torch.linspace(0, 699, 512, device="cpu").round().long()] = True
    for part in (fit, ~fit):
        assert correlation(advantage[part], noise[part]) > 0.95


def test_a_start_of_its_own_does_not_explain_away_its_own_return() -> None:
    start = torch.cat((torch.linspace(0, 1, 60), torch.tensor([5.0])))[:, None]
    returns = 10 * torch.sin(6 * start[:, 0]) + 0.1 * torch.randn(61, generator=generator(1))
    returns[-1] = 30.0
    advantage = trajectory_advantage(returns, start)
    # One of 61 that is far above what all others promise.
    assert advantage[-1] > 7.0 and advantage[:-1].abs().max() < 1.0


def by_refits(returns: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Return the advantages of a regression that is fitted once more without each episode."""
    y, each = returns - returns.mean(), torch.arange(len(returns))
    apart = (starts[:, None] - starts).square().sum(-1)
    unit, best = apart[apart > 0].median(), y
    for bandwidth in (0.03, 0.1, 0.3):
        kernel = torch.exp(-apart / (2 * bandwidth * unit))
        for ridge in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0, 1e9):
            alone = y.clone()
            for i in range(len(y)):
                rest = each != i
                ridged = kernel[rest][:, rest] + ridge * torch.eye(len(y) - 1, dtype=y.dtype)
                alone[i] -= kernel[i, rest] @ torch.linalg.solve(ridged, y[rest])
            best = min(best, alone, key=lambda errors: float(errors.square().mean()))
    return best / best.std(correction=0)


# The least error has bandwidth 0.3, 0.1, 0.03 and 0.03, and ridge 0.01, 0.01, 0.3 and 1.
@pytest.mark.parametrize(("rate", "noise"), [(3, 0.05), (20, 0.3), (8, 0.3), (8, 1.0)])
def test_the_regression_is_that_of_the_least_error_without_each_episode(
    rate: int, noise: float
) -> None:
    draw = generator(1)
    start = torch.rand(24, 1, generator=draw).double()
    returns = 5 + torch.sin(rate * start[:, 0]) + noise * torch.randn(24, generator=draw)
    # Most pairs have one start: the unit of the bandwidth is the median of the others.
    for same in (5, 19):
        start[:same] = start[0]
        found = trajectory_advantage(returns, start)
        torch.testing.assert_close(found, by_refits(returns, start), rtol=0, atol=1e-9)


def test_the_regression_knows_episodes_of_the_whole_set() -> None:
    # In an order of its own, as where a worse set comes before a better one.
    start = torch.linspace(-1, 1, 700)[:, None]
    told, noise = 50 + 10 * torch.sin(3 * start[:, 0]), torch.randn(700, generator=generator(4))
    advantage = trajectory_advantage(told + 0.5 * noise, start)
    assert correlation(advantage, noise) > 0.95


# Distances by a matrix product are not 0 here; with these draws their rounding explained returns.
@pytest.mark.parametrize("seed", [8, 10, 20, 26, 28])
def test_one_start_of_all_tells_nothing(seed: int) -> None:
    draw = generator(seed)
    start = torch.randn(1, 29, generator=draw).expand(200, -1)
    returns = torch.randn(200, generator=draw).double()
    wanted = (returns - returns.mean()) / returns.std(correction=0)
    found = trajectory_advantage(returns, start)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("count", [1, 9])
def test_equal_returns_are_neither_good_nor_bad(count: int) -> None:
    starts = torch.randn(count, 2, generator=generator(2))
    assert trajectory_advantage(torch.full((count,), 0.3), starts).tolist() == [0.0] * count


def test_weights_are_exponential_in_what_is_above_the_promise_up_to_a_maximum() -> None:
    advantage = torch.tensor([-2.0, 0.0, 0.5, 1.0, 9.0], dtype=torch.float64)
    found = reference.trajectory_weights(advantage, torch.ones(5), 2.0, 5.0).tolist()
    assert found == pytest.approx([1.0, 1.0, math.e, 5.0, 5.0])


@pytest.mark.parametrize("least", [0.4, 0.5, 0.9, 1.0])
def test_eta_is_lowered_until_the_least_share_of_the_rows_counts(least: float) -> None:
    advantage = torch.randn(300, generator=generator(5), dtype=torch.float64)
    lengths = torch.randint(1, 40, (300,), generator=generator(6))
    w = reference.trajectory_weights(advantage, lengths, 3.0, 20.0, least)
    # Rows that are drawn by weight w count as many as (sum w)^2 / sum w^2 of them.
    rows = w.repeat_interleave(lengths)
    share = float(rows.sum().square() / (rows.square().sum() * len(rows)))
    assert share >= least and share == pytest.approx(least, abs=1e-3)
    untouched = reference.trajectory_weights(advantage, lengths, 3.0, 20.0, 0.1)
    assert torch.equal(untouched, (3.0 * advantage.clamp(min=0.0)).exp().clamp(max=20.0))


def test_episodes_of_goal_tasks_are_judged_by_success() -> None:
    table = synthetic_table(length=8)
    mask = table.rows[:, -1]
    mask.fill_(1.0)
    mask[[7, 23]] = 0.0
    statistics = replace(table.statistics, success_rate=0.25)
    goals = replace(table, statistics=statistics, rules=replace(table.rules, cut_at_goal=True))
    assert goals.episode_scores().tolist() == [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    for other in (table, replace(table, statistics=statistics)):
        assert torch.equal(other.episode_scores(), table.episode_returns())


# --- of an agent ----------------------------------------------------------------------------------


def test_better_episodes_are_drawn_more_often() -> None:
    table = synthetic_table(length=8)
    drawn = build(GUIDED, (0,)).drawn_from(table)
    assert table.lots is None and drawn.lots is not None
    assert torch.equal(drawn.rows, table.rows)
    shares = 64 * reference.alias_shares(drawn.lots).view(8, 8)
    torch.testing.assert_close(shares, shares[:, :1].expand(8, 8), rtol=1e-8, atol=0)
    advantage = trajectory_advantage(table.episode_returns(), table.episode_starts())
    below = advantage <= 0
    assert below.any() and float(shares[below].max() / shares[below].min()) == pytest.approx(1.0)
    order = advantage[~below].argsort()
    assert (shares[~below][order, 0].diff() > -1e-9).all()
    assert shares[advantage.argmax(), 0] > 1.3 * shares[below].max()


def test_pieces_are_judged_by_their_return_to_go_from_their_own_first_state() -> None:
    table = synthetic_table(length=8)
    # Pieces of 3 rows do not run over the end of an episode of 8.
    pieces = replace(GUIDED, trajectory_piece=3, discount=0.7)
    drawn = build(pieces, (0,)).drawn_from(table)
    assert drawn.lots is not None
    shares = 64 * reference.alias_shares(drawn.lots).view(8, 8)
    first = torch.arange(64) % 8 % 3 == 0
    rows = table.all()
    returns = reference.return_to_go(rows.reward, rows.mask, table.episode, pieces.discount)
    advantage = trajectory_advantage(returns[first].double(), rows.observation[first])
    weights = reference.trajectory_weights(
        advantage, torch.tensor([3, 3, 2] * 8), GUIDED.trajectory_eta, GUIDED.trajectory_maximum,
        GUIDED.trajectory_least_share,
    )  # fmt: skip
    wanted = weights.repeat_interleave(torch.tensor([3, 3, 2] * 8))
    assert wanted.max() > 1.3 * wanted.min()
    torch.testing.assert_close(
        shares.view(-1) / shares.sum(), wanted / wanted.sum(), rtol=2e-3, atol=0, check_dtype=False
    )
    whole = build(replace(pieces, trajectory_piece=8), (0,)).drawn_from(table)
    assert whole.lots is not None and not torch.equal(whole.lots, drawn.lots)


@pytest.mark.parametrize("changes", [{"eta": (0.0,)}, {"trajectory_eta": 0.0}])
def test_without_guidance_the_table_stays_as_it_is(changes: dict[str, object]) -> None:
    table = synthetic_table(length=8)
    assert build(replace(GUIDED, **changes), (0,)).drawn_from(table) is table


def test_clones_beside_guided_seeds_are_refused() -> None:
    with pytest.raises(UserError, match="--eta 0 clones, and --trajectory-eta guides all seeds"):
        build(replace(GUIDED, eta=(0.0, 1.0)), (0, 1))
    assert build(replace(GUIDED, eta=(0.0, 1.0), trajectory_eta=0.0), (0, 1)).guided


# --- the start of the advantage weights -----------------------------------------------------------


def test_advantage_weights_act_from_their_start_while_the_critic_trains_before() -> None:
    table = synthetic_table()
    late, at_once, clone = (
        build(replace(TINY, **changes), (0, 1))
        for changes in ({"advantage_start": 3}, {"advantage_start": 0}, {"eta": (0.0,)})
    )
    for agent in (late, at_once, clone):
        agent.prepare(6)
    weight = late.metric_names.index("weight")
    for step in range(6):
        metrics, _, _ = (agent.update(table, step) for agent in (late, at_once, clone))
        if step < 3:
            assert (metrics[weight : weight + 2] == 1.0).all() and (metrics[0] > 0).all()
            left, right = (agent.state_dict()["actor.online"] for agent in (late, clone))
            assert torch.allclose(left, right, rtol=1e-4, atol=1e-6)
        else:
            assert (metrics[weight] > 1.0).all()
    assert not torch.equal(*(x.state_dict()["actor.online"] for x in (late, at_once)))


def test_updates_that_one_advance_serves_end_where_eta_begins_to_act() -> None:
    agent = build(replace(TINY, last_nodes=20, advantage_start=9), (0,))
    agent.prepare(30)
    assert [agent.updates_per_advance(step) for step in (0, 8, 9, 14, 15)] == [9, 1, 6, 1, 15]


def test_without_a_start_no_critic_is_trained() -> None:
    agent = build(replace(TINY, advantage_start=None), (0,))
    before = agent.state_dict()["critic.online"].clone()
    agent.prepare(3)
    metrics = dict(zip(agent.metric_names, agent.update(synthetic_table(), 0), strict=True))
    assert metrics["critic_loss"].item() == 0.0 and metrics["weight"].item() == 1.0
    assert torch.equal(agent.state_dict()["critic.online"], before)
    assert agent.guided and agent.score() is None
    linear = build(replace(TINY, objective="linear-q", advantage_start=None), (0,))
    assert linear.score() is not None
