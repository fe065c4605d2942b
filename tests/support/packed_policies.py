"""Packed policies with random weights, for the tests of exported files."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from folded import Folded, Form, Sizes

from gtp_fast.policy import file
from gtp_fast.policy.file import Packed

DESCRIPTION: dict[str, Any] = {
    "task": "somewhere", "agent": "gtp", "seed": 4, "step": 60, "weights": "ema",
    "observation_keys": [], "gtp_fast": "0",
}  # fmt: skip


def make(sizes: Sizes, form: Form | None = None, unit: bool = False) -> Packed:
    """Return a packed policy; its box is [-1, 1] if `unit`, else one whose middle is off zero."""
    half = np.ones(sizes.A) if unit else np.linspace(0.3, 2.0, sizes.A)
    middle = 0.0 if unit else 0.1
    low, high = np.float32(middle - half), np.float32(middle + half)
    return Packed(Folded(sizes, form=form).policy(), low, high, dict(DESCRIPTION))


def write(content: Packed, folder: Path) -> Path:
    """Write a policy.gtp and return it."""
    path = folder / "policy.gtp"
    path.write_bytes(file.pack(content))
    return path


def huge(data: bytes, size: float = 1e38) -> tuple[int, bytes]:
    """Return where the weights of a policy file lie, and finite ones of that size, which overflow.

    Their signs alternate, so that a sum of two infinities is NaN.
    """
    observation, action, width, depth, steps = np.frombuffer(data, "<u4", 5, 16).tolist()
    hidden = (depth - 1) * width * (width + 1)
    count = (action + observation + steps) * width + hidden + action * (width + 1)
    signs = np.where(np.arange(count) % 2, 1, -1)
    return 48 + 4 * (2 * action + 7 * steps), (signs * np.float32(size)).astype("<f4").tobytes()


def damaged(data: bytes) -> dict[str, tuple[bytes, str]]:
    """Return spoilt copies of a policy file, and what every reader must say of each."""

    def flip(at: int) -> bytes:
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    def sealed(at: int, value: bytes) -> bytes:
        body = data[:at] + value + data[at + len(value) : -4]
        return body + zlib.crc32(body).to_bytes(4, "little")

    middle, sizes, sums = len(data) // 2, r"was altered \(its sizes", r"was altered \(its checksum"
    return {
        "cut in the numbers": (data[:middle], "was cut short"),
        "cut in the header": (data[:20], "was cut short"),
        "one byte short": (data[:-1], "was cut short"),
        "one byte more": (data + b"\0", "has bytes after its end"),
        "empty": (b"", "is no policy file of gtp_fast"),
        "another magic": (flip(0), "is no policy file of gtp_fast"),
        "another version": (flip(8), "has version 0 of the format"),
        "flipped size": (flip(16), "was cut short|has bytes after its end"),
        "size out of range": (
            data[:16] + b"\xff" * 4 + data[20:],
            sizes,
        ),
        "unknown activation": (sealed(36, b"\x03"), "names an activation or bounds that"),
        "unknown bounds": (sealed(40, b"\x04"), "names an activation or bounds that"),
        "NaN weight": (sealed(middle & ~3, b"\0\0\xc0\x7f"), "holds NaN or infinite numbers"),
        "infinite scale": (sealed(44, b"\0\0\x80\x7f"), "holds NaN or infinite numbers"),
        "huge weights": (sealed(*huge(data)), "holds a policy with actions that overflow"),
        "reversed box": (sealed(48, b"\0\0\xc8\x42"), "has no action box"),
        "flipped number": (flip(middle), sums),
        "flipped scale": (flip(44), sums),
        "flipped checksum": (flip(len(data) - 1), sums),
    }
