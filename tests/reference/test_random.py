"""The counter-based stream: published vectors, a generator in Python integers, statistics."""

from __future__ import annotations

import math

import pytest
import torch

from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream

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


def python_words(seed: int, step: int, stream: int, row: int, column: int) -> tuple[int, ...]:
    """Draw four words with Python's unbounded integers."""
    low = 2**32
    c, k = [step % low, stream, row, column], [seed % low, seed // low]
    for _ in range(10):
        first, second = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [second // low ^ c[1] ^ k[0], second % low, first // low ^ c[3] ^ k[1], first % low]
        k = [(k[0] + 0x9E3779B9) % low, (k[1] + 0xBB67AE85) % low]
    return tuple(c)


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
