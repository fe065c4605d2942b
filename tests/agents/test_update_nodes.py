"""The model of a GPU update has the launches that the interpreter makes."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton")
pytest.importorskip("gymnasium", reason="the agent's data package needs gymnasium")

from agent_cases import TINY, synthetic_table
from folded import Folded, Sizes
from nodes import counted
from triton_cases import INTERPRETED

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import critical_path, update_nodes  # noqa: E402
from gtp_fast import engine  # noqa: E402
from gtp_fast.agents.gtp import GTP  # noqa: E402
from gtp_fast.agents.setup import Setup  # noqa: E402
from gtp_fast.ops.launches import OTHER_WAYS, Launches  # noqa: E402
from gtp_fast.ops.sampler import NativeSampler  # noqa: E402

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="runs under TRITON_INTERPRET=1 only")
CONFIG = dataclasses.replace(TINY, width=16, eta=(1.0,))


class Seen:
    """Stands before a kernel and notes each launch that it makes."""

    def __init__(self, name: str, kernel: Any, launches: list[str]) -> None:
        self.name, self.kernel, self.launches = name, kernel, launches

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        self.launches.append(self.name)
        return self.kernel[grid]


def launched(monkeypatch: pytest.MonkeyPatch, precision: str) -> list[str]:
    """Return the kernels that an update really ran, and the sampler's call."""
    made = GTP(CONFIG, Setup(3, 2, (0,), "cpu", "fused", precision=precision))
    made.prepare(10)
    table, watch, launches = synthetic_table(), engine.Watch(made), list[str]()
    made.advance(1, table)
    for file in (ROOT / "kernels").glob("[a-z]*.py"):
        module = importlib.import_module(f"gtp_fast.kernels.{file.stem}")
        for name in [x for x in vars(module) if x.endswith("_kernel")]:
            seen = Seen(f"triton {file.stem}.{name}", getattr(module, name), launches)
            monkeypatch.setattr(module, name, seen)
    sample = NativeSampler.sample

    def noted(*given: Any) -> Any:
        launches.append("cuda sampler sample")
        return sample(*given)

    monkeypatch.setattr(NativeSampler, "sample", noted)
    step = torch.tensor(1)
    made.update_into(watch.totals, table, step)
    monkeypatch.undo()
    return launches


@pytest.mark.parametrize("precision", critical_path.GOALS)
def test_the_model_has_the_launches_of_an_update(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    seen = launched(monkeypatch, precision)
    update = update_nodes.record(CONFIG, synthetic_table(), (3, 2), precision)
    assert list(update.nodes) == seen
    page = (ROOT / "docs" / "performance.md").read_text()
    assert update_nodes.names(update.nodes) == [x[0] for x in rows(page, precision)]
    beside = ["triton mlp_pair._pair_kernel", "triton actor_backward._actor_kernel"]
    assert [update.nodes[i] for i in update.side] == beside
    assert update.nodes[update.join] == "triton actor_gradients._gradients_kernel"
    # The critics' cluster kernel reads copies, so their other way is not its.
    ways = Launches(**(OTHER_WAYS | {"critics_together": False}))
    other = update_nodes.record(CONFIG, synthetic_table(), (3, 2), precision, ways)
    assert [other.nodes[i] for i in other.side] == beside[:1]
    assert other.nodes[other.join] == beside[1]
    named = update_nodes.names(other.nodes)
    assert named[:2] == ["batch", "fold"] and named[-1] == "account"
    assert ("pack" in named) == (precision != "fp32")
    assert len(named) == len(seen) + 2 + (precision != "fp32")


def test_the_critics_together_are_one_node_where_there_were_two() -> None:
    record = functools.partial(update_nodes.record, CONFIG, synthetic_table(), (3, 2), "bf16")
    plain, together = record(), record(Launches(critics_together=True))
    at = update_nodes.names(plain.nodes).index("critic pass")
    expected = update_nodes.names(plain.nodes)
    expected[at : at + 2] = ["critics"]
    assert update_nodes.names(together.nodes) == expected
    assert together.nodes[at] == "cuda critics run"
    assert [x for i, x in enumerate(together.nodes) if i != at] == [
        x for i, x in enumerate(plain.nodes) if i not in (at, at + 1)
    ]


def test_a_sampler_that_is_given_no_packed_weights_counts_one_node_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = Folded(Sizes(O=5, A=4, H=16, K=3)).policy()
    sampler, units = NativeSampler(policy), torch.zeros(8)
    with counted(monkeypatch, "bf16") as nodes:
        sampler.take(policy.flatten(), 1.0, 4)
        sampler.take(policy.flatten(), 1.0, 4, None)
        assert nodes.count("cuda sampler take") == 2
        sampler.take(policy.flatten(), 1.0, 4, units)
        sampler.take(policy.flatten(), 1.0, 4, units=units)
    assert nodes.count("cuda sampler take") == 2


def rows(page: str, precision: str) -> list[list[str]]:
    """Return the cells of the nodes of a table."""
    table = page.partition(f"### In {precision}\n\n")[2].partition("\n\n")[0]
    cells = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return [x for x in cells if len(x) == 9 and "gaps" not in x[0] and "*" not in x[0]]
