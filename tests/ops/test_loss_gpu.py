"""Perturbation and losses as only a GPU shows them: in a CUDA graph, on another stream."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.reference import philox

pytest.importorskip("triton")

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
