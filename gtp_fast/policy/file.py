"""policy.gtp: one policy in one little-endian file with a checksum; docs/export.md has the table.

`gtp_policy.hpp` is its reader in C++. Whatever changes here changes there, and VERSION with it.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gtp_fast.data.box import Ends, is_box
from gtp_fast.errors import UserError
from gtp_fast.ops.sampling import draw_noise
from gtp_fast.reference import FoldedPolicy, StepSchedule, folded_sample, philox
from gtp_fast.reference.philox import Stream

MAGIC, VERSION = b"GTPOLICY", 1
ACTIVATIONS = ("mish", "gelu", "relu")
# Magic, version, bytes of the description; O, A, H, L, K; activation, bounds, initial scale.
# Bounds of phi: 1 for clamp + 2 for squash, which readers before squash refuse.
_HEADER = struct.Struct("<8sII5IIIf")
_CHECKSUM = struct.Struct("<I")
_LIMITS = (16384, 1024, 8192, 64, 1024)
_TRIED = (0.0, 1.0, 10.0, 100.0)
"""Size of each observation that a policy is tried on."""
_MEND = "export the policy again, or copy the file again"


class Packed(NamedTuple):
    """Content of a policy.gtp: a policy of one seed, the action box [A], a description."""

    policy: FoldedPolicy
    low: Ends
    high: Ends
    description: dict[str, Any]


def copied(policy: FoldedPolicy) -> FoldedPolicy:
    """Return a policy with copies of its tensors instead of views into an agent's."""
    return policy.mapped(torch.clone)


def acts(policy: FoldedPolicy) -> bool:
    """Return whether the actions of a few observations are finite, as huge weights' are not.

    The observations are standard normal, times each of four sizes. `Policy.act` checks every other.
    """
    policy, rows = policy.to("cpu").to(torch.float32), len(_TRIED)
    key = philox.key_tensor([0])
    drawn = philox.normals(key, 1, Stream.ACT, rows, policy.first_observation.shape[1])
    width = policy.first_action.shape[1]
    noise = draw_noise(philox.normals, policy.draws, key, 0, Stream.ACT, rows, width)
    with torch.no_grad():
        actions = folded_sample(policy, drawn * drawn.new_tensor(_TRIED)[:, None], noise)
    return bool(actions.isfinite().all())


def pack(packed: Packed) -> bytes:
    """Return the content of a policy.gtp; UserError unless numbers and actions are finite."""
    policy = packed.policy
    _, observation_dim, width = policy.first_observation.shape
    depth, steps = len(policy.hidden_weights) + 1, policy.k
    sizes = (observation_dim, policy.first_action.shape[1], width, depth, steps)
    parts = [packed.low, packed.high, *(_floats(tensor) for tensor in _tensors(policy))]
    numbers = np.concatenate([np.ravel(part) for part in parts]).astype("<f4")
    if not np.isfinite(numbers).all():
        raise UserError(
            "The policy or its action box holds NaN or infinite numbers: export another checkpoint."
        )
    if not acts(policy):
        raise UserError("The policy's actions overflow: export another checkpoint.")
    note = json.dumps(packed.description, ensure_ascii=False, sort_keys=True).encode()
    kind = ACTIVATIONS.index(policy.activation)
    bounds, scale = policy.clamp + 2 * policy.squash, policy.initial_scale
    header = _HEADER.pack(MAGIC, VERSION, len(note), *sizes, kind, bounds, scale)
    body = header + numbers.tobytes() + note
    return body + _CHECKSUM.pack(zlib.crc32(body))


