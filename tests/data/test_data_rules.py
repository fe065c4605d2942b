"""Each loader rule by itself, on sets small enough to be checked by eye."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sets
import torch

from gtp_fast.data import TransitionTable, box, load_table, rules
from gtp_fast.data.recording import Recording, joined
from gtp_fast.errors import UserError
from gtp_fast.tasks import Rules, find

PLAIN = Rules(goal="concat", cut_at_goal=True, reward="none")


@pytest.fixture
def ant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three ants: at the goal from time 4 of 10 on, never in 6 steps, at the last of 5."""
    episodes = [sets.walk(0, 10, 4), sets.walk(1, 6, None), sets.walk(2, 5, 5)]
    return sets.save(tmp_path, monkeypatch, "D4RL/antmaze/umaze-v1", episodes, sets.ant_space(), 8)


def table(chosen: Rules) -> TransitionTable:
    return load_table("antmaze-umaze", rules_override=chosen, use_cache=False)


@pytest.mark.usefixtures("ant")
def test_cut_at_goal_keeps_up_to_the_first_success_and_makes_it_terminal() -> None:
    found = table(PLAIN)
    batch = found.all()
    assert len(found) == 4 + 6 + 5
    assert torch.nonzero(batch.mask == 0).flatten().tolist() == [3, 14]
    assert torch.nonzero(batch.reward == 1).flatten().tolist() == [3, 14]
    assert found.statistics.episodes == 3
    assert found.statistics.terminals == 2
    assert found.statistics.success_rate == pytest.approx(2 / 3)
    assert found.statistics.mean_return == pytest.approx(2 / 3)
    assert found.statistics.mean_length == 5.0


@pytest.mark.usefixtures("ant")
def test_every_row_knows_its_episode_behind_the_cuts() -> None:
    found = table(replace(PLAIN, reward="minus_one"))
    assert found.episode.dtype == torch.int32
    assert found.episode.tolist() == [0] * 4 + [1] * 6 + [2] * 5
    # Under the reward rule, unlike the statistics.
    assert found.episode_returns().tolist() == [-3.0, -6.0, -4.0]
    assert table(PLAIN).episode_returns().tolist() == [1.0, 0.0, 1.0]


@pytest.mark.usefixtures("ant")
def test_without_the_cut_nothing_is_left_out_and_nothing_terminates() -> None:
    found = table(replace(PLAIN, cut_at_goal=False))
    batch = found.all()
    # An episode that stays at its goal has one success.
    assert found.statistics.success_rate == pytest.approx(2 / 3)
    assert len(batch.mask) == 21
    assert bool((batch.mask == 1).all())
    assert int(batch.reward.sum()) == 7 + 1


