"""The estimate of a GPU update: its page, its sums, the longest way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import emulated
import pytest
from nodes import Node

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
pytest.importorskip("triton")
pytest.importorskip("gymnasium", reason="the agent's data package needs gymnasium")

from benchmarks import critical_path, profile, update_nodes  # noqa: E402
from benchmarks.h100 import CALL, CLOCK, GAP, Cost, Design  # noqa: E402
from benchmarks.kernel_costs import triton_cost  # noqa: E402
from benchmarks.update_nodes import Line, longest, time_of  # noqa: E402
from gtp_fast.errors import UserError  # noqa: E402

PAGE = ROOT / "docs" / "performance.md"


@pytest.mark.skipif(bool(emulated.missing()), reason=emulated.missing())
def test_the_page_is_what_the_model_says(tmp_path: Path) -> None:
    # A process of its own: Triton reads its switch once.
    command = [sys.executable, "-m", "benchmarks.critical_path", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("precision", critical_path.GOALS)
def test_the_sum_is_that_of_the_critical_nodes_and_their_gaps(precision: str) -> None:
    text = PAGE.read_text().partition(f"### In {precision}\n")[2].partition("\n### ")[0]
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:2] == "| "][1:]
    nodes, gaps, total = cells[:-2], cells[-2], float(cells[-1][-1].strip("| *"))
    critical = [float(x[-1]) for x in nodes if x[1] == "critical"]
    assert gaps[0] == f"{len(critical)} gaps of {GAP} us"
    assert total == pytest.approx(sum(critical) + len(critical) * GAP, abs=1e-6)
    assert ("meets it" in text) == (total <= critical_path.GOALS[precision])


def test_what_the_option_that_is_off_saves_is_that_of_both_estimates() -> None:
    page = PAGE.read_text()
    text = page.partition("### What the option that is off")[2].partition("\n### ")[0]
    cells = [x.strip("| ").split(" | ") for x in text.splitlines() if x[:2] == "| "]
    figures = {x[0].strip("* "): [float(y) for y in x[1:]] for x in cells[1:]}
    assert cells[0][-1] == "bf16, us"
    (before,), (then,) = figures["update without it"], figures["update with it"]
    assert f"| **sum of the critical path** | | | | | | | | **{before}** |" in page
    assert figures["saved"] == [pytest.approx(before - then, abs=1e-6)]
    says = "meets" if then <= critical_path.GOALS["bf16"] else "still misses"
    assert f"bf16 {says} its goal of {critical_path.GOALS['bf16']} us" in text


def test_one_action_is_the_kernel_and_a_call() -> None:
    text = PAGE.read_text().partition("### One action, by the same model")[2]
    kernel, called = (
        next(line for line in text.splitlines() if line.startswith(f"| {name} |")).split(" | ")[1:]
        for name in ("the kernel", "from Python")
    )
    for one, both in zip(kernel, called, strict=True):
        ends = [float(x) for x in both.strip(" |").split(" to ")]
        expected = [float(one.strip(" |")) + more for more in CALL]
        assert ends == [pytest.approx(x, abs=0.51) for x in expected]


def node(name: str, microseconds: float, side: bool = False, joined: bool = False) -> Line:
    return Line(name, Cost(1, clocks=microseconds * CLOCK), side, joined)


@pytest.mark.parametrize("beside", [5.0, 9.0])
def test_the_longer_of_both_streams_is_critical(beside: float) -> None:
    made = [node("a", 1), node("b", beside, side=True), node("c", 3), node("d", 2),
            node("e", 4, joined=True)]  # fmt: skip
    slow = beside + GAP > 5 + 2 * GAP
    way = longest(made)
    assert [x.name for x in way] == (["a", "b", "e"] if slow else ["a", "c", "d", "e"])
    assert time_of(way) == pytest.approx(sum(x.cost.microseconds + GAP for x in way))


def test_a_node_waits_and_then_works_or_moves_bytes() -> None:
    cost = Cost(1, clocks=CLOCK)
    cost.wait(CLOCK, 3)
    assert (cost.steps, cost.microseconds) == (3, 4.0)
    # 5.5 TB/s are 5.5 MB in a microsecond.
    cost.read, cost.written = 8e6, 3e6
    assert cost.microseconds == 5.0


def test_a_launch_that_the_model_lacks_is_named() -> None:
    with pytest.raises(KeyError, match="new_kernel"):
        triton_cost(Node("triton some.new_kernel"), Design())


def test_an_update_is_recorded_under_the_interpreter_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TRITON_INTERPRET", "0")
    with pytest.raises(UserError, match="set TRITON_INTERPRET=1"):
        update_nodes.record(None, None, (3, 2), "fp32")  # type: ignore[arg-type]


def test_a_new_profile_keeps_the_estimate() -> None:
    page, (begin, end) = PAGE.read_text(), critical_path.MARKERS
    empty = page.partition(begin)[0] + f"{begin}\n{end}" + page.partition(end)[2]
    assert profile.keep_estimate(empty, page) == page
