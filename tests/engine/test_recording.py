"""Recording on a device: its own device, no collector meanwhile, and never an empty graph."""

from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from gtp_fast.engine.loop import cuda_record, cuda_warm
from gtp_fast.errors import UserError
from gtp_fast.system import device as devices
from gtp_fast.system import native

ROOT = Path(__file__).resolve().parents[2]
SECOND = torch.device("cuda:1")


class Cuda:
    """Stands in for torch.cuda and notes what is asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, empty: bool = False):
        self.empty, self.current, self.notes = empty, [torch.device("cuda:0")], []
        for name in ("device", "graph", "stream"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
        monkeypatch.setattr(torch.cuda, "Stream", self.stream_of)
        monkeypatch.setattr(torch.cuda, "current_stream", self.current_stream)

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        self.current.append(device)
        yield
        self.current.pop()

    @contextmanager
    def graph(self, graph: object, stream: Any) -> Iterator[None]:
        yield
        if self.empty:
            # As the C++ part of PyTorch says it at the end of a capture.
            warnings.warn("The CUDA Graph is empty. This usually means ...", stacklevel=1)

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        yield

    def stream_of(self, priority: int = 0) -> Any:
        self.notes.append(("stream", self.current[-1], priority))
        return self

    def current_stream(self, device: torch.device) -> Any:
        assert device == self.current[-1]
        return self

    def wait_stream(self, other: Any) -> None:
        assert other is self


def test_a_recording_is_made_on_its_own_device_before_all_other_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda, seen = Cuda(monkeypatch), []

    def work() -> None:
        seen.append((cuda.current[-1], gc.isenabled()))

    cuda_record(work, SECOND)
    assert seen == [(SECOND, False)], "the collector would free memory of a device meanwhile"
    assert cuda.notes == [("stream", SECOND, -1)]
    assert gc.isenabled() and cuda.current == [torch.device("cuda:0")]
    cuda_warm(work, SECOND)
    assert seen[1] == (SECOND, True)


def test_the_collector_is_back_after_a_recording_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Cuda(monkeypatch)

    def work() -> None:
        raise ValueError("this cannot be recorded")

    with pytest.raises(ValueError, match="cannot be recorded"):
        cuda_record(work)
    assert gc.isenabled()


def test_an_empty_recording_is_an_error_and_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    Cuda(monkeypatch, empty=True)
    with pytest.raises(RuntimeError, match=r"holds no work.*another device or stream"):
        cuda_record(lambda: None)


def test_no_stream_is_that_of_whichever_device_is_current() -> None:
    for path in (ROOT / "gtp_fast").rglob("*.py"):
        assert not re.search(r"current_stream\(\)", path.read_text()), path


# --- the device of a run -------------------------------------------------------------------------


def test_a_run_makes_its_card_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    assert devices.current_device("cuda:1") == SECOND and used == [SECOND]
    assert devices.current_device("cuda") == torch.device("cuda") and used == [SECOND]
    with pytest.raises(UserError, match="no device 'cuda:2' here: choose cuda:0, cuda:1 or cpu"):
        devices.chosen_device("cuda:2")


@pytest.mark.parametrize(
    ("wanted", "own", "moves"),
    [
        ("cuda:1", "cuda:0", True),
        ("cuda", "cuda:1", False),
        ("cuda:1", "cuda:1", False),
        ("cpu", "cuda:0", True),
        ("cpu", "cpu", False),
    ],
)
def test_a_policy_moves_to_another_card_too(wanted: str, own: str, moves: bool) -> None:
    assert devices.elsewhere(wanted, torch.device(own)) is moves


# --- a CUDA part that cannot run -----------------------------------------------------------------


def test_auto_falls_back_with_the_reason_of_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    class Native:
        cuda, cuda_architectures, asked = True, "80 90", 0

        def cuda_unavailable(self) -> str:
            self.asked += 1
            return "CUDA could not load the sampler's kernels: no kernel image is available"

    from gtp_fast.ops import choose

    module = Native()
    monkeypatch.setattr(native, "_find", lambda: (module, ""))
    native._refusal.cache_clear()
    try:
        form = choose._form("sampler", "auto", torch.device("cuda"), torch.float32)
        assert form.name == "reference"
        assert "no kernel image is available (the native module is built for 80 90)" in form.reason
        with pytest.raises(UserError, match=r"--backend fused is not available.*no kernel image"):
            choose._form("sampler", "fused", torch.device("cuda"), torch.float32)
        assert module.asked == 1, "CUDA is asked once"
        assert native.missing("cpu") == ""
    finally:
        native._refusal.cache_clear()


def test_without_a_device_the_native_module_says_so() -> None:
    if native.missing() or not native.module().cuda or torch.cuda.is_available():
        pytest.skip("needs a native module with CUDA and no GPU")
    assert native.missing("cuda").startswith("CUDA could not find a device")
