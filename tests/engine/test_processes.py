"""Seeds spread over processes: the bits of one process, stops, deaths, and what is refused."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from agent_cases import TINY, make, make_table, run, synthetic_table, tiny

from gtp_fast import agents, engine, ops
from gtp_fast.agents.rivals.bc import BC
from gtp_fast.agents.setup import Setup
from gtp_fast.data.table import TransitionTable
from gtp_fast.engine import choice, processes
from gtp_fast.errors import UserError
from gtp_fast.system import machine
from gtp_fast.system.children import ChildDied

CPU = torch.device("cpu")
SEEDS, TOTAL = (4, 7, 9), 24
PHASES = {"behaviour_fraction": 0.3, "warmup_fraction": 0.3}
# Settings of each seed, of which one alone would have no critic and one diverges.
CASES: dict[str, Any] = {
    "gtp": replace(TINY, eta=(0.0, 1.0, 3.0), learning_rate=(3e-3, 1e-3, 1e30)),
    "gtp by lots": replace(TINY, eta=(0.5, 1.0, 3.0), trajectory_eta=2.0, advantage_start=6),
    "qipo-ot": tiny("qipo-ot", beta=(1.0, 2.0, 3.0), **PHASES),
}


def start(name: str, count: int, state: Any = None) -> tuple[Any, engine.Watch, engine.Engine]:
    agent = make(name.partition(" ")[0], SEEDS, CASES[name])
    agent.prepare(TOTAL)
    if state is not None:
        agent.load_state_dict(state)
    watch = engine.Watch(agent)
    chosen = engine.choose("auto", "auto", "cpu", 3, count)
    table = agent.drawn_from(synthetic_table(length=8))
    assert (table.lots is not None) == name.endswith("by lots")
    return agent, watch, engine.build(chosen, agent, table, watch)


def trained(name: str, count: int, first: int = 0, last: int = TOTAL, state: Any = None) -> Any:
    """Return what updates first..last-1 leave: the state, the rows of metrics, who diverged."""
    agent, watch, built = start(name, count, state)
    rows: list[Any] = []

    def after(done: int) -> None:
        if done % 7 == 0 or done == last:
            rows.append((done, watch.means()))

    # At a multiple of 5 the sums of a row go on.
    assert engine.run(built, agent, first, last, (7, 5), after, lambda: 0) == last
    built.close()
    kept = {key: value.clone() for key, value in agent.state_dict().items()}
    return kept, rows, watch.diverged()


@pytest.mark.parametrize("name", sorted(agents.REGISTRY))
def test_a_part_of_the_seeds_has_the_bits_that_it_has_among_all(name: str) -> None:
    config, table = CASES.get(name, tiny(name, **PHASES)), synthetic_table()
    whole = make(name, SEEDS, config)
    metrics = run(whole, table, TOTAL)
    for own in (slice(0, 1), slice(1, 3)):
        part = type(whole)(config, replace(whole.setup, seeds=SEEDS[own]))
        alone = run(part, table, TOTAL)
        assert torch.equal(alone.nan_to_num(), metrics[:, own].nan_to_num())
        for key, value in part.state_dict().items():
            assert torch.equal(value, whole.state_dict()[key][own]), key


@pytest.mark.parametrize("name", CASES)
def test_processes_have_the_bits_of_one(name: str) -> None:
    whole, rows, diverged = trained(name, 1)
    spread, spread_rows, spread_diverged = trained(name, 2)
    assert spread_diverged == diverged
    assert len(rows) == 4 and str(spread_rows) == str(rows)
    for key, value in whole.items():
        assert torch.equal(spread[key], value), key
    assert [one.seed for one in diverged] == ([9] if name == "gtp" else [])


class Recorder:
    """Stands in for a child process: keeps what it is sent and answers."""

    def __init__(self, *_: object) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def receive(self) -> None:
        """Answer at once."""


def test_every_process_trains_in_the_precision_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, resolve = [], ops.resolve

    def resolve_anywhere(
        backend: str, device: Any, dtype: Any, precision: str, layer_norms: bool
    ) -> Any:
        # Not every processor has bf16, and only what is asked for matters here.
        asked.append(precision)
        return resolve(backend, device, dtype)

    monkeypatch.setattr(ops, "resolve", resolve_anywhere)
    monkeypatch.setattr(processes, "Child", Recorder)
    monkeypatch.setattr(choice.children, "close", lambda _: None)
    agent = agents.build("gtp", TINY, 3, 2, SEEDS, precision="bf16")
    agent.prepare(TOTAL)
    chosen = engine.choose("eager", "auto", "cpu", 3, 2)
    built = engine.build(chosen, agent, synthetic_table(), engine.Watch(agent))
    for child in built.children:  # type: ignore[attr-defined]
        part = child.sent[0]
        part.kind(part.config, part.setup)
    built.close()
    assert asked == ["bf16"] * 3


class EpisodeReader(BC):
    """Tells as its metrics what it sees of the table's episodes, and learns nothing."""

    def update(self, table: TransitionTable, step: int | torch.Tensor) -> torch.Tensor:
        seen = table.episode_returns().sum() + table.episode.sum()
        return seen.float() * torch.ones(len(self.metric_names), len(self.seeds))


