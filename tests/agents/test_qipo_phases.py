"""QIPO's three phases, its support sets, and how its runs resume."""

from __future__ import annotations

import by_hand
import pytest
import torch
from agent_cases import synthetic_table
from qipo_cases import KINDS, TOTAL, WAYS, build

from gtp_fast.agents.rivals import qipo, support


def test_phases_take_their_fractions_of_the_run_and_snapshots_their_turns() -> None:
    agent, phases, kept, supports = build("ot", stirred=False, renew_every=3), [], [], []
    for step in range(TOTAL):
        average = agent.actor.average.flat.clone()
        agent.advance(step, synthetic_table())
        phases.append(agent.phase)
        kept.append(torch.equal(agent.behaviour.weights.flat, average))
        supports.append(torch.equal(agent.support.weights.flat, average))
        agent.update(synthetic_table(), step)
    assert phases == [qipo.CLONING] * 4 + [qipo.WARMING_UP] * 4 + [qipo.GUIDED] * 8
    # From the end of cloning to the first guided update the actor rests, so it still is its copy.
    assert kept == [True] + [False] * 3 + [True] * 5 + [False] * 7
    assert supports == [step in (0, 8, 11, 14) for step in range(TOTAL)]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_steady_needs_no_further_call(way: str) -> None:
    table = synthetic_table()
    every = build("ot", stirred=False, renew_every=3, support_sets=way)
    first = build("ot", stirred=False, support_sets=way)
    first.prepare(TOTAL)
    first.renew_every, pieces, step = 3, [], 0
    while step < TOTAL:
        first.advance(step, table)
        pieces.append(first.updates_per_advance(step))
        for number in range(step, step + pieces[-1]):
            every.update(table, number)
            # A step on the device, as a recorded update has it, calls `advance` by itself never.
            first.update(table, torch.tensor(number))
        step += pieces[-1]
    assert pieces == [4, 4, 3, 3, 3]
    for name, x in every.state_dict().items():
        assert torch.allclose(x, first.state_dict()[name], rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize(
    ("at", "part"), [(2, "actor"), (6, "critic"), (9, "critic"), (11, "actor")]
)
@pytest.mark.parametrize("on_device", [False, True])
def test_a_seed_diverges_at_the_update_of_the_run(at: int, part: str, on_device: bool) -> None:
    table, agent = synthetic_table(), build("ot", stirred=False)
    for step in range(at + 2):
        if step == at:
            # One seed's weights alone: the other one goes on.
            agent.learners()[part].buffers()[0][1] = torch.nan
        agent.advance(step, table)
        agent.update(table, torch.tensor(step) if on_device else step)
    assert agent.diverged.tolist() == [-1, at]


def test_by_default_support_sets_are_renewed_five_times() -> None:
    agent = build("ot", stirred=False)
    for total, expected in ((16, 2), (1000, 100), (1001, 101), (1, 1)):
        agent.prepare(total)
        assert agent.renew_every == expected, total


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_resumed_in_any_phase_goes_on_bit_for_bit(kind: str, way: str) -> None:
    table = synthetic_table()
    whole, saved = build(kind, stirred=False, support_sets=way), {}
    for step in range(TOTAL):
        if step in (2, 4, 6, 8, 9, 12):
            saved[step] = {name: x.clone() for name, x in whole.state_dict().items()}
        whole.update(table, step)
    again = build(kind, support_sets=way)
    for start, state in saved.items():
        by_hand.stir(again)
        again.advance(start, table)
        again.load_state_dict(state)
        for step in range(start, TOTAL):
            again.update(table, step)
        for name, x in whole.state_dict().items():
            assert torch.equal(x, again.state_dict()[name]), (start, name)


@pytest.mark.parametrize(
    ("total", "nominal_updates", "kept"),
    [(40, None, (False, False)), (80, None, (True, False)), (640, None, (True, True)),
     (80, 800, (True, True))],
)  # fmt: skip
def test_support_sets_are_kept_where_that_draws_less(
    total: int, nominal_updates: int | None, kept: tuple[bool, bool]
) -> None:
    """Of 64 states in batches of 2; sets for s' serve three quarters of the run, others a tenth."""
    agent = build("ot", stirred=False)
    agent.nominal_updates = nominal_updates
    agent.prepare(total)
    agent.advance(agent.guided_from, synthetic_table())
    sets = agent.behaviour, agent.support
    assert tuple(each.drawn_at is not None for each in sets) == kept


def test_support_sets_too_large_to_keep_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = build("ot", stirred=False)
    agent.prepare(640)
    monkeypatch.setattr(support, "LARGEST", 64 * 3 * 2 * 8 - 1)
    agent.advance(agent.guided_from, synthetic_table())
    assert agent.behaviour.drawn_at is None


def test_support_sets_of_many_passes_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = []
    for size in (1 << 16, 21):
        monkeypatch.setattr(support, "_PASS", size)
        agent = build("ot", support_sets="kept")
        agent.advance(9, synthetic_table())
        whole.append(agent.support.actions)
    assert torch.allclose(*whole, rtol=1e-12)


def test_optimisers_count_their_own_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, counted = build("ot", stirred=False), {"actor": [], "critic": []}
    for name, learner in agent.learners().items():

        def spy(*arguments, kept=counted[name], adam=learner.adam, **options):
            kept.append(arguments[5])
            return adam(*arguments, **options)

        monkeypatch.setattr(learner, "adam", spy)
    for step in range(TOTAL):
        agent.update(synthetic_table(), step)
    assert counted == {"actor": list(range(1, 13)), "critic": list(range(1, 13))}
