"""The precision of a training run: who has it, who is refused it, and that a run keeps it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from agent_cases import TINY
from folded import Folded, Sizes
from native_cases import needs_native
from on_arrays import limited_to

from gtp_fast import agents, ops
from gtp_fast.errors import UserError
from gtp_fast.ops import precision as ops_precision
from gtp_fast.system import native
from gtp_fast.training import config


def test_a_cpu_refuses_what_only_a_gpu_has() -> None:
    message = "--precision tf32 is not available: .* the run is on cpu; use --precision fp32"
    with pytest.raises(UserError, match=message):
        agents.build("gtp", TINY, 3, 2, (0,), "cpu", "auto", "tf32")


@needs_native
def test_a_cpu_that_multiplies_no_bf16_refuses_it() -> None:
    message = "multiplies no bfloat16, for which it needs AMX or"
    with limited_to("portable"), pytest.raises(UserError, match=message):
        agents.build("gtp", TINY, 3, 2, (0,), "cpu", "auto", "bf16")


@pytest.mark.parametrize("backend", ["reference", "compiled"])
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_operations_that_are_not_fused_refuse_it(backend: str, precision: str) -> None:
    with pytest.raises(UserError, match=f"have it, and --backend is {backend}; use"):
        ops.resolve(backend, "cuda", precision=precision)


def test_a_run_says_what_its_products_read() -> None:
    plain = ops.resolve("reference")
    assert "products" not in plain.describe()
    assert replace(plain, precision="bf16").describe().endswith("; products in bf16")


def test_an_old_card_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Turing")
    with pytest.raises(UserError, match=r"capability 8\.0 or newer, and Turing is older"):
        ops_precision.check("tf32", True, True, torch.device("cuda"), "")


def test_a_gpu_without_a_native_sampler_refuses_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(native, "missing", lambda kind="cpu": "no CUDA part")
    assert ops.resolve("auto", "cuda").forms["sampler"].name == "reference"
    with pytest.raises(UserError, match="sampler of an update has no fused form here, no CUDA par"):
        ops.resolve("auto", "cuda", precision="tf32")
    assert ops.resolve("auto", "cuda", precision="bf16").describe().endswith("products in bf16")


def test_the_sampler_of_the_reference_refuses_what_it_would_compute_in_fp32() -> None:
    policy = Folded(Sizes(H=16, K=2)).policy()
    with pytest.raises(UserError, match="PyTorch's computes in fp32, bf16 or int8; choose"):
        ops.make_sampler(policy, "reference", precision="tf32")


def test_the_command_line_takes_it_and_names_what_it_does_not_know() -> None:
    chosen = config.parse(["--task", "pointmaze-demo", "--precision", "tf32"])
    assert chosen.run.precision == "tf32"
    for other in ("fp16", "int8"):
        with pytest.raises(UserError, match=f"'{other}': choose fp32, tf32 or bf16"):
            config.parse(["--task", "pointmaze-demo", "--precision", other])
    with pytest.raises(UserError, match="leave out --precision"):
        config.parse_resumed(["--resume", "runs/some", "--precision", "tf32"])
