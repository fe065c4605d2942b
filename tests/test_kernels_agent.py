"""Whole updates of GTP through the kernels and by the reference; runs as test_kernels.py."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from tolerance import assert_as_accurate
from torch import Tensor

pytest.importorskip("triton")
pytest.importorskip("gymnasium", reason="the agent's data package needs gymnasium")

from agent_cases import TINY, synthetic_table
from test_kernels import DEVICE, pytestmark  # noqa: F401

from gtp_fast.agents.gtp import GTP

CONFIG = dataclasses.replace(TINY, width=16, eta=(1.0, 2.0), max_q_backup=2, max_gradient_norm=1.0)


def agent(backend: str, dtype: torch.dtype = torch.float32, pick: slice = slice(None)) -> GTP:
    config = dataclasses.replace(CONFIG, eta=CONFIG.eta[pick])
    made = GTP(config, 3, 2, (3, 5)[pick], DEVICE, backend, dtype)
    made.prepare(10)
    return made


def states(made: GTP, steps: int) -> Iterator[dict[str, Tensor]]:
    table = synthetic_table().to(DEVICE)
    for step in range(steps):
        metrics = made.update(table, step)
        state = {name: value.clone() for name, value in made.state_dict().items()}
        yield {"metrics": metrics.T} | state


def test_updates_match_the_reference_agent() -> None:
    fast = agent("auto")
    assert fast.ops.choices["mlp"] == ("fused", "")
    runs = (fast, agent("reference"), agent("reference", torch.float64))
    for step, (one, plain, exact) in enumerate(zip(*(states(x, 10) for x in runs), strict=True)):
        for name, value in one.items():
            if step + 1 in (1, 3, 10) and value.is_floating_point():
                assert_as_accurate(f"{name} after {step + 1}", value, plain[name], exact[name])


def test_a_seed_trained_among_others_equals_that_seed_alone() -> None:
    runs = (agent("auto"), agent("auto", pick=slice(1, 2)))
    for together, alone in zip(*(states(x, 2) for x in runs), strict=True):
        for name, value in together.items():
            assert torch.equal(value[1:], alone[name]), name


class Counter:
    """Stands before a kernel and counts its launches without making them."""

    launches: ClassVar[dict[str, int]] = {}

    def __init__(self, name: str) -> None:
        self.name = name

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        self.launches[self.name] = self.launches.get(self.name, 0) + 1
        return lambda *args, **options: None


def test_an_update_takes_24_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    made = agent("auto")
    for file in (Path(__file__).parent.parent / "kernels").glob("[a-z]*.py"):
        module = importlib.import_module(f"gtp_fast.kernels.{file.stem}")
        for name in [x for x in vars(module) if x.endswith("_kernel")]:
            monkeypatch.setattr(module, name, Counter(f"{file.stem}.{name}"))
    made.update(synthetic_table().to(DEVICE), 1)
    passes = {"mlp._mlp_kernel": 5, "mlp_backward._chain_kernel": 2, "mlp_weights._weights_kernel": 2}  # fmt: skip  # noqa: E501
    assert passes.items() <= Counter.launches.items()
    assert sum(Counter.launches.values()) == 24