def read(path: str | os.PathLike[str]) -> Packed:
    """Read a policy.gtp; UserError naming the file when it is none, cut short or altered."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from error
    try:
        return unpack(data)
    except ValueError as error:
        raise UserError(f"{path} {error}: {_MEND}.") from error


def unpack(data: bytes) -> Packed:
    """Return what the bytes of a policy.gtp hold; ValueError says what is wrong with them."""
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError("is no policy file of gtp_fast")
    if len(data) < _HEADER.size + _CHECKSUM.size:
        raise ValueError("was cut short")
    _, version, note_bytes, *sizes, kind, bounds, scale = _HEADER.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"has version {version} of the format and this gtp_fast reads {VERSION}")
    if not all(1 <= size <= most for size, most in zip(sizes, _LIMITS, strict=True)):
        raise ValueError("was altered (its sizes are out of range)")
    shapes = _shapes(*sizes)
    end = _HEADER.size + 4 * sum(map(prod, shapes))
    wanted = end + note_bytes + _CHECKSUM.size
    if len(data) != wanted:
        state = "was cut short" if len(data) < wanted else "has bytes after its end"
        raise ValueError(f"{state} ({len(data)} bytes instead of {wanted})")
    if zlib.crc32(data[: -_CHECKSUM.size]) != _CHECKSUM.unpack_from(data, wanted - 4)[0]:
        raise ValueError("was altered (its checksum differs)")
    if kind >= len(ACTIVATIONS) or bounds > 3:
        raise ValueError("names an activation or bounds that this gtp_fast does not know")
    numbers = np.frombuffer(data, "<f4", (end - _HEADER.size) // 4, _HEADER.size)
    arrays = iter(np.split(numbers.astype(np.float32), np.cumsum([prod(s) for s in shapes])[:-1]))
    if not np.isfinite(numbers).all() or not np.isfinite(scale):
        raise ValueError("holds NaN or infinite numbers")
    low, high, *rest = (part.reshape(shape) for part, shape in zip(arrays, shapes, strict=True))
    if not is_box(low, high):
        raise ValueError("has no action box")
    description = _description(data[end : end + note_bytes])
    policy = _policy([torch.from_numpy(part) for part in rest], sizes[3], kind, bounds, scale)
    if not acts(policy):
        raise ValueError("holds a policy with actions that overflow")
    return Packed(policy, low, high, description)


def _description(note: bytes) -> dict[str, Any]:
    try:
        found = json.loads(note)
    except (RecursionError, ValueError) as error:
        raise ValueError("has a description that is no JSON") from error
    if not isinstance(found, dict):
        raise ValueError("has a description that is no JSON object")
    return found


def _tensors(policy: FoldedPolicy) -> Sequence[Tensor]:
    """Return the numbers of a policy in the order of the file."""
    return (
        *policy.schedule,
        policy.first_action, policy.first_observation, policy.step_bias,
        *policy.hidden_weights, *policy.hidden_biases, policy.last_weight, policy.last_bias,
    )  # fmt: skip


def _shapes(o: int, a: int, h: int, depth: int, k: int) -> list[tuple[int, ...]]:
    hidden: list[tuple[int, ...]] = [(h, h)] * (depth - 1) + [(h,)] * (depth - 1)
    return [
        (a,),
        (a,),
        *[(k,)] * len(StepSchedule._fields),
        (a, h),
        (o, h),
        (k, h),
        *hidden,
        (h, a),
        (a,),
    ]


def _policy(parts: list[Tensor], depth: int, kind: int, bounds: int, scale: float) -> FoldedPolicy:
    count = len(StepSchedule._fields)
    first_action, first_observation, step_bias, *rest = (part[None] for part in parts[count:])
    return FoldedPolicy(
        first_action=first_action,
        first_observation=first_observation,
        step_bias=step_bias,
        hidden_weights=tuple(rest[: depth - 1]),
        hidden_biases=tuple(rest[depth - 1 : 2 * depth - 2]),
        last_weight=rest[-2],
        last_bias=rest[-1],
        schedule=StepSchedule(*parts[:count]),
        initial_scale=scale,
        activation=ACTIVATIONS[kind],
        clamp=bool(bounds & 1),
        squash=bool(bounds & 2),
    )


def _floats(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().to(torch.float32).numpy()
