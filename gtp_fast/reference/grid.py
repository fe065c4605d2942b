"""The time grid: Karras nodes, the schedule of their number, the times of the samplers."""

from __future__ import annotations

import torch
from torch import Tensor

RHO = 7.0


def karras_nodes(
    count: int, t_min: float = 0.002, t_max: float = 80.0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return `count` ascending times, evenly spaced in t^(1/7), from t_min to t_max: [count]."""
    i = torch.arange(count, dtype=torch.float64, device="cpu") / max(count - 1, 1)
    low, high = t_min ** (1 / RHO), t_max ** (1 / RHO)
    nodes: Tensor = (low + i * (high - low)) ** RHO
    nodes[0], nodes[-1] = t_min, t_max
    return nodes.to(dtype)


def schedule_ceiling(
    total_updates: int, average_rate: float, low: int = 10, high: int = 1280
) -> int:
    """Return the largest number of intervals of a run: one per average lag."""
    return max(low, min(high, round(average_rate * total_updates)))


def schedule(step: int, total_updates: int, first: int = 10, last: int = 1280) -> int:
    """Return the number of nodes N at a global step.

    N = min(first * 2^stage, last) + 1, in stages of equal length.
    """
    stages, length = _stages(total_updates, first, last)
    return min(first << min(step // length, stages), last) + 1


def stage_left(step: int, total_updates: int, first: int = 10, last: int = 1280) -> int:
    """Return how many updates from a global step on surely share its N."""
    _, length = _stages(total_updates, first, last)
    return length - step % length


def _stages(total_updates: int, first: int, last: int) -> tuple[int, int]:
    """Return the number of stages and the length of each."""
    stages = (last // first).bit_length()
    # A ceiling that is no power of two times `first` needs one more stage to be reached.
    stages += (first << (stages - 1)) < last
    return stages, max(1, total_updates // stages)


def sampling_times(
    steps: int, t_min: float = 0.002, t_max: float = 80.0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the descending times of the sampler, the last one exactly 0: [K + 1]."""
    times = karras_nodes(steps + 1, t_min, t_max, dtype).flip(0)
    times[-1] = 0.0
    return times


def flow_times(
    steps: int,
    sigma_data: float = 0.5,
    t_min: float = 0.002,
    t_max: float = 80.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the descending times of the Euler steps that act, the last one exactly 0: [K + 1].

    T first, then K - 1 times by one factor, from 6 sigma_data (at most T / 2) to a 24th of it (at
    least t_min); a single time between is the geometric middle. Ours: an action is decided where
    noise and data are of one size, and only one of the sampler's five times lies there. Where
    t_min leaves no room, the times are the sampler's.
    """
    high = min(6.0 * sigma_data, t_max / 2)
    low = max(high / 24.0, t_min)
    if low >= high:
        return sampling_times(steps, t_min, t_max, dtype)
    ends = torch.tensor([high, low], dtype=torch.float64, device="cpu").log()
    share = torch.arange(steps - 1, dtype=torch.float64, device="cpu") / max(steps - 2, 1)
    if steps == 2:
        share += 0.5
    between = (ends[0] + share * (ends[1] - ends[0])).exp().clamp(low, high)
    whole = torch.zeros(steps + 1, dtype=torch.float64, device="cpu")
    whole[0], whole[1:-1] = t_max, between
    return whole.to(dtype)


def noise_level(t: Tensor, t_min: float) -> Tensor:
    """Return what the time embedding sees, 0.25 ln t, with time 0 seen as t_min."""
    return 0.25 * torch.log(torch.clamp(t, min=t_min))
