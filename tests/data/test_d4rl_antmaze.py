"""D4RL's AntMaze from OGBench's ant: layout, model, mazes, reward, and its difference from v4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from gtp_fast.data import evaluation_spec, fits_environment, load_table, maze
from gtp_fast.data.environment import MAZE_SCALES, register_mazes
from gtp_fast.environments import d4rl_mazes
from gtp_fast.evaluation.vector import make
from gtp_fast.evaluation.workers import SharedSlots
from gtp_fast.tasks import PAPER_TASKS, find

pytest.importorskip("ogbench")
pytest.importorskip("gymnasium_robotics")
register_mazes()
TASKS = [name for name in PAPER_TASKS if name.startswith("antmaze")]


def ant(task: str = "antmaze-large-play") -> Any:
    return make(d4rl_mazes.evaluation_spec(task))


def test_d4rls_own_files_are_evaluated_in_it_and_other_flat_files_in_none(tmp_path: Path) -> None:
    arrays = {
        "observations": np.zeros((6, 29)),
        "actions": np.zeros((6, 8)),
        "rewards": np.eye(6)[4],
        "terminals": np.eye(6)[4],
        "timeouts": np.eye(6)[2],
    }
    with h5py.File(tmp_path / "d4rl.hdf5", "w") as file:
        for key, value in arrays.items():
            file[key] = value
    table = load_table("antmaze-umaze-v2", tmp_path / "d4rl.hdf5", use_cache=False)
    spec = evaluation_spec(table)
    assert spec is not None and spec.id == "gtp_fast/D4RLAntMaze-UMaze-v0"
    fits_environment(table, make(spec))
    # Minari's positions and 27 numbers are 29 too, in other coordinates.
    np.savez(tmp_path / "flat.npz", **arrays)
    other = load_table("antmaze-umaze", tmp_path / "flat.npz", use_cache=False)
    assert evaluation_spec(other) is None


@pytest.mark.parametrize("task", TASKS)
def test_map_cells_and_steps_are_those_of_the_task(task: str) -> None:
    found, env = find(task), ant(task)
    assert env.spec.max_episode_steps == found.max_episode_steps
    inner = env.unwrapped
    # D4RL counts rows upwards, Gymnasium downwards: the umaze task is turned over for that.
    flip = len(inner.maze.rows) - 1 if "umaze" in task else 0
    cells = [(abs(flip - i), j) for i, j in (d4rl_mazes.START, inner.maze.goal)]
    assert cells == [found.start, found.goal]
    robotics = gym.spec(found.environment).kwargs["maze_map"]
    assert maze.walls(robotics) == [[cell == "#" for cell in row] for row in inner.maze.rows]
    scale = MAZE_SCALES["antmaze"]
    start, goal = (np.array(maze.centre(robotics, cell, scale)) for cell in cells)
    way = np.array(d4rl_mazes.centre(inner.maze.goal))
    np.testing.assert_allclose(np.abs(goal - start), way)
    walls = {
        (geom.pos[0], geom.pos[1]): geom
        for geom in (inner.model.geom(i) for i in range(inner.model.ngeom))
        if geom.name.startswith("block")
    }
    count = sum(row.count("#") for row in inner.maze.rows)
    assert len(walls) == count and all((w.size[:2] == 2.0).all() for w in walls.values())
    assert (-4.0, -4.0) in walls and (0.0, 0.0) not in walls
    env.close()


@pytest.mark.parametrize(
    ("task", "name"), [("antmaze-medium-play", "medium"), (TASKS[-1], "large")]
)
def test_walls_are_those_of_ogbench_for_the_same_map(task: str, name: str) -> None:
    ours, theirs = ant(task).unwrapped, gym.make(f"antmaze-{name}-v0").unwrapped
    walls = [cell == "#" for row in ours.maze.rows for cell in row]
    assert walls == (theirs.maze_map == 1).ravel().tolist()  # type: ignore[attr-defined]
    for number in range(ours.model.ngeom):
        geom = ours.model.geom(number)
        twin = theirs.model.geom(geom.name)  # type: ignore[attr-defined]
        for fact in ("size", "friction", "solref", "solimp", "margin", "contype", "conaffinity"):
            if geom.name != "floor" or fact != "size":
                np.testing.assert_array_equal(getattr(geom, fact), getattr(twin, fact))
        if geom.name != "floor":
            np.testing.assert_array_equal(geom.pos, twin.pos)


def test_the_ant_has_the_facts_of_d4rls_model_file() -> None:
    """Facts of d4rl/locomotion/assets/ant.xml and ant.py; its action box is +-30 at gear 1."""
    env = ant()
    model = env.unwrapped.model
    assert (model.opt.timestep, env.unwrapped.frame_skip) == (0.02, 5)
    assert model.actuator_gear[:, 0].tolist() == [30.0] * 8
    names = [model.joint(int(j)).name for j in model.actuator_trnid[:, 0]]
    assert names == [f"{part}_{leg}" for leg in (4, 1, 2, 3) for part in ("hip", "ankle")]
    ranges = {"hip": [(-30, 30)] * 4, "ankle": [(30, 70), (-70, -30), (-70, -30), (30, 70)]}
    for part, wanted in ranges.items():
        for leg, bounds in enumerate(wanted, 1):
            joint = model.joint(f"{part}_{leg}")
            np.testing.assert_allclose(np.degrees(joint.range), bounds)
            assert (joint.armature, joint.damping) == (1.0, 1.0)
    torso = model.geom("torso_geom")
    np.testing.assert_allclose(torso.solimp[:3], [0.8, 0.8, 0.01])
    np.testing.assert_allclose(torso.solref, [0.02, 1.0])
    np.testing.assert_allclose(torso.friction, [1.0, 0.5, 0.5])
    assert env.action_space.low.tolist() == [-1.0] * 8
    env.close()


def test_the_state_is_positions_and_velocities_and_the_goal_is_outside_of_it() -> None:
    env = ant()
    observation, _ = env.reset(seed=1)
    data = env.unwrapped.data
    assert env.observation_space.shape == (29,)
    np.testing.assert_array_equal(observation, [*data.qpos, *data.qvel])
    first = env.unwrapped.goal.copy()
    other, _ = env.reset(seed=2)
    assert not np.array_equal(first, env.unwrapped.goal)
    again, _ = env.reset(seed=1)
    np.testing.assert_array_equal(observation, again)
    np.testing.assert_array_equal(first, env.unwrapped.goal)
    assert (np.abs(other[:2]) <= 0.1).all()
    goals = np.array([env.unwrapped.goal - (env.reset(), (32, 24))[1] for _ in range(50)])
    assert (goals >= 0.0).all() and (goals <= 1.5).all() and goals.std() > 0.2
    env.close()


def test_the_reward_is_one_at_the_goal_where_the_episode_ends() -> None:
    env = ant("antmaze-umaze")
    env.reset(seed=0)
    still = np.zeros(8, np.float32)
    assert env.step(still)[1:] == (0.0, False, False, {"success": False})
    inner = env.unwrapped
    inner.set_xy(inner.goal + np.array([0.7, 0.0]))
    assert env.step(still)[1:4] == (0.0, False, False)
    inner.set_xy(inner.goal + np.array([0.3, 0.0]))
    assert env.step(still)[1:] == (1.0, True, False, {"success": True})
    env.close()


def test_a_worker_rebuilds_the_environment_from_its_text() -> None:
    text = d4rl_mazes.evaluation_spec("antmaze-medium-diverse").to_json()
    facts = json.loads(text)
    assert facts["id"] == "gtp_fast/D4RLAntMaze-Medium-v0"
    assert facts["entry_point"].startswith("gtp_fast.environments.")
    slots = SharedSlots(EnvSpec.from_json(text), [1], ())
    try:
        there = slots.reset([4], np.ones(1, bool))
        here = make(EnvSpec.from_json(text)).reset(seed=4)[0].astype(np.float32)
        np.testing.assert_array_equal(there[0], here)
    finally:
        slots.close()


def after(model: Any, data: Any, state: NDArray[Any], action: NDArray[Any], steps: int) -> Any:
    import mujoco

    mujoco.mj_resetData(model, data)
    data.qpos[:], data.qvel[:] = state[:15], state[15:]
    data.ctrl[:] = action
    mujoco.mj_forward(model, data)
    mujoco.mj_step(model, data, nstep=steps)
    return np.array([*data.qpos, *data.qvel])


def test_what_differs_from_gymnasium_robotics_ant_is_force_time_step_and_contact() -> None:
    """With those three set to D4RL's, both models move alike from the same states."""
    ours = ant("antmaze-large-play").unwrapped
    theirs = make(gym.spec("AntMaze_Large-v4")).unwrapped
    other = theirs.ant_env  # type: ignore[attr-defined]
    shift = np.zeros(29)
    shift[:2] = maze.centre(gym.spec("AntMaze_Large-v4").kwargs["maze_map"], (1, 1), 4.0)
    draw = np.random.default_rng(0)
    states, actions = [], draw.uniform(-1, 1, (6, 8))
    for _ in actions:
        state = np.zeros(29)
        # Falling and standing, away from the walls, which lie on the other side of the rows' axis.
        state[:7] = [*draw.uniform(-0.5, 0.5, 2), draw.uniform(0.35, 0.9), 1.0, 0.0, 0.0, 0.0]
        state[7:15] = np.tile([0.0, 1.0, 0.0, -1.0], 2) + draw.uniform(-0.1, 0.1, 8)
        state[15:] = 0.3 * draw.standard_normal(14)
        states.append(state)

    def apart() -> float:
        return max(
            float(
                np.abs(
                    after(ours.model, ours.data, state, action, 5)
                    - after(other.model, other.data, state + shift, action, 5)
                    + shift
                ).max()
            )
            for state, action in zip(states, actions, strict=True)
        )

    untouched = apart()
    model = other.model
    model.opt.timestep = 0.02
    without_force = apart()
    model.actuator_gear[:, 0] = 30.0
    hard_contact = apart()
    model.geom_solref[:], model.geom_solimp[:, :3] = (0.02, 1.0), (0.8, 0.8, 0.01)
    assert untouched > 0.1 and without_force > 0.1 and hard_contact > 1e-3
    assert apart() < 1e-9
