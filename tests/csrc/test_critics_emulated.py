"""The critics' cluster kernel on the host: its results, its order of threads, what it refuses."""

from __future__ import annotations

import ctypes

import emulated
import pytest
import torch
from critics_case import AMPERE, HOPPER, Case, Emulated, Shape
from triton_cases import poisoned_outputs  # noqa: F401

from gtp_fast.errors import UserError
from gtp_fast.ops import critics


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernels' source compiled for the host."""
    if reason := emulated.missing():
        pytest.skip(reason)
    return emulated.build(tmp_path_factory.mktemp("emulation"))


@pytest.fixture
def card(emulator: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel run in the emulation."""
    monkeypatch.setattr(critics, "prepared", lambda _, sizes: Emulated(emulator, sizes))


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(
    "shape",
    [
        Shape(),
        Shape(S=2, O=11, A=3, H=64, D=2, M=2, B=33),
        Shape(S=3, O=3, A=2, H=128, D=1, B=5),
        Shape(O=105, A=17, H=192, M=3, B=16),
    ],
    ids=str,
)
def test_the_td_step_is_that_of_the_reference(shape: Shape) -> None:
    Case(shape).check()


@pytest.mark.usefixtures("card")
def test_clusters_give_the_same_bits_whatever_runs_first() -> None:
    # The same rows in each cluster; the emulation's random order is another in each.
    case, tiles = Case(Shape(S=2, O=11, A=3, H=64, B=16)), 3
    one = case.fast()
    repeated = [x.repeat(1, tiles, 1) for x in (*case.now, *case.next)]
    case.now, case.next = (repeated[0], repeated[1]), (repeated[2], repeated[3])
    case.reward, case.mask = (x.repeat(1, tiles) for x in (case.reward, case.mask))
    many = case.fast()
    for name in ("hidden", "deltas", "gradient"):
        # A batch of three times the rows divides the gradient by as much.
        scale = 1.0 if name == "hidden" else tiles
        rows = many[name].unflatten(-2, (tiles, -1)).unbind(-3)
        for row in rows[1:]:
            assert torch.equal(row, rows[0]), name
        assert torch.equal(one["hidden"], rows[0]) or scale > 1.0
