"""The time grid: Karras nodes, the schedule of their number, the times of the samplers."""

from __future__ import annotations

import torch
from torch import Tensor

RHO = 7.0


def karras_nodes(
    count: int, t_min: float = 0.002, t_max: float = 80.0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return `count` ascending times, evenly spaced in t^(1/7), from t_min to t_max: [count]."""
    i = torch.arange(count, dtype=torch.float64) / max(count - 1, 1)
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
    least t_min). Ours: an action is decided where noise and data are of one size, and of the
    sampler's five times one lies there. A single time between is the geometric middle.
    """
    high = min(6.0 * sigma_data, t_max / 2)
    ends = torch.tensor([high, max(high / 24.0, min(t_min, high))], dtype=torch.float64).log()
    share = torch.arange(steps - 1, dtype=torch.float64) / max(steps - 2, 1)
    if steps == 2:
        share += 0.5
    between = (ends[0] + share * (ends[1] - ends[0])).exp()
    return torch.cat((torch.tensor([t_max]), between, torch.zeros(1))).to(dtype)


def noise_level(t: Tensor, t_min: float) -> Tensor:
    """Return what the time embedding sees, 0.25 ln t, with time 0 seen as t_min."""
    return 0.25 * torch.log(torch.clamp(t, min=t_min))
