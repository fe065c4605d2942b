"""Returns to go against their closed forms and a plain loop."""

from __future__ import annotations

import pytest
import torch

from gtp_fast.reference import return_to_go


def one_episode(reward: torch.Tensor, terminal: bool) -> tuple[torch.Tensor, ...]:
    """Return reward, mask and episode [N] of one episode."""
    mask = torch.ones(len(reward))
    mask[-1] = float(not terminal)
    return reward, mask, torch.zeros(len(reward), dtype=torch.int32)


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("length", [1, 2, 7, 300])
def test_a_constant_reward_that_is_cut_goes_on_for_ever(discount: float, length: int) -> None:
    found = return_to_go(*one_episode(torch.ones(length), terminal=False), discount)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.full((length,), 1 / (1 - discount)), rtol=1e-6, atol=0)


def test_a_terminal_ends_a_geometric_series() -> None:
    discount, n = 0.9, torch.arange(40, 0, -1)
    found = return_to_go(*one_episode(torch.ones(40), terminal=True), discount)
    torch.testing.assert_close(found, ((1 - discount**n) / (1 - discount)).float())


def test_a_maze_costs_one_a_step_to_its_goal() -> None:
    gamma, n = 0.99, torch.arange(500, 0, -1)
    found = return_to_go(*one_episode(-torch.ones(500), terminal=True), gamma)
    torch.testing.assert_close(found, (-(1 - gamma**n) / (1 - gamma)).float())


def test_two_episodes_do_not_mix() -> None:
    first = one_episode(torch.ones(5), terminal=True)
    second = one_episode(torch.full((8,), 3.0), terminal=False)
    reward, mask, episode = (torch.cat(pair) for pair in zip(first, second, strict=True))
    episode[5:] += 1
    found = return_to_go(reward, mask, episode, 0.8)
    assert torch.equal(found[:5], return_to_go(*first, 0.8))
    assert torch.equal(found[5:], return_to_go(*second, 0.8))


def test_a_cut_episode_goes_on_as_in_its_last_rows_only() -> None:
    # A horizon of 1 / (1 - 0.75) = 4 rows: mean of 0, 2, 4, 6.
    reward = torch.tensor([100.0, 0.0, 2.0, 4.0, 6.0])
    found = return_to_go(*one_episode(reward, terminal=False), 0.75)
    assert found[-1].item() == 6 + 0.75 * 3 / 0.25


def test_rewards_of_single_precision_are_added_up_in_double() -> None:
    # In float32 the mean of the last rows would drown in the rewards of the first episode.
    reward = torch.cat((torch.full((1000,), 1e6), torch.ones(1)))
    episode = (torch.arange(1001) == 1000).int()
    found = return_to_go(reward, torch.ones(1001), episode, 0.9)
    assert found[-1].item() == pytest.approx(10.0, rel=1e-6)


def test_without_discount_nothing_stands_behind_a_cut() -> None:
    found = return_to_go(*one_episode(torch.ones(4), terminal=False), 1.0)
    assert found.tolist() == [4.0, 3.0, 2.0, 1.0]


def test_many_episodes_agree_with_a_plain_loop() -> None:
    draw, discount = torch.Generator().manual_seed(0), 0.95
    lengths = torch.randint(1, 90, (30,), generator=draw)
    episode = torch.repeat_interleave(torch.arange(30, dtype=torch.int32), lengths)
    reward = torch.randn(len(episode), generator=draw, dtype=torch.float64)
    # Terminals within an episode too, as where a dataset goes on after its goal.
    mask = (torch.rand(len(episode), generator=draw) > 0.05).float()
    expected = torch.empty(len(episode), dtype=torch.float64)
    for number in range(30):
        at = (episode == number).nonzero()[:, 0].tolist()
        behind = float(reward[at[-20:]].mean()) / (1 - discount)
        for i in reversed(at):
            behind = float(reward[i]) + discount * float(mask[i]) * behind
            expected[i] = behind
    found = return_to_go(reward, mask, episode, discount)
    torch.testing.assert_close(found, expected.float(), rtol=1e-6, atol=1e-6)
