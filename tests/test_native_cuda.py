"""The CUDA sampler: its kernels emulated on the host everywhere, the real ones on a device."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from folded import FORMS, Folded, Form, Sizes
from tolerance import assert_as_accurate

from gtp_fast import native

SOURCES = Path(__file__).parents[1] / "csrc" / "emulation"
PLANS = [("latency", 1), ("latency", 2), ("latency", 4)]
PLANS += [("throughput", 8), ("throughput", 16), ("throughput", 32), ("throughput", 64)]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernels' source compiled for the host, a block's threads as fibers."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None or not SOURCES.is_dir():
        pytest.skip("needs a C++ compiler and the checkout's csrc/emulation")
    library = tmp_path_factory.mktemp("emulation") / "emulate.so"
    options = ["-std=c++17", "-O1", "-shared", "-fPIC", "-Wno-unknown-pragmas", "-I."]
    command = [compiler, *options, "-o", str(library), "emulate.cpp"]
    subprocess.run(command, cwd=SOURCES, check=True)
    return ctypes.CDLL(str(library))


@pytest.mark.parametrize(("kernel", "rows_per_block"), PLANS)
@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(K=2),
        Sizes(S=2, O=11, A=3, H=100, L=2, K=2),
        Sizes(O=105, A=17, H=300, L=3, K=1),
        Sizes(S=2, O=1, A=1, H=1, L=4, K=2),
        Sizes(O=400, A=6, H=33, L=3, K=2),
        Sizes(O=17, A=6, H=32, L=1, K=5),
    ],
    ids=str,
)
def test_the_kernels_emulated(
    emulator: ctypes.CDLL, sizes: Sizes, kernel: str, rows_per_block: int
) -> None:
    emulate(emulator, Folded(sizes), kernel, rows_per_block)


@pytest.mark.parametrize(("kernel", "rows_per_block"), [("latency", 2), ("throughput", 16)])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_forms_emulated(
    emulator: ctypes.CDLL, form: Form, kernel: str, rows_per_block: int
) -> None:
    policy = Folded(Sizes(S=2, O=11, A=3, H=36, L=2, K=3), form=form)
    emulate(emulator, policy, kernel, rows_per_block)


def emulate(emulator: ctypes.CDLL, policy: Folded, kernel: str, rows_per_block: int) -> None:
    sizes = policy.sizes
    rows = rows_per_block + 1  # a whole block, and one with absent rows
    observation, noise, out = policy.inputs(rows)
    weights = policy.flat(-(-sizes.H // 4) * 4, -(-sizes.A // 4) * 4)
    # The device's buffer is aligned for loads of four floats; so must this one be.
    aligned = np.empty(weights.size + 4, np.float32)
    aligned = aligned[(-aligned.ctypes.data // 4) % 4 :][: weights.size]
    aligned[:] = weights
    form = policy.form
    kind = ("mish", "gelu", "relu").index(form.activation)
    shape = (ctypes.c_int * 9)(*sizes.tuple(), kind, form.clamp, form.stochastic)
    pointer = [ctypes.c_void_p(x.ctypes.data) for x in (aligned, observation, noise, out)]
    status = emulator.gtp_emulate(
        int(kernel == "latency"), rows_per_block, shape, pointer[0],
        ctypes.c_float(policy.initial_scale), *pointer[1:], rows,
    )  # fmt: skip
    assert status == 0, {1: "threads part at a barrier", 2: "shared memory overrun"}[status]
    exact, plain = policy.exact(observation, noise), policy.plain(observation, noise)
    assert_as_accurate(f"{kernel} {rows_per_block} {sizes} {form}", out, plain, exact)


def test_without_cuda_the_class_is_absent_and_says_why() -> None:
    if native.missing():
        pytest.skip(native.missing())
    module = native.module()
    assert hasattr(module, "CudaSampler") == module.cuda
    assert bool(module.cuda_reason) != module.cuda
    if not torch.cuda.is_available() and module.cuda:
        with pytest.raises(RuntimeError, match="CUDA could not"):
            module.CudaSampler(*Sizes().tuple())


class Device:
    """A policy on the GPU with its inputs."""

    def __init__(self, sizes: Sizes, rows: int, form: Form | None = None):
        self.policy, self.rows = Folded(sizes, form=form), rows
        self.observation, self.noise, self.out = self.policy.inputs(rows)
        self.flat = torch.tensor(self.policy.flat(), device="cuda")
        self.tensors = [
            torch.tensor(x, device="cuda") for x in (self.observation, self.noise, self.out)
        ]
        self.sampler = native.module().CudaSampler(*self.policy.arguments())
        self.load()

    def load(self) -> None:
        stream = torch.cuda.current_stream().cuda_stream
        scale = self.policy.initial_scale
        self.sampler.load(self.flat.data_ptr(), self.flat.numel(), scale, stream)

    def run(self) -> torch.Tensor:
        pointers = (x.data_ptr() for x in self.tensors)
        self.sampler.sample(*pointers, self.rows, torch.cuda.current_stream().cuda_stream)
        return self.tensors[2]

    def check(self) -> None:
        exact = self.policy.exact(self.observation, self.noise)
        plain = self.policy.plain(self.observation, self.noise)
        assert_as_accurate("actions on the device", self.tensors[2], torch.tensor(plain), exact)


device = pytest.mark.skipif(
    not torch.cuda.is_available() or native.missing("cuda") != "",
    reason=native.missing("cuda") or "needs a CUDA device",
)


@pytest.mark.gpu
@device
@pytest.mark.parametrize("rows", [1, 2, 3, 16, 17, 63, 255, 256, 257, 1000, 16384, 65536])
def test_batches_on_the_device(rows: int) -> None:
    on = Device(Sizes(), rows)
    on.run()
    torch.cuda.synchronize()
    on.check()


@pytest.mark.gpu
@device
@pytest.mark.parametrize("rows", [1, 5, 100])
@pytest.mark.parametrize(
    "sizes",
    [Sizes(A=a) for a in (1, 3, 6, 17)]
    + [Sizes(O=o) for o in (11, 17, 27, 105)]
    + [Sizes(H=h) for h in (32, 100, 128, 300, 512)]
    + [Sizes(S=3, L=1, K=1), Sizes(S=5, K=2)],
    ids=str,
)
def test_shapes_on_the_device(sizes: Sizes, rows: int) -> None:
    on = Device(sizes, rows)
    on.run()
    torch.cuda.synchronize()
    on.check()


@pytest.mark.gpu
@device
@pytest.mark.parametrize("rows", [5, 100])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_forms_on_the_device(form: Form, rows: int) -> None:
    on = Device(Sizes(S=2, H=100, K=3), rows, form)
    on.run()
    torch.cuda.synchronize()
    on.check()


@pytest.mark.gpu
@device
@pytest.mark.parametrize("rows", [1, 1000])
def test_a_graph_follows_new_weights_and_a_side_stream_is_kept(rows: int) -> None:
    on = Device(Sizes(H=100, A=3), rows)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(side):
        on.run()
        with torch.cuda.graph(graph, stream=side):
            on.load()
            on.run()
    torch.cuda.synchronize()
    on.policy = Folded(on.policy.sizes, seed=5)
    on.flat.copy_(torch.tensor(on.policy.flat()))
    on.tensors[2].fill_(float("nan"))
    graph.replay()
    torch.cuda.synchronize()
    on.check()
    first = on.tensors[2].clone()
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(first, on.tensors[2])


@pytest.mark.gpu
@device
def test_the_plan_fills_the_device() -> None:
    on = Device(Sizes(), 1)
    assert on.sampler.plan(1) == ("latency", 1)
    assert on.sampler.plan(16)[0] == "latency"
    assert on.sampler.plan(17) == ("throughput", 8)
    assert on.sampler.plan(65536)[1] >= 32
