"""What only a GPU can show of the kernels: capture in a CUDA graph, and work on another stream."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from mlp_cases import MlpCase, split

from gtp_fast import reference
from gtp_fast.reference import philox

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: none here"),
]


class Update:
    """perturb and loss of one update, its step and N read from the device."""

    def __init__(self, dtype: torch.dtype, draws_by_cdf: bool = False) -> None:
        draw = torch.Generator().manual_seed(0)
        self.dtype, self.nodes = dtype, reference.karras_nodes(1281).cuda()
        self.cdf = torch.full((1281,), 2**32).cuda() if draws_by_cdf else None
        self.keys = philox.key_tensor([1, 2, 3], "cuda")
        self.a = (torch.rand(3, 257, 6, generator=draw) * 2 - 1).cuda()
        self.networks = torch.randn(3, 3 * 257, 6, generator=draw).to("cuda", dtype)
        self.w = torch.rand(3, 257, generator=draw).cuda() + 1
        self.step = torch.zeros((), dtype=torch.int64, device="cuda")
        self.count = torch.tensor(41, dtype=torch.int32, device="cuda")
        self.take_nodes(41)

    def take_nodes(self, count: int) -> None:
        self.count.fill_(count)
        if self.cdf is not None:
            self.cdf[:count] = reference.lognormal_cdf(count).cuda()

    def __call__(self) -> list[Tensor]:
        from gtp_fast.kernels.loss import flow_map_loss
        from gtp_fast.kernels.perturb import perturb

        p = perturb(
            self.a, self.nodes, self.count, self.keys, self.step, cdf=self.cdf, dtype=self.dtype
        )
        names = ("a_t", "a_u", "q_t", "q_u", "skip_t", "out_t", "skip_u", "out_u")
        student, teacher = self.networks.split((2 * 257, 257), 1)
        losses = flow_map_loss(student, teacher, self.a, *(p[name] for name in names), self.w)
        self.step += 1
        return [*p.values(), *losses]


@pytest.mark.parametrize("draws_by_cdf", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_captured_graph_advances_as_the_eager_update_does(
    dtype: torch.dtype, draws_by_cdf: bool
) -> None:
    update = Update(dtype, draws_by_cdf)
    update()  # compiles outside the capture
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = update()
    update.step.zero_()
    update.take_nodes(1281)
    replayed = []
    for _ in range(3):
        graph.replay()
        replayed.append([x.clone() for x in captured])
    update.step.zero_()
    for results in replayed:
        for one, other in zip(results, update(), strict=True):
            assert torch.equal(one, other)
    assert not torch.equal(replayed[0][0], replayed[1][0]), "the step must advance inside the graph"


def test_kernels_follow_the_current_stream() -> None:
    update, stream = Update(torch.float32), torch.cuda.Stream()
    expected = update()
    update.step.zero_()
    source = update.a.clone()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        update.a.fill_(torch.nan)
        torch.cuda._sleep(50_000_000)
        # A launch on another stream would read NaN before this copy arrives.
        update.a.copy_(source)
        results = update()
    stream.synchronize()
    for one, other in zip(results, expected, strict=True):
        assert torch.equal(one, other)


class Training:
    """Forward and backward pass of an MLP and its Adam step, all of an update that has weights."""

    def __init__(self) -> None:
        self.case = MlpCase(4, 256, (29, 8), 256, 1, 3, "mish", "fp32")
        self.step = torch.zeros((), dtype=torch.int64, device="cuda")
        self.state = [torch.zeros_like(self.case.flat) for _ in range(3)]
        self.rate = torch.full((4,), 1e-3, device="cuda")

    def __call__(self) -> list[Tensor]:
        from gtp_fast.kernels.adam import adam
        from gtp_fast.kernels.mlp import mlp
        from gtp_fast.kernels.mlp_backward import mlp_backward

        case, gradient = self.case, torch.empty_like(self.case.flat)
        parameters, written = split(case.flat, case.shapes), split(gradient, case.shapes)
        y, saved = mlp(case.inputs, parameters[::2], parameters[1::2], save=True)
        mlp_backward(
            y, saved, case.inputs, parameters[::2], parameters[1::2], written[::2], written[1::2]
        )
        norm = adam(case.flat, gradient, *self.state, self.step + 1, self.rate, 0.01, 1.0)
        self.step += 1
        return [y, norm]


def test_training_in_a_captured_graph_takes_the_same_steps_as_eagerly() -> None:
    eager, recorded = Training(), Training()
    Training()()  # compiles outside the capture
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = recorded()
    for _ in range(3):
        graph.replay()
        for one, other in zip(eager(), captured, strict=True):
            assert torch.equal(one, other)
    for one, other in zip(
        (eager.case.flat, *eager.state), (recorded.case.flat, *recorded.state), strict=True
    ):
        assert torch.equal(one, other)
