"""The counter-based stream: published vectors, Python's integers, statistics, the native form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from native_cases import needs_native
from reference_cases import python_words

from gtp_fast.ops import philox as ops_philox
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream
from gtp_fast.system import native

# Known-answer vectors published with Random123 for philox4x32, 10 rounds: counter, key, result.
PUBLISHED = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
SEEDS = [0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 0x0123456789ABCDEF]


@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_published_vectors(counter, key, expected) -> None:
    words = philox.philox4x32_10([torch.tensor(c) for c in counter], [torch.tensor(k) for k in key])
    assert tuple(int(w) for w in words) == expected
    seed = key[0] + (key[1] << 32)
    assert python_words(seed, *counter) == expected


def test_words_follow_the_counter_layout_for_every_seed_of_64_bits() -> None:
    keys = philox.key_tensor(SEEDS)
    for step in (0, 7, 2**32 - 1):
        words = philox.words(keys, step, Stream.NOISE, 3, 2)
        for s, seed in enumerate(SEEDS):
            for row in range(3):
                for column in range(2):
                    drawn = tuple(int(w[s, row, column]) for w in words)
                    assert drawn == python_words(seed, step, 2, row, column)


def test_seeds_that_differ_in_one_bit_differ_everywhere() -> None:
    keys = philox.key_tensor([5, 5 + 2**32, 5 + 2**63, 4])
    drawn = philox.words(keys, 0, Stream.BATCH, 64, 1)[0].flatten(1)
    for i in range(4):
        for j in range(i):
            assert (drawn[i] == drawn[j]).sum() == 0


def test_streams_are_the_agreed_numbers() -> None:
    names = [
        "BATCH",
        "TIME",
        "NOISE",
        "TARGET",
        "VALUE",
        "INIT",
        "ACT",
        "COLLECT",
        "CLONE_TIME",
        "CLONE_NOISE",
        "GUIDANCE",
        "TWIN",
        "FLOW_TIME",
        "FLOW_NOISE",
        "ONE_STEP",
        "SUPPORT",
        "FOURIER",
        "HEALTH_ROWS",
        "HEALTH_VALUE",
        "HEALTH_ACTION",
    ]
    assert [stream.name for stream in sorted(Stream)] == names
    assert [int(stream) for stream in sorted(Stream)] == list(range(len(names)))


def test_a_draw_depends_on_its_own_counter_only() -> None:
    keys = philox.key_tensor([3, 11])
    full = philox.normals(keys, 9, Stream.ACT, 50, 8)
    rows = torch.tensor([49, 3, 17])
    assert torch.equal(philox.normals(keys, 9, Stream.ACT, rows, 8), full[:, rows])
    assert torch.equal(philox.normals(keys, 9, Stream.ACT, 20, 3), full[:, :20, :3])
    assert torch.equal(philox.normals(keys[1:], 9, Stream.ACT, 50, 8), full[1:])
    assert torch.equal(philox.normals(keys, torch.tensor(9), Stream.ACT, 50, 8), full)
    for other in (
        philox.normals(keys, 10, Stream.ACT, 50, 8),
        philox.normals(keys, 9, Stream.VALUE, 50, 8),
    ):
        assert (other == full).sum() == 0


def test_integers_are_the_high_product_of_the_first_word() -> None:
    keys = philox.key_tensor([2**64 - 3])
    for bound in (1, 2, 1000, 2**31 - 1):
        drawn = philox.integers(keys, 4, Stream.BATCH, 40, bound)
        hand = [python_words(2**64 - 3, 4, 0, row, 0)[0] * bound >> 32 for row in range(40)]
        assert drawn.tolist() == [hand]


def test_integers_are_uniform() -> None:
    bound, count = 37, 200_000
    drawn = philox.integers(philox.key_tensor([1, 2]), 0, Stream.BATCH, count, bound)
    for row in drawn:
        expected = count / bound
        chi = ((torch.bincount(row, minlength=bound) - expected) ** 2 / expected).sum()
        # 99.99 % quantile of chi-square with 36 degrees of freedom.
        assert chi < 77.0


def test_normals_follow_box_muller_in_the_agreed_order() -> None:
    seed, step, row = 12345, 6, 2
    drawn = philox.normals(philox.key_tensor([seed]), step, Stream.NOISE, 3, 6, torch.float64)
    for j in range(6):
        w = python_words(seed, step, 2, row, j // 4)
        pair = w[:2] if j % 4 < 2 else w[2:]
        radius = math.sqrt(-2 * math.log(((pair[0] >> 8) + 1) * 2.0**-24))
        angle = 2 * math.pi * (pair[1] >> 8) * 2.0**-24
        value = radius * (math.sin(angle) if j % 2 else math.cos(angle))
        assert float(drawn[0, row, j]) == pytest.approx(value, rel=1e-14, abs=1e-15)


def test_single_precision_normals_are_the_double_ones_rounded() -> None:
    keys = philox.key_tensor([0, 1])
    single = philox.normals(keys, 0, Stream.NOISE, 20_000, 4)
    double = philox.normals(keys, 0, Stream.NOISE, 20_000, 4, torch.float64)
    # Angles up to 2 pi carry half an ulp of 4; radii are below 5.77.
    assert (single - double).abs().max() < 5.77 * 4e-7
    assert single.abs().max() <= math.sqrt(2 * 24 * math.log(2)) + 1e-6


def test_normals_have_the_moments_and_the_law_of_a_normal() -> None:
    count = 100_000
    z = philox.normals(philox.key_tensor([8]), 3, Stream.NOISE, count, 4, torch.float64)[0]
    bound = 4.5 / math.sqrt(count)
    assert z.mean(0).abs().max() < bound
    assert (z.square().mean(0) - 1).abs().max() < bound * math.sqrt(2)
    assert (z.pow(4).mean(0) - 3).abs().max() < bound * math.sqrt(96)
    ordered = z.sort(0).values
    level = (torch.arange(count, dtype=torch.float64)[:, None] + 0.5) / count
    # Kolmogorov's statistic exceeds 2.3 / sqrt(n) with probability 5e-5.
    assert (torch.special.ndtr(ordered) - level).abs().max() < 2.3 / math.sqrt(count)


def test_normals_are_uncorrelated_across_components_rows_steps_streams_and_seeds() -> None:
    count = 50_000
    keys = philox.key_tensor([0, 1])
    z = philox.normals(keys, 0, Stream.NOISE, count, 8, torch.float64)
    neighbours = [
        z[0],
        z[1],
        philox.normals(keys[:1], 1, Stream.NOISE, count, 8, torch.float64)[0],
        philox.normals(keys[:1], 0, Stream.TARGET, count, 8, torch.float64)[0],
        z[0].roll(1, 0),
    ]
    columns = torch.cat(neighbours, 1).T
    for values in (columns, columns.square()):
        correlation = torch.corrcoef(values) - torch.eye(len(columns))
        # 780 pairs: 5.5 standard errors leave a false alarm below 1e-4.
        assert correlation.abs().max() < 5.5 / math.sqrt(count)


# --- native --------------------------------------------------------------------------------------


MASK = 0xFFFFFFFF
FOUR_SEEDS = [0, 7, 2**63 + 99, 2**64 - 1]
FOUR_KEYS = philox.key_tensor(FOUR_SEEDS)


def normal(key: int, step: int, stream: int, row: int, j: int) -> float:
    """Element j of a row, in Python's floats."""
    w = python_words(key, step, stream, row, j // 4)
    radius_word, angle_word = (w[0], w[1]) if j % 4 < 2 else (w[2], w[3])
    radius = math.sqrt(-2.0 * math.log(((radius_word >> 8) + 1) * 2.0**-24))
    angle = 2.0 * math.pi * (angle_word >> 8) * 2.0**-24
    return radius * (math.cos(angle) if j % 2 == 0 else math.sin(angle))


@needs_native
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
    assert python_words(key, *counter) == expected


@needs_native
@pytest.mark.parametrize("columns", [1, 3, 4, 6, 8, 17])
@pytest.mark.parametrize("rows", [1, 2, 37])
def test_normals(rows: int, columns: int) -> None:
    out = ops_philox.native_normals(FOUR_KEYS, 2**32 - 5, 6, rows, columns).numpy()
    for s, key in enumerate(FOUR_SEEDS):
        for r in range(rows):
            for j in range(columns):
                expected = normal(key, 2**32 - 5, 6, r, j)
                assert abs(out[s, r, j] - expected) <= 4e-7 * max(1.0, abs(expected))


@needs_native
def test_normals_keep_their_accuracy_near_zero_and_far_out() -> None:
    """A million draws hold radii from 1e-3 to 5.5; float64 of the same words is the judge."""
    rows = 250_000
    out = ops_philox.native_normals(FOUR_KEYS[1:2], 3, 2, rows, 4).numpy()
    step, stream, row = np.uint64(3), np.uint64(2), np.arange(rows, dtype=np.uint64)
    a, b, c, d = np.full_like(row, step), np.full_like(row, stream), row, np.zeros_like(row)
    left, right = FOUR_SEEDS[1] & MASK, FOUR_SEEDS[1] >> 32
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


@needs_native
@pytest.mark.parametrize("bound", [1, 2, 256, 999_983, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("rows", [1, 16, 129])
def test_integers(rows: int, bound: int) -> None:
    out = ops_philox.native_integers(FOUR_KEYS, 12345, 0, rows, bound)
    expected = [
        [(python_words(key, 12345, 0, r, 0)[0] * bound) >> 32 for r in range(rows)]
        for key in FOUR_SEEDS
    ]
    assert out.tolist() == expected


@needs_native
def test_random_calls_refuse_what_does_not_fit() -> None:
    module, out = native.module(), torch.empty(4, 1, 1).data_ptr()
    with pytest.raises(ValueError, match="keys is a null pointer"):
        module.normals(0, 4, 0, 0, out, 1, 1)
    for rows in (-1, 2**32):
        with pytest.raises(ValueError, match="rows must be"):
            module.normals(FOUR_KEYS.data_ptr(), 4, 0, 0, out, rows, 1)
    with pytest.raises(ValueError, match="columns must not be negative"):
        module.normals(FOUR_KEYS.data_ptr(), 4, 0, 0, out, 1, -1)
    for bound in (0, 2**32):
        with pytest.raises(ValueError, match="bound must be"):
            ops_philox.native_integers(FOUR_KEYS, 0, 0, 1, bound)
