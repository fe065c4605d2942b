"""Perceptron and Adam step as only a GPU shows them: in a CUDA graph."""

from __future__ import annotations

import pytest
import torch
from mlp_case import MlpCase, split
from torch import Tensor

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: none here"),
]


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
