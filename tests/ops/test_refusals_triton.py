"""What the launchers refuse, in one sentence each."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from triton_cases import DEVICE, LossCase, draw_actions, pytestmark, seeds  # noqa: F401

from gtp_fast import reference


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": (1, 4, 65)}, "1 to 64 action dimensions, not 65"),
        ({"a": (1, 4, 0)}, "1 to 64 action dimensions, not 0"),
        ({"seeds": 2}, r"seeds must be \[1\] int64"),
        ({"num_nodes": 1}, "num_nodes must lie in 2..11, not 1"),
        ({"num_nodes": 12}, "num_nodes must lie in 2..11, not 12"),
        ({"nodes": torch.float64}, "nodes must be one row of float32"),
        ({"cdf": torch.zeros(12, dtype=torch.int64)}, r"cdf must be \[11\] int64, not \[12\]"),
        ({"cdf": torch.zeros(11)}, r"cdf must be \[11\] int64, .* torch.float32"),
        ({"u_mode": "near"}, "'near'"),
        ({"kind": "ctm"}, "'ctm'"),
    ],
)
def test_perturb_refuses(changes: dict[str, object], message: str) -> None:
    from gtp_fast.kernels.perturb import perturb

    options = {key: changes[key] for key in ("u_mode", "kind", "cdf") if key in changes}
    nodes = reference.karras_nodes(11, dtype=changes.get("nodes", torch.float32)).to(DEVICE)
    with pytest.raises(ValueError, match=message):
        perturb(
            draw_actions(*changes.get("a", (1, 4, 3))),
            nodes,
            changes.get("num_nodes", 11),
            seeds(changes.get("seeds", 1)),
            0,
            **options,
        )


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("student", r"student must be \[1, 8, 3\]"),
        ("teacher", "teacher, a_t and a_u"),
        ("w", "q, skip, out and w"),
    ],
)
def test_loss_refuses_a_wrong_shape(field: str, message: str) -> None:
    case = LossCase(1, 4, 3)
    setattr(case, field, getattr(case, field)[:, 1:])
    with pytest.raises(ValueError, match=message):
        case.fast()


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((1, 4, 3), (3, 8), (8, 2)), {"activation": "tanh"}, "'tanh'"),
        (((1, 4, 3), (3, 8), (8, 2)), {"precision": "fp16"}, "'fp16'"),
        (((1, 4, 2), (3, 8), (8, 2)), {}, "takes 3 inputs, the pieces have 2"),
        (
            ((1, 4, 3), (3, 7), (7, 2)),
            {},
            "from 8 to 512 and outputs from 1 to 64, not 7, 2",
        ),
        (((1, 4, 3), (3, 8), (8, 65)), {}, "not 8, 65"),
        (((3, 4, 3), (3, 8), (8, 2)), {}, "does not repeat to 2 groups"),
        (((1, 4, 3), (3, 8), (9, 2)), {}, "layer 1 has shapes"),
    ],
)
def test_mlp_refuses(shapes: tuple, options: dict[str, str], message: str) -> None:
    from gtp_fast.kernels.mlp import mlp

    x, *sizes = shapes
    weights = [torch.zeros(2, *size, device=DEVICE) for size in sizes]
    biases = [torch.zeros(2, size[1], device=DEVICE) for size in sizes]
    with pytest.raises(ValueError, match=message):
        mlp([torch.zeros(x, device=DEVICE)], weights, biases, **options)


def test_mlp_backward_refuses_gradients_that_lie_apart() -> None:
    from gtp_fast.kernels.mlp import mlp
    from gtp_fast.kernels.mlp_backward import mlp_backward

    sizes = ((3, 8), (8, 8), (8, 8), (8, 8), (8, 2))
    weights = [torch.zeros(1, *size, device=DEVICE) for size in sizes]
    biases = [torch.zeros(1, size[1], device=DEVICE) for size in sizes]
    x = [torch.zeros(1, 4, 3, device=DEVICE)]
    y, saved = mlp(x, weights, biases, save=True)
    with pytest.raises(ValueError, match="one behind another"):
        mlp_backward(y, saved, x, weights, biases, weights, biases)


@pytest.mark.parametrize("name", ["adam", "td_loss", "weigh", "gather", "normals", "embed"])
def test_the_others_refuse_a_wrong_shape(name: str) -> None:
    from gtp_fast.kernels import adam, embed, gather, philox, td, weigh

    flat, two = torch.zeros(2, 9, device=DEVICE), torch.zeros(2, 2, 4, device=DEVICE)
    calls = {
        "adam": (lambda: adam.adam(*(flat,) * 4, flat[:, 1:], 1, flat[:, 0], 0.1), "every buffer"),
        "td_loss": (lambda: td.td_loss(two, two, flat, flat, 0.9), r"must be \[2, 4\]"),
        "weigh": (lambda: weigh.weigh(two, flat[:, 0], 3), "2 twins"),
        "gather": (lambda: gather.gather(flat, 3, 2, seeds(2), 0, 0, 4), "9 columns"),
        "normals": (lambda: philox.normals(seeds(2), 0, 3, 4, 513), "1 to 512 columns"),
        "embed": (lambda: embed.embed(two, [two] * 8), "powers of two"),
    }
    call, message = calls[name]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("lots", "message"),
    [
        (torch.zeros(9, dtype=torch.int64), r"lots must be \[10\] int64, not \[9\]"),
        (torch.zeros(10, dtype=torch.int32), r"lots must be \[10\] int64, .* torch.int32"),
    ],
)
def test_lots_that_do_not_fit_the_table_are_refused(lots: torch.Tensor, message: str) -> None:
    from gtp_fast.kernels import batch, gather

    table, nodes = torch.zeros(10, 10, device=DEVICE), reference.karras_nodes(11).to(DEVICE)
    lots, streams = lots.to(DEVICE), (0, 3, 4, 1, 2)
    with pytest.raises(ValueError, match=message):
        gather.gather(table, 3, 2, seeds(2), 0, 0, 4, lots)
    with pytest.raises(ValueError, match=message):
        batch.draw_batch(table, (3, 2, 4), (1, 1), nodes, 11, seeds(2), 0, streams, lots=lots)
