"""The native random numbers against definitions of their own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gtp_fast.ops import philox as ops_random
from gtp_fast.reference import philox as random
from gtp_fast.system import native

pytestmark = pytest.mark.skipif(not native.available(), reason=native.missing())
MASK = 0xFFFFFFFF


def philox(key: int, counter: tuple[int, ...]) -> tuple[int, ...]:
    """Ten rounds in Python integers, written from the paper's definition."""
    left, right = key & MASK, key >> 32
    a, b, c, d = counter
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (
            (second >> 32) ^ b ^ left,
            second & MASK,
            (first >> 32) ^ d ^ right,
            first & MASK,
        )
        left, right = (left + 0x9E3779B9) & MASK, (right + 0xBB67AE85) & MASK
    return a, b, c, d


def normal(key: int, step: int, stream: int, row: int, j: int) -> float:
    """Element j of a row, in Python's floats."""
    w = philox(key, (step, stream, row, j // 4))
    radius_word, angle_word = (w[0], w[1]) if j % 4 < 2 else (w[2], w[3])
    radius = math.sqrt(-2.0 * math.log(((radius_word >> 8) + 1) * 2.0**-24))
    angle = 2.0 * math.pi * (angle_word >> 8) * 2.0**-24
    return radius * (math.cos(angle) if j % 2 == 0 else math.sin(angle))


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((MASK,) * 4, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            0x299F31D0_A4093822,
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_the_published_vectors(
    counter: tuple[int, ...], key: int, expected: tuple[int, ...]
) -> None:
    assert philox(key, counter) == expected


SEEDS = [0, 7, 2**63 + 99, 2**64 - 1]
KEYS = random.key_tensor(SEEDS)


@pytest.mark.parametrize("columns", [1, 3, 4, 6, 8, 17])
@pytest.mark.parametrize("rows", [1, 2, 37])
def test_normals(rows: int, columns: int) -> None:
    out = ops_random.native_normals(KEYS, 2**32 - 5, 6, rows, columns).numpy()
    for s, key in enumerate(SEEDS):
        for r in range(rows):
            for j in range(columns):
                expected = normal(key, 2**32 - 5, 6, r, j)
                assert abs(out[s, r, j] - expected) <= 4e-7 * max(1.0, abs(expected))


def test_normals_keep_their_accuracy_near_zero_and_far_out() -> None:
    """A million draws hold radii from 1e-3 to 5.5; float64 of the same words is the judge."""
    rows = 250_000
    out = ops_random.native_normals(KEYS[1:2], 3, 2, rows, 4).numpy()
    step, stream, row = np.uint64(3), np.uint64(2), np.arange(rows, dtype=np.uint64)
    a, b, c, d = np.full_like(row, step), np.full_like(row, stream), row, np.zeros_like(row)
    left, right = SEEDS[1] & MASK, SEEDS[1] >> 32
    mask = np.uint64(MASK)
    for _ in range(10):
        first, second = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b = (second >> np.uint64(32)) ^ b ^ np.uint64(left), second & mask
        c, d = (first >> np.uint64(32)) ^ d ^ np.uint64(right), first & mask
        left, right = (left + 0x9E3779B9) & MASK, (right + 0xBB67AE85) & MASK
    words = np.stack([a, b, c, d], 1) >> np.uint64(8)
    radius = np.sqrt(-2.0 * np.log((words[:, ::2] + 1.0) * 2.0**-24))
    angle = 2.0 * np.pi * words[:, 1::2] * 2.0**-24
    exact = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 2).reshape(rows, 4)
    error = np.abs(out[0] - exact) / np.maximum(1.0, np.abs(exact))
    assert error.max() < 4e-7
    assert abs(out.mean()) < 5e-3 and abs(out.std() - 1.0) < 5e-3


@pytest.mark.parametrize("bound", [1, 2, 256, 999_983, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("rows", [1, 16, 129])
def test_integers(rows: int, bound: int) -> None:
    out = ops_random.native_integers(KEYS, 12345, 0, rows, bound)
    expected = [
        [(philox(key, (12345, 0, r, 0))[0] * bound) >> 32 for r in range(rows)] for key in SEEDS
    ]
    assert out.tolist() == expected


def test_random_calls_refuse_what_does_not_fit() -> None:
    module, out = native.module(), torch.empty(4, 1, 1).data_ptr()
    with pytest.raises(ValueError, match="keys is a null pointer"):
        module.normals(0, 4, 0, 0, out, 1, 1)
    for rows in (-1, 2**32):
        with pytest.raises(ValueError, match="rows must be"):
            module.normals(KEYS.data_ptr(), 4, 0, 0, out, rows, 1)
    with pytest.raises(ValueError, match="columns must not be negative"):
        module.normals(KEYS.data_ptr(), 4, 0, 0, out, 1, -1)
    with pytest.raises(ValueError, match="bound must be"):
        ops_random.native_integers(KEYS, 0, 0, 1, 0)
