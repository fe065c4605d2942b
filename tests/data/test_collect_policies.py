"""The policies that collect: planners and legs that reach their goals, whichever way they turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gtp_fast.collect import PLANS, collect, plans
from gtp_fast.collect.ant import DirectionPolicy, _in_frame, _to_actuators, upright
from gtp_fast.collect.planner import Planner
from gtp_fast.data import evaluation_spec, fits_environment, load_table
from gtp_fast.evaluation.vector import make
from gtp_fast.tasks import find

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("mujoco")

UMAZE = [[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]]


def test_the_planner_reaches_its_goal(tmp_path: Path) -> None:
    made = collect("pointmaze-umaze", 1500, output=tmp_path, progress=False)
    table = load_table("pointmaze-umaze", made.path)
    assert table.statistics.success_rate is not None
    # All but the last episode, which may be cut off.
    assert table.statistics.terminals >= table.statistics.episodes - 1


def test_the_ant_reaches_its_goal(tmp_path: Path) -> None:
    made = collect("antmaze-umaze", 700, seed=3, output=tmp_path, progress=False)
    table = load_table("antmaze-umaze", made.path)
    assert table.observation_dim == 31
    assert table.statistics.terminals >= 1
    environment = make(evaluation_spec(table))
    fits_environment(table, environment)
    environment.close()


def test_shortest_paths() -> None:
    planner = Planner(UMAZE, 4.0)
    assert planner.distances((1, 1))[(3, 1)] == 6
    assert planner.next_cell((3, 3), (1, 1)) == (2, 3)
    assert planner.next_cell((1, 1), (1, 1)) == (1, 1)
    assert planner.cell(planner.centre((3, 2)) + np.array([1.9, -1.9])) == (3, 2)
    # Inside a wall the nearest free cell counts.
    assert planner.cell(np.array([-4.0, 1.9])) == (1, 1)


def test_the_ant_policy_does_not_care_which_way_the_world_is_turned() -> None:
    policy, draw = DirectionPolicy(), np.random.default_rng(0)
    ant = draw.standard_normal(27)
    ant[1:5] /= np.linalg.norm(ant[1:5])
    angle = 0.7
    turned = ant.copy()
    half, c, s = angle / 2, np.cos(angle), np.sin(angle)
    w, x, y, z = ant[1:5]
    turned[1:5] = (
        np.cos(half) * w - np.sin(half) * z,
        np.cos(half) * x - np.sin(half) * y,
        np.cos(half) * y + np.sin(half) * x,
        np.cos(half) * z + np.sin(half) * w,
    )
    turned[13:15] = c * ant[13] - s * ant[14], s * ant[13] + c * ant[14]
    assert policy(turned, 0.3 + angle) == pytest.approx(policy(ant, 0.3), abs=1e-5)
    assert upright(turned) == pytest.approx(upright(ant))


def test_relabelled_legs_keep_every_number() -> None:
    draw = np.random.default_rng(1)
    ant = draw.standard_normal(27)
    # A level body, so that its heading is the whole of its attitude.
    ant[1:5] = np.cos(0.6), 0.0, 0.0, np.sin(0.6)
    for direction in np.linspace(-3.0, 3.0, 9):
        seen, turns = _in_frame(ant, direction)
        assert sorted(np.abs(seen[5:13])) == pytest.approx(sorted(np.abs(ant[5:13])))
        assert np.linalg.norm(seen[13:15]) == pytest.approx(np.linalg.norm(ant[13:15]))
        # In the wanted frame the body faces ahead to within half a quarter turn.
        assert abs(2.0 * np.arctan2(seen[4], seen[1])) <= np.pi / 4 + 1e-12
        action = draw.uniform(-1, 1, 8)
        assert sorted(np.abs(_to_actuators(action, turns))) == pytest.approx(sorted(np.abs(action)))


def test_evaluation_maps_in_the_plans_have_one_start_and_one_goal() -> None:
    for name in PLANS:
        spec = plans.stored_evaluation_spec(find(name))
        flat = [cell for row in spec.kwargs["maze_map"] for cell in row]
        assert (flat.count("r"), flat.count("g")) == (1, 1)
