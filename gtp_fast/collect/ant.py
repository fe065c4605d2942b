"""A small trained policy that runs Gymnasium's ant (27 numbers) in any wanted direction.

The body is unchanged by quarter turns: its legs are re-labelled until it faces the direction to
within 45 degrees and the observation is turned into the direction's frame, so a policy that can
only run along +x runs everywhere.
"""

from __future__ import annotations

from importlib import resources

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

# Sign of each ankle that makes every leg look like the first, and each leg's pair of actuators.
_ANKLE = np.array([1.0, -1.0, -1.0, 1.0])
_ACTUATOR = np.array([1, 2, 3, 0])
_QUARTERS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))
# Shift and scale the policy was trained with: height, turn, joints, velocities.
_SHIFT = np.array([0.5] + [0.0] * 4 + [0.0, 1.0] * 4 + [0.0] * 14)
_SCALE = np.array([1.0] * 13 + [0.5] * 3 + [0.3] * 3 + [0.15] * 8)


class DirectionPolicy:
    """A tanh network over the ant's own 27 numbers, asked to run in a direction."""

    def __init__(self) -> None:
        source = resources.files("gtp_fast.collect").joinpath("ant_direction.npz")
        with source.open("rb") as file, np.load(file) as stored:
            self._layers = [(stored[f"net_{i}_weight"], stored[f"net_{i}_bias"]) for i in (0, 2, 4)]

    def __call__(self, observation: Vector, direction: float) -> Vector:
        """Torques in [-1, 1]^8 for the ant's 27 numbers and a direction in radians."""
        seen, turns = _in_frame(observation, direction)
        hidden = np.clip((seen - _SHIFT) * _SCALE, -6.0, 6.0).astype(np.float32)
        for number, (weight, bias) in enumerate(self._layers):
            hidden = weight @ hidden + bias
            if number < 2:
                hidden = np.where(hidden > 0, hidden, np.expm1(np.minimum(hidden, 0)))
        return _to_actuators(np.tanh(hidden[:8]).astype(np.float64), turns)


def upright(observation: Vector) -> float:
    """Cosine between the ant's own vertical and the world's: 1 upright, -1 on its back."""
    return float(1.0 - 2.0 * (observation[2] ** 2 + observation[3] ** 2))


def _in_frame(observation: Vector, direction: float) -> tuple[Vector, int]:
    """The 27 numbers in the direction's frame, and the quarter turns of the legs."""
    height, quaternion = observation[0], observation[1:5]
    joints, velocity = observation[5:13].reshape(4, 2), observation[13:16]
    spin, joint_speed = observation[16:19], observation[19:27].reshape(4, 2)
    w, x, y, z = quaternion
    yaw = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)) - direction
    turns = int(np.round(-yaw / (np.pi / 2))) % 4
    # From the left the world turns by -direction, from the right the body by quarter turns.
    c, s = np.cos(-direction / 2), np.sin(-direction / 2)
    w, x, y, z = c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w
    c, s = np.cos(turns * np.pi / 4), np.sin(turns * np.pi / 4)
    turned = np.array([w * c - z * s, x * c + y * s, y * c - x * s, z * c + w * s])
    if turned[0] < 0.0:
        turned = -turned
    legs = (np.arange(4) + turns) % 4
    signs = np.stack([np.ones(4), _ANKLE[legs]], axis=1)
    c, s = _QUARTERS[turns]
    seen = np.empty(27)
    seen[0], seen[1:5] = height, turned
    seen[5:13] = (joints[legs] * signs).reshape(8)
    seen[13:16] = *_rotate(velocity, np.cos(direction), np.sin(direction)), velocity[2]
    seen[16:19] = *_rotate(spin, c, s), spin[2]
    seen[19:27] = (joint_speed[legs] * signs).reshape(8)
    return seen, turns


def _rotate(vector: Vector, c: float, s: float) -> tuple[float, float]:
    return c * vector[0] + s * vector[1], -s * vector[0] + c * vector[1]


def _to_actuators(action: Vector, turns: int) -> Vector:
    legs = (np.arange(4) + turns) % 4
    out = np.empty((4, 2))
    out[_ACTUATOR[legs], 0] = action[0::2]
    out[_ACTUATOR[legs], 1] = action[1::2] * _ANKLE[legs]
    return out.reshape(8)
