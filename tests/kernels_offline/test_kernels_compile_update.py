"""Every launch of one seed's update at its defaults, compiled without a GPU as it is recorded."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
pytest.importorskip("gymnasium", reason="the agent's data package needs gymnasium")

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from nodes import Node  # noqa: E402
from test_kernels_compile import assert_lean, built, pytestmark  # noqa: E402, F401

from benchmarks import bench_update, update_nodes  # noqa: E402

SIZES = bench_update.OBSERVATIONS, bench_update.ACTIONS


def recorded(
    monkeypatch: pytest.MonkeyPatch, capability: int, precision: str, seeds: int
) -> tuple[Node, ...]:
    """Return the launches of an update on a card of this capability."""
    for file in (ROOT / "kernels").glob("[a-z]*.py"):
        importlib.import_module(f"gtp_fast.kernels.{file.stem}")
    from gtp_fast.kernels import tiling

    monkeypatch.setattr(tiling, "capability", lambda device: capability)
    # Read after the kernels were made for a compiler: it only chooses them on a CPU.
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    update = update_nodes.record(
        bench_update.CONFIG, bench_update.table(), SIZES, precision, seeds=tuple(range(seeds))
    )
    monkeypatch.undo()
    return tuple(x for x in update.nodes if x.startswith("triton "))


@pytest.mark.parametrize(
    ("capability", "precision"),
    [(80, "fp32"), (90, "fp32"), (120, "fp32"), (90, "tf32"), (90, "bf16")],
)
def test_every_launch_of_an_update_compiles_lean(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capability: int, precision: str
) -> None:
    nodes = recorded(monkeypatch, capability, precision, 1)
    assert len(nodes) >= 10
    small = [x.given["BLOCK_B"] == 8 for x in nodes if "BLOCK_K" in x.given and "K" in x.given]
    assert any(small) == (precision == "fp32"), "the small tiles of one seed are not compiled"
    for node in nodes:
        module, name = node.removeprefix("triton ").split(".")
        kernel = getattr(importlib.import_module(f"gtp_fast.kernels.{module}"), name)
        assert_lean(*built(kernel, node.given, capability, tmp_path))
