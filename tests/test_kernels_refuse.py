"""What the launchers refuse, in one sentence each; runs as test_kernels.py."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from test_kernels import DEVICE, LossCase, draw_actions, pytestmark, seeds  # noqa: F401

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
        ({"u_mode": "near"}, "'near'"),
        ({"precondition": "ctm"}, "'ctm'"),
    ],
)
def test_perturb_refuses(changes: dict[str, object], message: str) -> None:
    from gtp_fast.kernels.perturb import perturb

    options = {key: changes[key] for key in ("u_mode", "precondition") if key in changes}
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
