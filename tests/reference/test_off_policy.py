"""What a policy is judged by without an environment, held to closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream


def normals(rows: int, columns: int, step: int = 0) -> Tensor:
    keys = philox.key_tensor([5])
    return philox.normals(keys, step, Stream.COLLECT, rows, columns, torch.float64)[0]


def test_the_loss_of_fqe_by_hand() -> None:
    values = torch.tensor([[1.0, 2.0]])
    # Means 3 and 10 of two actions each; the second transition is terminal.
    following = torch.tensor([[[2.0, 8.0], [4.0, 12.0]]])
    reward, mask = torch.tensor([[0.5, 5.0]]), torch.tensor([[1.0, 0.0]])
    loss = reference.fqe_loss(values, following, reward, mask, 0.5)
    # Targets 0.5 + 0.5 * 3 = 2 and 5.
    assert loss.tolist() == [(1.0 + 9.0) / 2]


def test_the_gradient_of_fqe_reaches_the_values_alone() -> None:
    values, following = normals(3, 4).clone(), normals(3 * 2, 4, 1).view(3, 2, 4)
    reward, mask = normals(3, 4, 2), torch.ones(3, 4, dtype=torch.float64)
    values.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: reference.fqe_loss(v, following, reward, mask, 0.9), values
    )
    following.requires_grad_()
    reference.fqe_loss(values, following, reward, mask, 0.9).sum().backward()
    assert following.grad is None and values.grad is not None


def test_shifted_rewards_have_shifted_values() -> None:
    # V = r + gamma mask P V for five states with random transitions, and a terminal one.
    transition = torch.softmax(normals(5, 5), 1)
    reward, mask = normals(5, 1, 3)[:, 0], torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0]).double()

    def value(of: Tensor) -> Tensor:
        eye = torch.eye(5, dtype=torch.float64)
        return torch.linalg.solve(eye - 0.9 * mask[:, None] * transition, of)

    f = value(reference.shifted_reward(reward, mask, 0.9, shift=7.0, scale=3.0))
    torch.testing.assert_close(7.0 + 3.0 * f, value(reward))


def test_the_value_is_the_mean_over_states_and_actions() -> None:
    values = torch.tensor([[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]])
    assert reference.policy_value(values).tolist() == [3.0, 1.0]


def test_the_energy_score_by_hand() -> None:
    # Two actions 5 apart: mean distance less half the distance of the pair.
    actions = torch.tensor([[0.0, 0.0], [3.0, 4.0]])[None, :, None].expand(1, 2, 2, 2)
    found = reference.energy_score(actions, torch.tensor([[0.0, 0.0], [3.0, 0.0]]))
    assert found.tolist() == [[2.5 - 2.5, 3.5 - 2.5]]


@pytest.mark.parametrize("m", [2, 7])
def test_the_energy_score_of_a_normal_law_is_its_closed_form_for_any_m(m: int) -> None:
    # CRPS of N(0, 1) at y: y (2 Phi(y) - 1) + 2 phi(y) - 1 / sqrt(pi).
    states, y = 20_000, 0.7
    actions = normals(m * states, 1).view(1, m, states, 1)
    found = reference.energy_score(actions, torch.full((states, 1), y, dtype=torch.float64))[0]
    phi = math.exp(-y * y / 2) / math.sqrt(2 * math.pi)
    exact = y * math.erf(y / math.sqrt(2)) + 2 * phi - 1 / math.sqrt(math.pi)
    assert abs(float(found.mean()) - exact) < 4 * float(found.std()) / math.sqrt(states)


def test_the_law_of_the_data_has_the_best_energy_score() -> None:
    states, m = 4000, 8
    observed, drawn = normals(states, 2, 1), normals(m * states, 2, 2).view(1, m, states, 2)

    def score(actions: Tensor) -> float:
        return float(reference.energy_score(actions, observed).mean())

    own = score(drawn)
    for other in (drawn + 0.5, 0.3 * drawn, 2.0 * drawn, 0.0 * drawn):
        assert score(other) > own + 0.02


def test_the_energy_score_of_one_action_is_refused() -> None:
    with pytest.raises(ValueError, match="two actions"):
        reference.energy_score(torch.zeros(1, 1, 3, 2), torch.zeros(3, 2))


def test_an_action_is_covered_by_the_nearest_one() -> None:
    # Root mean square 0.1 over four numbers is a distance of 0.2.
    actions = torch.zeros(1, 2, 3, 4)
    actions[0, 1] = 5.0
    observed = torch.zeros(3, 4)
    observed[0, 0], observed[1, 0], observed[2] = 0.19, 0.21, 5.1
    assert reference.covered(actions, observed, 0.1001).tolist() == [[1.0, 0.0, 1.0]]
    # Of a single number the distance itself, and the radius belongs to it.
    single = reference.covered(actions[..., :1], torch.full((3, 1), 0.25), 0.25)
    assert single.tolist() == [[1.0, 1.0, 1.0]]


def test_held_out_episodes_are_a_share_spread_over_the_set() -> None:
    chosen = reference.held_out(1000, 0.1)
    assert int(chosen.sum()) == 100 and torch.equal(chosen, reference.held_out(1000, 0.1))
    # 50 +- 4 standard deviations sqrt(1000 * 0.1 * 0.9 / 4) of them in the first half.
    assert 31 < int(chosen[:500].sum()) < 69
    assert [int(reference.held_out(n, share).sum()) for n, share in ((3, 0.1), (7, 0.25))] == [1, 2]
