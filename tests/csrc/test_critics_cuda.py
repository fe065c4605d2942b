"""The critics' cluster kernel on a device: shapes, repetition, a graph."""

from __future__ import annotations

import pytest
import torch
from critics_case import DISCOUNT, Case, Shape

from gtp_fast.ops.critics import ClusterCritics
from gtp_fast.system import native

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available() or native.missing("cuda") != "",
        reason=native.missing("cuda") or "needs a CUDA device",
    ),
]


@pytest.fixture(autouse=True)
def clusters() -> None:
    """Skip where the device has no clusters."""
    if torch.cuda.get_device_capability() < (9, 0):
        pytest.skip("this device has no clusters")


@pytest.mark.parametrize(
    "shape",
    [Shape(B=b) for b in (1, 63, 255, 256, 257, 1000)]
    + [Shape(S=5, B=256), Shape(S=2, O=11, A=3, H=64, D=2, M=2, B=33)]
    + [Shape(S=3, O=3, A=2, H=128, D=1, B=5), Shape(O=105, A=17, H=192, M=3)],
    ids=str,
)
def test_the_td_step_is_that_of_the_reference(shape: Shape) -> None:
    Case(shape, "cuda").check()


def test_the_same_bits_twice() -> None:
    case = Case(Shape(S=2, B=256), "cuda")
    first = case.fast()
    for _ in range(20):
        for name, value in case.fast().items():
            assert torch.equal(value, first[name]), name


def test_a_graph_follows_new_weights() -> None:
    case = Case(Shape(B=256), "cuda")
    critics = ClusterCritics(case.shape[1:6], case.parameters, case.copies, "bf16")
    given = case.now, case.next, case.reward, case.mask, DISCOUNT
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        critics(*given)
        with torch.cuda.graph(graph, stream=side):
            found = critics(*given)
    torch.cuda.synchronize()
    for x in (*case.parameters, *case.copies):
        x *= 0.5
    graph.replay()
    torch.cuda.synchronize()
    wanted = critics(*given)
    for name, value in found._asdict().items():
        assert torch.equal(value, getattr(wanted, name)), name
