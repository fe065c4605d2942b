"""Time grid, sampling times, and the schedule of N."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import karras

from gtp_fast import reference


def test_grid_is_karras_with_exact_ends() -> None:
    nodes = reference.karras_nodes(41, dtype=torch.float64)
    assert nodes[0] == 0.002
    assert nodes[-1] == 80.0
    assert nodes.numpy() == pytest.approx(karras(41, first=0.002), rel=1e-13)
    assert (nodes.diff() > 0).all()


def test_single_precision_grid_stays_distinct_at_the_finest_stage() -> None:
    nodes = reference.karras_nodes(1281)
    assert (nodes.diff() > 0).all()
    assert nodes.double().numpy() == pytest.approx(karras(1281, first=0.002), rel=1e-7)


def test_grid_of_the_oracle_is_the_grid_of_the_package() -> None:
    assert reference.karras_nodes(21, dtype=torch.float64)[1:].numpy() == pytest.approx(
        karras(21)[1:], rel=1e-13
    )


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [80.0, 0.0]),
        (2, [80.0, 2.515, 0.0]),
        (5, [80.0, 24.41, 5.839, 0.9654, 0.0851, 0.0]),
    ],
)
def test_sampling_times(steps: int, expected: list[float]) -> None:
    times = reference.sampling_times(steps)
    assert times.tolist() == pytest.approx(expected, rel=3e-4)
    assert times[-1] == 0.0


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [80.0, 0.0]),
        (2, [80.0, math.sqrt(3.0 * 0.125), 0.0]),
        (3, [80.0, 3.0, 0.125, 0.0]),
        (5, [80.0, 3.0, 3.0 / 24 ** (1 / 3), 3.0 / 24 ** (2 / 3), 0.125, 0.0]),
    ],
)
def test_times_of_the_flow(steps: int, expected: list[float]) -> None:
    times = reference.flow_times(steps, dtype=torch.float64)
    assert times.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("sigma_data", "t_min", "t_max", "expected"),
    [
        (0.5, 0.002, 0.3, [0.3, 0.15, 0.15 / 24, 0.0]),
        (1.0, 0.4, 80.0, [80.0, 6.0, 0.4, 0.0]),
        # Without room between 6 sigma_data and t_min the times are the sampler's.
        (0.5, 3.0, 80.0, reference.sampling_times(3, 3.0, 80.0, torch.float64).tolist()),
    ],
)
def test_times_of_the_flow_end_at_half_of_t_max_and_at_t_min(
    sigma_data: float, t_min: float, t_max: float, expected: list[float]
) -> None:
    times = reference.flow_times(3, sigma_data, t_min, t_max, torch.float64)
    assert times.dtype == torch.float64 and times.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 64])
@pytest.mark.parametrize(
    ("sigma_data", "t_min", "t_max"),
    [(0.5, 0.002, 0.3), (1.0, 0.4, 80.0), (0.5, 3.0, 80.0), (0.5, 3.5, 80.0), (1e-4, 0.002, 80.0)],
)
def test_times_of_the_flow_descend_within_those_of_training(
    steps: int, sigma_data: float, t_min: float, t_max: float
) -> None:
    times = reference.flow_times(steps, sigma_data, t_min, t_max, torch.float64)
    assert (times.diff() < 0).all() and len(times) == steps + 1
    assert times[0] == t_max and times[-1] == 0.0 and (times[:-1] >= t_min).all()


def test_noise_level_of_time_zero_is_that_of_t_min() -> None:
    levels = reference.noise_level(torch.tensor([0.0, 0.002, 1.0, 80.0]), 0.002)
    assert levels.tolist() == pytest.approx([0.25 * math.log(x) for x in (0.002, 0.002, 1.0, 80.0)])


# --- schedule ------------------------------------------------------------------------------------


def test_schedule_doubles_in_eight_equal_stages_up_to_1281() -> None:
    total = 2_000_000
    for stage, nodes in enumerate((11, 21, 41, 81, 161, 321, 641, 1281)):
        first, last = stage * 250_000, (stage + 1) * 250_000 - 1
        assert reference.schedule(first, total) == reference.schedule(last, total) == nodes
    assert reference.schedule(total, total) == reference.schedule(10 * total, total) == 1281


@pytest.mark.parametrize("total", [1, 3, 8, 100, 12_345])
@pytest.mark.parametrize(("first", "last"), [(10, 1280), (10, 10), (10, 37), (3, 100), (40, 40)])
def test_schedule_is_monotone_bounded_and_reaches_its_end(total, first, last) -> None:
    counts = [reference.schedule(step, total, first, last) for step in range(min(2 * total, 3000))]
    counts.append(reference.schedule(20 * total, total, first, last))
    assert counts == sorted(counts)
    assert counts[0] == first + 1
    assert counts[-1] == last + 1
    assert max(counts) == last + 1
    middle = {first * 2**i + 1 for i in range(12)} | {last + 1}
    assert set(counts) <= middle


def test_every_stage_of_the_schedule_lasts_the_same() -> None:
    for first, last, stages in ((10, 30, 3), (10, 40, 3), (10, 41, 4), (10, 10, 1)):
        counts = [reference.schedule(step, 1200, first, last) for step in range(1200)]
        lengths = [counts.count(n) for n in sorted(set(counts))]
        assert lengths == [1200 // stages] * stages


@pytest.mark.parametrize(
    ("updates", "rate", "ceiling"),
    [
        (2_000_000, 0.005, 1280),
        (6_000, 0.005, 30),
        (6_180, 0.005, 31),
        (100, 0.005, 10),
        (0, 0.005, 10),
        (20_000, 0.001, 20),
        (256_000, 0.005, 1280),
        (255_800, 0.005, 1279),
    ],
)
def test_ceiling_is_one_hop_per_lag_of_the_average(updates, rate, ceiling) -> None:
    assert reference.schedule_ceiling(updates, rate) == ceiling
