"""Engines: pieces of a run, and one result by every engine."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest
import torch
from tolerance import assert_as_accurate

pytest.importorskip("gymnasium", reason="the agent's data package needs gymnasium")

from agent_cases import TINY, build, synthetic_table
from recordings import Again

from gtp_fast import engine, ops
from gtp_fast.agents.setup import Setup
from gtp_fast.engine.loop import Captured, Eager, cuda_record, cuda_warm
from gtp_fast.engine.pieces import next_length
from gtp_fast.errors import UserError
from gtp_fast.system import native

CONFIG = replace(TINY, last_nodes=40, cosine_decay=True, max_gradient_norm=1.0)
TOTAL = 61


# --- pieces --------------------------------------------------------------------------------------


def test_pieces_cover_a_run_and_end_at_every_interval_and_stage() -> None:
    pieces = list(engine.chunks(3, 101, 16, (10, 0, 25), lambda step: 33 - step % 33))
    covered = [step for first, count in pieces for step in range(first, first + count)]
    assert covered == list(range(3, 101))
    ends = {first + count for first, count in pieces}
    wanted = set(range(10, 101, 10)) | {25, 50, 75, 100} | {33, 66, 99} | {101}
    assert wanted <= ends
    assert max(count for _, count in pieces) == 10
    assert {c for _, c in engine.chunks(0, 64, 16, (), lambda step: 1000)} == {16}
    assert list(engine.chunks(5, 5, 16)) == []
    assert [count for _, count in engine.chunks(0, 3, 16)] == [1, 1, 1]


def test_the_stage_that_an_agent_announces_is_that_of_its_grid() -> None:
    agent = build(CONFIG, (0,))
    agent.prepare(TOTAL)
    seen = []
    for step in range(TOTAL):
        agent.advance(step, synthetic_table())
        seen.append(agent.num_nodes)
    for step in range(TOTAL):
        rest = seen[step : step + agent.updates_per_advance(step)]
        assert len(set(rest)) == 1, step
    assert len(list(engine.chunks(0, TOTAL, 1000, (), agent.updates_per_advance))) == 4


def test_an_eager_update_is_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, prepared = build(CONFIG, (0,)), []
    agent.prepare(TOTAL)
    advance = type(agent).advance

    def noted(self, step: int, table) -> None:
        prepared.append(step)
        advance(self, step, table)

    monkeypatch.setattr(type(agent), "advance", noted)
    Eager(agent, synthetic_table(), engine.Watch(agent)).do(0, 4)
    assert prepared == [0, 1, 2, 3]


# --- one result ----------------------------------------------------------------------------------


def trained(kind: str, backend: str = "auto", start: int = 0, state=None, seeds=(4, 7)):
    """Return an agent trained from `start` to the end, its rows of metrics, and the pieces."""
    agent, table = build(CONFIG, seeds, backend=backend), synthetic_table()
    agent.prepare(TOTAL)
    if state is not None:
        agent.load_state_dict(state)
    watch, rows, ends = engine.Watch(agent), [], []
    chosen = {
        "eager": lambda: Eager(agent, table, watch),
        "captured": lambda: Captured(agent, table, watch, Again, lambda work: work(), 4),
    }[kind]()

    def after(done: int) -> None:
        ends.append(done)
        if done % 7 == 0 or done == TOTAL:
            rows.append(watch.means())

    # No multiple of 7 is where the time grid changes, so that the stages must be heeded too.
    assert engine.run(chosen, agent, start, TOTAL, (7,), after, lambda: 0) == TOTAL
    return agent, rows, ends


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_recorded_pieces_give_the_bits_of_single_calls(backend: str) -> None:
    Again.made = 0
    eager, eager_rows, eager_ends = trained("eager", backend)
    captured, captured_rows, captured_ends = trained("captured", backend)
    assert eager_rows == captured_rows and len(eager_rows) == 9
    assert eager_ends[-1] == captured_ends[-1] == TOTAL
    assert Again.made == 2
    for name, value in eager.state_dict().items():
        assert torch.equal(value, captured.state_dict()[name]), name


def test_a_run_is_resumed_under_another_engine() -> None:
    whole, _, _ = trained("eager")
    first, table = build(CONFIG, (4, 7)), synthetic_table()
    first.prepare(TOTAL)
    for step in range(23):
        first.update(table, step)
    saved = {name: value.clone() for name, value in first.state_dict().items()}
    resumed, _, _ = trained("captured", start=23, state=saved)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_stop_between_pieces_is_obeyed() -> None:
    agent, table = build(TINY, (0,)), synthetic_table()
    agent.prepare(100)
    watch = engine.Watch(agent)
    captured = Captured(agent, table, watch, Again, lambda work: work(), 8)
    done = []
    assert engine.run(captured, agent, 0, 100, (), done.append, lambda: len(done) >= 2) == 16
    assert watch.count == 16


def test_compiled_operations_agree_with_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    # Traced, but not translated to C++, which takes a minute; the benchmark's gate judges that.
    compiler = functools.partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", compiler)
    table = synthetic_table()
    agents = [build(TINY, (0, 1), backend=backend) for backend in ("compiled", "reference")]
    exact = build(TINY, (0, 1), backend="reference", dtype=torch.float64)
    results = []
    for agent in (*agents, exact):
        agent.prepare(10)
        results.append(agent.update(table, 7))
    for i, name in enumerate(exact.metric_names):
        assert_as_accurate(name, *(metrics[i] for metrics in results))
    forms = agents[0].ops.forms
    assert {forms[name].name for name in ("perturb", "loss", "mlp", "adam")} == {"compiled"}


# --- choice --------------------------------------------------------------------------------------


def test_auto_takes_the_highest_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "missing", lambda device: [])
    chosen = engine.choose("auto", "auto", "cpu")
    assert chosen.name == "fused" and "no CUDA graph" in chosen.describe()
    monkeypatch.setattr(ops, "missing", lambda device: ["mlp: not built"])
    chosen = engine.choose("auto", "auto", "cpu")
    assert chosen.name == "eager" and "mlp: not built" in chosen.describe()
    assert engine.choose("auto", "auto", "cuda").name == "captured"
    assert engine.choose("auto", "reference", "cpu").name == "eager"
    assert engine.choose("compiled", "auto", "cpu").backend == "compiled"


def test_an_engine_that_cannot_be_had_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="captured is not available here: a CUDA graph needs"):
        engine.choose("captured", "auto", "cpu")
    with pytest.raises(UserError, match="Unknown engine 'quick'"):
        engine.choose("quick", "auto", "cpu")
    with pytest.raises(UserError, match="leave out --backend reference"):
        engine.choose("fused", "reference", "cpu")
    with pytest.raises(UserError, match="compiles each operation on a CPU"):
        engine.choose("compiled", "reference", "cpu")
    monkeypatch.setattr(native, "missing", lambda kind="cpu": "the native module was not built")
    with pytest.raises(UserError, match=r"fused is not available here: perturb .* was not built"):
        engine.choose("fused", "auto", "cpu")


# --- a GPU ---------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("updates", [1, 10, 100])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_cuda_graph_agrees_with_single_calls(backend: str, updates: int) -> None:
    from gtp_fast.agents.gtp import GTP

    table = synthetic_table().to("cuda")
    results = []
    for kind, form, dtype in (
        ("captured", backend, torch.float32),
        ("eager", backend, torch.float32),
        ("eager", "reference", torch.float64),
    ):
        agent = GTP(CONFIG, Setup(3, 2, (4, 7), "cuda", form, dtype))
        agent.prepare(updates)
        watch = engine.Watch(agent)
        if kind == "captured":
            chosen = Captured(agent, table, watch, cuda_record, cuda_warm, 8)
        else:
            chosen = Eager(agent, table, watch)
        engine.run(chosen, agent, 0, updates, (), lambda done: None, lambda: 0)
        means = watch.means()
        assert all(math.isfinite(x) for row in means.values() for x in row)
        results.append(agent.state_dict() | {k: torch.tensor(v) for k, v in means.items()})
    for name in results[0]:
        if name != "diverged":
            values = [result[name].cpu() for result in results]
            assert_as_accurate(name, values[0].float(), values[1].float(), values[2].double())


def test_pieces_grow_while_they_are_short_and_shrink_when_they_are_long() -> None:
    assert next_length(8, 8, 0.01) == 16 and next_length(8, 3, 0.01) == 8
    assert (
        next_length(8, 8, 0.2) == 8 and next_length(8, 8, 0.6) == 4 and next_length(1, 1, 9.0) == 1
    )
