"""The host's side of the CUDA sampler, on a card that is emulated: plans, memory, launches."""

from __future__ import annotations

import ctypes

import emulated
import pytest
from folded import Folded, Sizes
from tolerance import assert_as_accurate

HOPPER, AMPERE = (24, 232448, 90), (24, 166912, 80)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The sampler's source compiled for the host."""
    if reason := emulated.missing():
        pytest.skip(reason)
    return emulated.build(tmp_path_factory.mktemp("emulation"))


@pytest.mark.parametrize("card", [HOPPER, AMPERE], ids=["9.0", "8.0"])
@pytest.mark.parametrize("precision", emulated.PRECISIONS)
def test_every_plan_of_a_card_launches(
    emulator: ctypes.CDLL, precision: str, card: tuple[int, int, int]
) -> None:
    policy = Folded(Sizes(S=2, O=11, A=3, H=34, L=2, K=2))
    observation, noise, _ = policy.inputs(5)
    plain = emulated.plain(policy, observation, noise, precision)
    _, plans = emulated.run_whole(emulator, policy, precision, 5, card)
    every = [x for x in emulated.PLANS if x[2] == precision]
    alone = [x for x in every if x[0] not in ("cluster", "counted", "pair")]
    assert plans == len(every if card is HOPPER else alone)
    for number in range(-1, plans):
        out, _ = emulated.run_whole(emulator, policy, precision, 5, card, number)
        name = f"plan {number} of {precision} on {card}"
        assert_as_accurate(name, out, plain, policy.exact(observation, noise))


@pytest.mark.parametrize("H", [3, 2052])
def test_a_policy_that_no_pair_serves_is_sampled(emulator: ctypes.CDLL, H: int) -> None:
    policy = Folded(Sizes(O=5, A=3, H=H, L=1, K=1))
    out, _ = emulated.run_whole(emulator, policy, "fp32", 2, HOPPER)
    observation, noise, _ = policy.inputs(2)
    plain = policy.plain(observation, noise)
    assert_as_accurate(f"width {H}", out, plain, policy.exact(observation, noise))
