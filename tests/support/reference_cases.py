"""Draws that the closed forms are tried on, and the generator in Python's own integers."""

from __future__ import annotations

import torch

from gtp_fast.reference import philox

KEYS = philox.key_tensor([0, 1, 2])


def noise(*shape: int, step: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    seeds, rows, columns = shape
    return philox.normals(KEYS[:seeds], step, philox.Stream.NOISE, rows, columns, dtype)


def python_words(seed: int, step: int, stream: int, row: int, column: int) -> tuple[int, ...]:
    """Draw four words with Python's unbounded integers."""
    low = 2**32
    c, k = [step % low, stream, row, column], [seed % low, seed // low]
    for _ in range(10):
        first, second = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [second // low ^ c[1] ^ k[0], second % low, first // low ^ c[3] ^ k[1], first % low]
        k = [(k[0] + 0x9E3779B9) % low, (k[1] + 0xBB67AE85) % low]
    return tuple(c)