def test_every_process_sees_the_episodes_of_the_rows() -> None:
    fields = torch.ones(6, 3), torch.zeros(6, 2), torch.ones(6), torch.ones(6, 3), torch.ones(6)
    table = make_table(*fields, length=2)
    agent = EpisodeReader(tiny("bc"), Setup(3, 2, SEEDS))
    agent.prepare(TOTAL)
    watch = engine.Watch(agent)
    built = engine.build(engine.choose("eager", "auto", "cpu", 3, 2), agent, table, watch)
    engine.run(built, agent, 0, 1, (1,), lambda done: None, lambda: 0)
    built.close()
    (seen,) = {tuple(values) for values in watch.means().values()}
    # A reward of 1 in each of six rows, and the numbers 0, 0, 1, 1, 2, 2.
    assert seen == (12.0, 12.0, 12.0)


def test_a_run_goes_on_in_another_number_of_processes() -> None:
    whole, _, diverged = trained("gtp", 1)
    for counts in ((1, 3), (3, 1)):
        half, _, _ = trained("gtp", counts[0], last=14)
        both, _, again = trained("gtp", counts[1], first=14, state=half)
        for key, value in whole.items():
            assert torch.equal(both[key], value), key
        assert [one.step for one in again] == [one.step for one in diverged]


def test_a_stop_between_pieces_leaves_agent_and_watch_up_to_date() -> None:
    agent, watch, built = start("gtp", 2)
    pieces: list[int] = []
    done = engine.run(built, agent, 0, TOTAL, (), pieces.append, lambda: len(pieces) == 3)
    built.close()
    assert done == pieces[2] < TOTAL
    assert watch.count == done and watch.total.any()
    whole, _, _ = trained("gtp", 1, last=done)
    for key, value in agent.state_dict().items():
        assert torch.equal(value, whole[key]), key


def test_processes_end_with_their_engine_and_a_dead_one_is_named() -> None:
    agent, _, built = start("gtp", 2)
    assert isinstance(built, engine.Processes)
    first, second = (child.process for child in built.children)
    built.do(0, 1)
    first.send_signal(signal.SIGTERM)
    built.do(1, 1)
    second.kill()
    second.wait()
    with pytest.raises(ChildDied, match=r"the process of seeds 7 9 .* was ended by SIGKILL"):
        built.do(2, 1)
    built.close()
    assert first.poll() == 0
    assert agent.seeds == (4, 7, 9)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no way to pin here")
def test_processes_that_fill_the_cores_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    core = min(os.sched_getaffinity(0))
    monkeypatch.setattr(machine, "cores", lambda: [core, core])
    _, _, built = start("gtp", 2)
    for child in built.children:  # type: ignore[attr-defined]
        status = Path(f"/proc/{child.process.pid}/status").read_text()
        assert f"\nCpus_allowed_list:\t{core}\n" in status
    built.close()


@pytest.mark.parametrize(
    ("asked", "seeds", "cores", "threads", "count", "pinned", "said"),
    [
        (None, 2, 2, 2, 2, True, "2 of one thread each, each pinned to a core"),
        (None, 4, 2, 2, 2, True, ""),
        (None, 2, 8, 8, 2, False, "not pinned: there are 8 cores"),
        (None, 3, 2, 2, 1, False, ""),
        (None, 3, 2, 1, 1, False, ""),
        (None, 1, 8, 8, 1, False, ""),
        (3, 3, 2, 2, 3, False, "not pinned"),
        (2, 3, 2, 2, 2, True, ""),
        (1, 4, 4, 4, 1, False, ""),
    ],
)
def test_cores_that_share_the_seeds_evenly_get_a_process_each(
    asked: int | None, seeds: int, cores: int, threads: int, count: int, pinned: bool, said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(machine, "cores", lambda: list(range(cores)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    chosen = engine.choose("auto", "auto", "cpu", seeds, asked).sharing
    assert (chosen.count, bool(chosen.cores)) == (count, pinned)
    assert said in chosen.describe()
    if (seeds, threads) == (3, 2) and asked is None:
        assert chosen.reason == "3 seeds do not share 2 cores evenly"


def test_where_nothing_can_be_pinned_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity")
    monkeypatch.setattr(machine, "cores", lambda: [0, 1])
    said = choice.share_seeds(2, 2, CPU).describe()
    assert said == "2 of one thread each, not pinned: this system cannot pin"


def test_processes_that_cannot_be_had_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--processes 3 is too many for 2 seeds"):
        choice.share_seeds(3, 2, CPU)
    with pytest.raises(UserError, match="--processes 2 is not available on cuda: a GPU"):
        choice.share_seeds(2, 2, torch.device("cuda"))
    assert choice.share_seeds(None, 2, torch.device("cuda")).count == 1
    monkeypatch.setattr(choice.children, "POSSIBLE", False)
    assert choice.share_seeds(None, 2, CPU).count == 1
    with pytest.raises(UserError, match="--processes 2 needs a POSIX system"):
        choice.share_seeds(2, 2, CPU)
