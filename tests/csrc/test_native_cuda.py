"""The CUDA sampler on a device: every path and precision, graphs, streams, the sanitizer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from emulated import PRECISIONS, plain
from folded import FORMS, Folded, Form, Sizes
from tolerance import assert_as_accurate

from gtp_fast.errors import UserError
from gtp_fast.ops import precision as ops_precision
from gtp_fast.ops import sampler as ops_sampler
from gtp_fast.system import native


def test_without_cuda_the_class_is_absent_and_says_why() -> None:
    if native.missing():
        pytest.skip(native.missing())
    module = native.module()
    assert hasattr(module, "CudaSampler") == module.cuda
    assert bool(module.cuda_reason) != module.cuda
    if not torch.cuda.is_available() and module.cuda:
        with pytest.raises(RuntimeError, match="CUDA could not"):
            module.CudaSampler(*Sizes().tuple())


def test_what_cannot_be_had_is_refused_before_a_device_is_asked() -> None:
    if native.missing() or not native.module().cuda:
        pytest.skip(native.missing("cuda"))
    make = native.module().CudaSampler
    with pytest.raises(ValueError, match="fp32, tf32 or bf16, not fp16"):
        make(*Sizes().tuple(), precision="fp16")
    with pytest.raises(ValueError, match="bf16 needs a width of at most 512 on a GPU, not 600"):
        make(*Sizes(H=600).tuple(), precision="bf16")


class Device:
    """A policy on the GPU with its inputs."""

    def __init__(self, sizes: Sizes, rows: int, precision: str = "fp32", form: Form | None = None):
        self.policy, self.rows, self.precision = Folded(sizes, form=form), rows, precision
        self.observation, self.noise, self.out = self.policy.inputs(rows)
        self.flat = torch.tensor(self.policy.flat(), device="cuda")
        self.tensors = [
            torch.tensor(x, device="cuda") for x in (self.observation, self.noise, self.out)
        ]
        self.sampler = native.module().CudaSampler(*self.policy.arguments(), precision=precision)
        self.load()

    def load(self) -> None:
        stream = torch.cuda.current_stream().cuda_stream
        scale = self.policy.initial_scale
        self.sampler.load(self.flat.data_ptr(), self.flat.numel(), scale, stream)

    def run(self, plan: tuple[str, int] | None = None) -> torch.Tensor:
        pointers = (x.data_ptr() for x in self.tensors)
        self.sampler.sample(*pointers, self.rows, torch.cuda.current_stream().cuda_stream, plan)
        return self.tensors[2]

    def check(self) -> None:
        torch.cuda.synchronize()
        exact = self.policy.exact(self.observation, self.noise)
        rounded = plain(self.policy, self.observation, self.noise, self.precision)
        name = f"{self.sampler.describe(self.rows)}, {self.policy.sizes}, batch {self.rows}"
        assert_as_accurate(name, self.tensors[2], torch.tensor(rounded), exact)


device = pytest.mark.skipif(
    not torch.cuda.is_available() or native.missing("cuda") != "",
    reason=native.missing("cuda") or "needs a CUDA device",
)


@pytest.mark.gpu
@device
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rows", [1, 2, 3, 16, 17, 63, 255, 256, 257, 1000, 8192, 16384, 65536])
def test_batches_on_the_device(rows: int, precision: str) -> None:
    # A single number may be right by luck; eight policies are not.
    on = Device(Sizes(S=8 if rows == 1 else 1, K=5 if rows <= 1000 else 2), rows, precision)
    on.run()
    on.check()


@pytest.mark.gpu
@device
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("H", [64, 256, 512])
def test_every_kernel_on_the_device(H: int, precision: str) -> None:
    on = Device(Sizes(S=2, H=H, K=3), 300, precision)
    plans = on.sampler.plans()
    assert on.sampler.plan(300) in plans
    for plan in plans:
        on.tensors[2].fill_(float("nan"))
        on.run(plan)
        on.check()
    with pytest.raises(ValueError, match="no plan cluster of 3 rows"):
        on.run(("cluster", 3))


@pytest.mark.gpu
@device
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rows", [5, 100, 400])
@pytest.mark.parametrize(
    "sizes",
    [Sizes(A=a) for a in (1, 3, 6, 17)]
    + [Sizes(O=o) for o in (11, 17, 27, 105)]
    + [Sizes(H=h) for h in (32, 64, 100, 128, 300, 512)]
    + [Sizes(S=3, L=1, K=1), Sizes(S=5, K=2), Sizes(L=5, K=2)],
    ids=str,
)
def test_shapes_on_the_device(sizes: Sizes, rows: int, precision: str) -> None:
    on = Device(sizes, rows, precision)
    on.run()
    on.check()


@pytest.mark.gpu
@device
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rows", [5, 400])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_forms_on_the_device(form: Form, rows: int, precision: str) -> None:
    on = Device(Sizes(S=2, H=100, K=3), rows, precision, form)
    on.run()
    on.check()


@pytest.mark.gpu
@device
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rows", [1, 256, 1000])
def test_a_graph_follows_new_weights_and_a_side_stream_is_kept(rows: int, precision: str) -> None:
    on = Device(Sizes(S=8, H=100, A=3), rows, precision)
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
    on.check()
    first = on.tensors[2].clone()
    on.tensors[2].fill_(float("nan"))
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(first, on.tensors[2])


@pytest.mark.gpu
@device
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rows", [64, 1000])
def test_samplers_on_streams_of_their_own_at_once(rows: int, precision: str) -> None:
    many = [Device(Sizes(H=128, K=2, A=a), rows, precision) for a in (3, 6, 8, 17)]
    streams = [torch.cuda.Stream() for _ in many]
    torch.cuda.synchronize()
    for _ in range(10):
        for on, stream in zip(many, streams, strict=True):
            with torch.cuda.stream(stream):
                on.tensors[2].fill_(float("nan"))
                on.run()
    for on in many:
        on.check()


@pytest.mark.gpu
@device
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rows", [1, 64, 256, 5000])
def test_the_same_bits_twice(rows: int, precision: str) -> None:
    on = Device(Sizes(K=5), rows, precision)
    first = on.run().clone()
    for _ in range(20):
        on.tensors[2].fill_(float("nan"))
        assert torch.equal(on.run(), first)


@pytest.mark.gpu
@device
@pytest.mark.parametrize(
    ("sizes", "rows"),
    [
        (Sizes(), 1),
        (Sizes(), 512),
        (Sizes(S=3, L=1, K=9), 33),
        (Sizes(A=70, L=5, H=128), 100),
        (Sizes(L=2, H=512), 40),
        (Sizes(S=64, L=2, K=50), 16),
    ],
    ids=str,
)
def test_counting_results_gives_the_bits_of_a_barrier(sizes: Sizes, rows: int) -> None:
    on = Device(sizes, rows, "bf16")
    if ("counted", 16) not in on.sampler.plans():
        pytest.skip("this device has no clusters")
    want = on.run(("cluster", 16)).clone()
    for _ in range(50):
        on.tensors[2].fill_(float("nan"))
        assert torch.equal(on.run(("counted", 16)), want)


@pytest.mark.gpu
@device
def test_the_choice_states_itself() -> None:
    policy = Folded(Sizes(K=2)).policy().to("cuda")
    clusters = torch.cuda.get_device_capability()[0] >= 9
    for precision in PRECISIONS:
        sampler = ops_sampler.NativeSampler(policy, precision)
        path, rows = sampler.native.plan(1)
        alone = "latency" if precision == "fp32" else "tensor"
        several = "counted" if precision == "bf16" else "cluster"
        assert path == (several if clusters else alone)
        assert sampler.kernel(1).startswith(precision) and f" {rows} row" in sampler.kernel(1)
        assert sampler.kernel(16384) in sampler.describe()


def test_a_precision_that_only_a_gpu_has_is_refused_on_the_cpu() -> None:
    if native.missing():
        pytest.skip(native.missing())
    with pytest.raises(UserError, match="tf32 is available on a GPU only"):
        ops_sampler.NativeSampler(Folded(Sizes(H=32)).policy(), "tf32")


def test_a_precision_that_only_a_cpu_has_is_refused_on_a_gpu() -> None:
    with pytest.raises(UserError, match=r"int8 is available on a CPU only.*fp32, tf32 or bf16"):
        ops_precision.check_sampler("int8", on_gpu=True)
    assert [ops_precision.check_sampler(name, on_gpu=True) for name in PRECISIONS] == [*PRECISIONS]


_WITNESS = """
import sys; sys.path[:0] = sys.argv[1:]
from test_native_cuda import PRECISIONS, Device, Sizes
for precision in PRECISIONS:
    on = Device(Sizes(O=11, A=3, H=64, K=2), 40, precision)
    for plan in on.sampler.plans():
        on.run(plan)
        on.check()
"""


@pytest.mark.gpu
@pytest.mark.slow
@device
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_the_sanitizer_finds_nothing(tool: str) -> None:
    sanitizer = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(sanitizer).exists():
        pytest.skip("compute-sanitizer is not here")
    here = Path(__file__).parent
    support = here.parent / "support"
    # What PyTorch asks of the driver in vain while it starts is no fault of a kernel.
    options = ["--tool", tool, "--error-exitcode", "9", "--report-api-errors", "no"]
    folders = [str(here), str(support), str(here.parents[1])]
    command = [sanitizer, *options, sys.executable, "-c", _WITNESS, *folders]
    done = subprocess.run(
        [*command, str(here), str(support), str(here.parents[1])],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if "Device not supported" in done.stdout:
        pytest.skip("compute-sanitizer does not support this device")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
