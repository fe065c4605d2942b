"""The Triton generator against published vectors, Box-Muller at its edges."""

from __future__ import annotations

import math

import pytest
import torch
from tolerance import assert_as_accurate
from triton_cases import DEVICE, STEP, poisoned_outputs, pytestmark, seeds  # noqa: F401

from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream

triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")

from gtp_fast.kernels.philox import _box_muller, philox4x32_10  # noqa: E402

# Counter, key and result of the known-answer tests published with Random123.
VECTORS = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@triton.jit
def _philox_kernel(x, y, N: tl.constexpr):
    i = tl.arange(0, N)
    c0, c1, c2, c3 = (
        tl.load(x + i),
        tl.load(x + N + i),
        tl.load(x + 2 * N + i),
        tl.load(x + 3 * N + i),
    )
    k0, k1 = tl.load(x + 4 * N + i), tl.load(x + 5 * N + i)
    w0, w1, w2, w3 = philox4x32_10(
        c0.to(tl.uint32),
        c1.to(tl.uint32),
        c2.to(tl.uint32),
        c3.to(tl.uint32),
        k0.to(tl.uint32),
        k1.to(tl.uint32),
    )
    tl.store(y + i, w0.to(tl.int64))
    tl.store(y + N + i, w1.to(tl.int64))
    tl.store(y + 2 * N + i, w2.to(tl.int64))
    tl.store(y + 3 * N + i, w3.to(tl.int64))


@triton.jit
def _box_muller_kernel(radius_words, angle_words, z, N: tl.constexpr):
    i = tl.arange(0, N)
    first, second = _box_muller(
        tl.load(radius_words + i).to(tl.uint32), tl.load(angle_words + i).to(tl.uint32)
    )
    tl.store(z + i, first)
    tl.store(z + N + i, second)


def test_philox_gives_the_published_vectors() -> None:
    numbers = [[int(x, 16) for x in " ".join(v).split()] for v in [*VECTORS, VECTORS[0]]]
    table = torch.tensor(numbers, dtype=torch.int64, device=DEVICE)  # [4, 6 inputs + 4 outputs]
    result = torch.zeros(4, 4, dtype=torch.int64, device=DEVICE)
    _philox_kernel[(1,)](table[:, :6].T.contiguous(), result, N=4)
    assert torch.equal(result.T, table[:, 6:])


@pytest.mark.parametrize("radius", ["spread", "largest", "smallest"])
def test_box_muller_matches_float64_all_round_the_circle(radius: str) -> None:
    # Every eighth of a turn with its neighbours, where the reduction of the angle changes branch.
    edges = [(k * 2**21 + d) % 2**24 << 8 for k in range(8) for d in (-1, 0, 1)]
    between = torch.randint(
        0, 2**32, (1024 - len(edges),), generator=torch.Generator().manual_seed(0)
    )
    angle = torch.cat((torch.tensor(edges), between)).to(DEVICE)
    word = {
        "spread": angle.flip(0),
        "largest": angle * 0,
        "smallest": angle * 0 + (2**24 - 2 << 8),
    }[radius]
    fast = torch.full((2, 1024), torch.nan, device=DEVICE)
    _box_muller_kernel[(1,)](word, angle, fast, N=1024)

    def definition(dtype: torch.dtype) -> torch.Tensor:
        r = torch.sqrt(-2 * torch.log(((word >> 8) + 1).to(dtype) * 2.0**-24))
        turn = (angle >> 8).to(dtype) * (2.0**-24 * 2 * math.pi)
        return torch.stack((r * torch.cos(turn), r * torch.sin(turn)))

    # Plain PyTorch errs by its rounded angle; the exact reduction must do without that allowance.
    exact = definition(torch.float64)
    assert_as_accurate(radius, fast, exact.float(), exact, floor_eps=1)


def test_box_muller_of_the_largest_word_is_zero() -> None:
    word = torch.full((4,), 2**32 - 1, device=DEVICE)
    result = torch.full((2, 4), torch.nan, device=DEVICE)
    _box_muller_kernel[(1,)](word, word, result, N=4)
    assert (result == 0).all()


# More than 512 columns are drawn by several programs.
@pytest.mark.parametrize("columns", [1, 6, 17, 513])
def test_draws_match_the_definition(columns: int) -> None:
    from gtp_fast.kernels.philox import integers, normals

    step = torch.tensor(STEP, dtype=torch.int64, device=DEVICE)
    fast = normals(seeds(2), step, Stream.VALUE, 70, columns)
    plain, exact = (
        philox.normals(seeds(2), STEP, Stream.VALUE, 70, columns, dtype)
        for dtype in (torch.float32, torch.float64)
    )
    assert_as_accurate("normals", fast, plain, exact)
    drawn = integers(seeds(2), STEP, Stream.VALUE, 600, 12_345)
    assert torch.equal(drawn, philox.integers(seeds(2), STEP, Stream.VALUE, 600, 12_345))


def test_normals_refuse_no_columns() -> None:
    from gtp_fast.kernels.philox import normals

    with pytest.raises(ValueError, match="at least one column"):
        normals(seeds(2), 0, 3, 4, 0)