@pytest.mark.usefixtures("ant")
def test_no_transition_crosses_an_episode() -> None:
    for chosen in (PLAIN, replace(PLAIN, cut_at_goal=False)):
        batch = table(chosen).all()
        # The third number of the state is 100 episode + time.
        step = batch.next_observation[:, 2] - batch.observation[:, 2]
        assert torch.equal(step, torch.ones_like(step))
        # And the action belongs to the same episode.
        assert torch.allclose(batch.action[:, 7], 0.01 * (batch.observation[:, 2] // 100 + 1))


@pytest.mark.usefixtures("ant")
def test_the_state_is_position_body_and_goal() -> None:
    found = table(PLAIN)
    assert found.observation_keys == ("achieved_goal", "observation", "desired_goal")
    assert found.observation_dim == 31
    last = found.all()
    assert last.next_observation[3, :2].tolist() == pytest.approx([5.0, 5.2])
    assert last.observation[0, 2:29].tolist() == pytest.approx((np.arange(27) / 100).tolist())
    assert last.observation[14, 29:].tolist() == pytest.approx([5.2, 5.0])


@pytest.mark.usefixtures("ant")
def test_relabel_follows_one_goal_and_hides_it_from_the_state() -> None:
    # Only the third ant, 0.2 m off in x and y, comes within 0.3 m of this point.
    chosen = Rules(goal="relabel", success_radius=0.3, evaluation_goal=(5.2, 5.2))
    found = table(chosen)
    assert found.observation_keys == ("achieved_goal", "observation")
    assert found.observation_dim == 29
    batch = found.all()
    hit = torch.nonzero(batch.reward == 1).flatten().tolist()
    assert hit == [*range(3, 10), 20]
    assert torch.equal(batch.mask, 1 - batch.reward)
    assert table(replace(chosen, success_radius=0.1)).all().reward.nonzero().flatten().tolist() == [
        20
    ]


@pytest.mark.usefixtures("ant")
def test_the_success_radius_decides() -> None:
    with pytest.raises(UserError, match="no step reaches its goal"):
        table(replace(PLAIN, success_radius=0.1))


def test_the_goal_that_was_asked_for_is_reached_at_the_radius_itself() -> None:
    zeros = np.zeros(3)
    recording = Recording(
        "x", joined(np.zeros((3, 1)), np.zeros((3, 1)), np.zeros((3, 1))), 1, 1, zeros,
        zeros.astype(bool), zeros.astype(np.int64), -np.ones(1), np.ones(1),
        achieved=np.array([[3.0, 4.0], [3.0, 4.5], [9.0, 9.0]]),
    )  # fmt: skip
    chosen = Rules(goal="relabel", evaluation_goal=(0.0, 0.0), success_radius=5.0)
    found = rules.successes(recording, chosen, (9.0, 9.0), True)
    assert found is not None and found.tolist() == [True, False, False]
    found = rules.successes(recording, replace(chosen, evaluation_goal=None), (9.0, 9.0), True)
    assert found is not None and found.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("rule", "zero", "one"),
    [("none", 0, 1), ("minus_one", -1, 0), ("cql", -2, 2), ("quarter", -0.5, 1.5)],
)
@pytest.mark.usefixtures("ant")
def test_reward_rules(rule: str, zero: float, one: float) -> None:
    reward = table(replace(PLAIN, reward=rule)).all().reward  # type: ignore[arg-type]
    assert reward[0] == zero
    assert reward[3] == one


def test_reward_rules_of_locomotion() -> None:
    rewards, returns = np.array([1.0, 2.0, 3.0]), np.array([1.0, 5.0])
    assert rules.shape_rewards(rewards, returns, "iql_locomotion").tolist() == [250.0, 500.0, 750.0]
    scaled = rules.shape_rewards(rewards, returns, "normalize")
    assert scaled.mean() == pytest.approx(0.0)
    assert scaled.std() == pytest.approx(1.0)
    with pytest.raises(UserError, match="unequal return"):
        rules.shape_rewards(rewards, np.array([2.0]), "iql_locomotion")


def test_until_first_counts_within_each_episode() -> None:
    event = np.array([0, 1, 0, 1, 0, 0, 1, 1], bool)
    episode = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    assert rules.until_first(event, episode).tolist() == [
        True, True, False, True, False, True, True, False,
    ]  # fmt: skip


def test_the_goal_of_a_step_is_the_one_in_force_during_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in Minari's pointmaze sets: the first observation still shows the goal reached before.
    episode = sets.walk(0, 6, 5)
    assert isinstance(episode.observations, dict)
    episode.observations["desired_goal"][0] = episode.observations["achieved_goal"][1]
    sets.save(tmp_path, monkeypatch, "D4RL/antmaze/umaze-v1", [episode], sets.ant_space(), 8)
    found = table(PLAIN)
    assert len(found) == 5
    assert torch.equal(found.all().observation[0, 29:], found.all().observation[1, 29:])


def test_actions_are_scaled_to_the_unit_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = [sets.walk(0, 10, 4)]
    sets.save(
        tmp_path, monkeypatch, "D4RL/antmaze/umaze-v1", episodes, sets.ant_space(), 8, -0.01, 0.03
    )
    found = table(PLAIN)
    assert found.action_low == pytest.approx((-0.01,) * 8)
    assert found.all().action[0, -1].item() == pytest.approx(0.0, abs=1e-5)
    assert found.all().action[0, 0].item() == pytest.approx(-1.0, abs=1e-5)


@pytest.mark.parametrize("ends", [(-1.0, 3.0), (-3.0, 1.0), (-1.0, 1.0)])
def test_a_box_with_one_end_of_the_unit_box_is_scaled_too(ends: tuple[float, float]) -> None:
    low, high = ends
    arrays = sets.flat()
    given = arrays["actions"].copy()
    arrays["actions"] = (low + high) / 2 + (high - low) / 2 * given
    found = load_table(
        "hopper-medium", arrays, Rules(action_low=(low,), action_high=(high,)), use_cache=False
    )
    # The time-out and the last row, which nothing follows, are left out.
    kept = [row for row in range(12) if row not in (7, 11)]
    np.testing.assert_allclose(found.all().action.numpy(), given[kept], atol=1e-6)


def test_an_action_outside_the_box_is_refused_or_clipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = sets.walk(1, 5, 5)
    bad.actions[2, 3] = -1.5  # type: ignore[call-overload, index]
    folder = sets.save(
        tmp_path,
        monkeypatch,
        "D4RL/antmaze/umaze-v1",
        [sets.walk(0, 4, 4), bad],
        sets.ant_space(),
        8,
    )
    with pytest.raises(UserError, match=r"umaze-v1, episode 1, row 6.*clip-actions"):
        table(PLAIN)
    clipped = table(replace(PLAIN, clip_actions=True)).all().action
    assert clipped.min() == -1.0
    assert folder.is_dir()


def test_the_table_gathers_views_of_one_copy() -> None:
    rows = torch.arange(5 * 10, dtype=torch.float32).view(5, 10)
    statistics = rules.Statistics(5, 1, 0, 0.0, 5.0, None)
    from gtp_fast.data import Provenance

    made = TransitionTable(
        rows, torch.zeros(5).int(), 3, 2, (), (-1.0,) * 2, (1.0,) * 2, find("hopper-medium").name,
        Rules(), statistics, Provenance("x", False, ""),
    )  # fmt: skip
    batch = made.gather(torch.tensor([[4, 0], [1, 1]]))
    assert batch.observation[0, 0].tolist() == [40.0, 41.0, 42.0]
    assert batch.action[0, 1].tolist() == [3.0, 4.0]
    assert batch.reward.tolist() == [[45.0, 5.0], [15.0, 15.0]]
    assert batch.next_observation[1, 0].tolist() == [16.0, 17.0, 18.0]
    assert batch.mask.tolist() == [[49.0, 9.0], [19.0, 19.0]]
    assert len({part.untyped_storage().data_ptr() for part in batch}) == 1


def test_actions_go_to_the_unit_box_and_back() -> None:
    draw = np.random.default_rng(0)
    low = draw.uniform(-3, 0, 50).astype(np.float32)
    high = low + draw.uniform(0.1, 5, 50).astype(np.float32)
    actions = draw.uniform(low, high, (200, 50)).astype(np.float32)
    actions[0], actions[1] = low, high
    unit = actions.copy()
    box.normalise(unit, low, high)
    assert np.abs(unit).max() == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(unit[0], -1.0, rtol=1e-5)
    back = box.denormalise(np.clip(unit, -1, 1), *box.scale(low, high))
    np.testing.assert_allclose(back, actions, rtol=0, atol=5e-6)
    assert (back >= low).all() and (back <= high).all()


def test_a_box_has_a_middle_and_a_width_in_float32() -> None:
    for ends, good in (((-1, 1), True), ((1, 1), False), ((-3e38, 3e38), False),
                       ((2e38, 3e38), False), ((-1, np.inf), False)):  # fmt: skip
        low, high = (np.array([end], np.float32) for end in ends)
        assert box.is_box(low, high) == good
    assert not box.is_box(low, np.ones(2, np.float32))


def test_rewards_that_float32_cannot_hold_are_refused() -> None:
    arrays = sets.flat()
    arrays["rewards"] = arrays["rewards"].astype(np.float64)
    arrays["rewards"][2] = 1e39
    with pytest.raises(UserError, match="row 2: the reward is too large for float32"):
        load_table("hopper-medium", arrays, use_cache=False)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("rule", "size"), [("iql_locomotion", 1e308), ("normalize", 1e200)])
def test_rewards_whose_spread_float64_cannot_hold_are_not_made_zeros(
    rule: str, size: float
) -> None:
    arrays = sets.flat()
    arrays["rewards"] = size * np.sign(np.arange(len(arrays["rewards"])) - 2.5)
    with pytest.raises(UserError, match="too large for float64, so no rule can scale them; divide"):
        load_table("hopper-medium", arrays, {"reward": rule}, use_cache=False)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_reward_that_is_no_number_is_named_as_such(value: float) -> None:
    arrays = sets.flat()
    arrays["rewards"][2] = value
    with pytest.raises(UserError, match=r"row 2: the reward holds NaN, an infinite number"):
        load_table("hopper-medium", arrays, use_cache=False)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [1e300, np.inf, np.nan])
@pytest.mark.parametrize("name", ["observations", "actions"])
def test_numbers_beyond_float32_get_a_sentence_and_no_warning(name: str, value: float) -> None:
    arrays = sets.flat()
    arrays[name] = arrays[name].astype(np.float64)
    arrays[name][2, 0] = value
    with pytest.raises(UserError, match=f"row 2: the {name[:-1]} holds NaN, an infinite number or"):
        load_table("hopper-medium", arrays, use_cache=False)
