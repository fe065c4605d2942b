"""robomimic files: keys, order, next observations, and which ends are terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from gtp_fast.data import robomimic, rules
from gtp_fast.data.recording import Recording
from gtp_fast.errors import UserError
from gtp_fast.tasks import Rules


def write(
    path: Path,
    lengths: dict[int, int],
    *,
    followed: bool = True,
    done: str | None = "end",
    solved: tuple[int, ...] = (),
) -> Path:
    """Write demos of the given lengths; those in `solved` get reward 1 at their last step."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_type": 1, "env_kwargs": {}})
        for number, length in lengths.items():
            demo = data.create_group(f"demo_{number}")
            state = 100.0 * number + np.arange(length + 1)[:, None]
            keys = {
                "object": state + np.array([0.5, 0.25]),
                "eef_pos": state,
                "agentview_image": np.zeros((length + 1, 8, 8, 3), np.uint8),
            }
            for key, values in keys.items():
                demo[f"obs/{key}"] = values[:-1]
                if followed:
                    demo[f"next_obs/{key}"] = values[1:]
            demo["actions"] = np.full((length, 2), 0.1 * number)
            demo["rewards"] = (np.arange(length) == length - 1) * float(number in solved)
            if done is not None:
                stop = np.arange(length) == length - 1
                demo["dones"] = (stop & (done == "end" or number in solved)).astype(np.int64)
    return path


def states(found: Recording) -> list[float]:
    return found.rows[:, 0].tolist()


def test_demos_are_read_in_numeric_order_with_keys_sorted_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "low_dim.hdf5", {10: 2, 2: 3}, solved=(2,))
    assert robomimic.is_robomimic(path)
    found = robomimic.read(path, None)
    assert found.observation_keys == ("eef_pos", "object")
    assert found.observation_widths == (1, 2)
    assert states(found) == [200.0, 201.0, 202.0, 1000.0, 1001.0]
    observation = found.rows[:, found.columns.observation]
    assert observation[0].tolist() == [200.0, 200.5, 200.25]
    assert np.array_equal(found.rows[:, found.columns.next_observation], observation + 1)
    assert found.actions[:, 0] == pytest.approx([0.2] * 3 + [1.0] * 2)
    assert found.episode.tolist() == [2, 2, 2, 10, 10]
    notes = " ".join(found.notes)
    for part in ("state is eef_pos, object", "agentview_image (shape (8, 8, 3))", "Lift"):
        assert part in notes
    assert found.environment is None and found.evaluation_environment is None
    assert rules.apply(found, Rules(), None, False)[2].episodes == 2


def test_named_keys_come_in_the_given_order(tmp_path: Path) -> None:
    path = write(tmp_path / "x.hdf5", {0: 2})
    found = robomimic.read(path, ("object", "eef_pos"))
    assert found.rows[0, :3].tolist() == [0.5, 0.25, 0.0]
    with pytest.raises(UserError, match=r"x\.hdf5, demo_0: obs/gripper must be .*only agentview"):
        robomimic.read(path, ("gripper",))


def test_a_mark_at_every_end_is_terminal_only_with_a_reward(tmp_path: Path) -> None:
    path = write(tmp_path / "x.hdf5", {0: 2, 1: 2}, solved=(1,))
    found = robomimic.read(path, None)
    assert found.terminals.tolist() == [False, False, False, True]
    assert any("1 steps are terminal" in note and "positive reward" in note for note in found.notes)


def test_marks_at_some_ends_only_are_all_terminal(tmp_path: Path) -> None:
    path = write(tmp_path / "x.hdf5", {0: 2, 1: 2}, done="success", solved=(1,))
    with h5py.File(path, "a") as file:
        file["data/demo_1/rewards"][:] = -1.0
    assert robomimic.read(path, None).terminals.tolist() == [False, False, False, True]


def test_without_next_observations_only_an_unsolved_end_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "x.hdf5", {0: 3, 1: 3}, followed=False, solved=(1,))
    found = robomimic.read(path, None)
    assert states(found) == [0.0, 1.0, 100.0, 101.0, 102.0]
    step = found.rows[:, found.columns.next_observation][:, 0] - found.rows[:, 0]
    assert step.tolist() == [1, 1, 1, 1, 0]
    assert found.terminals.tolist() == [False] * 4 + [True]
    assert found.rewards.tolist() == [0, 0, 0, 0, 1]
    assert any("last step of 1 episodes is left out" in note for note in found.notes)


def test_without_dones_nothing_is_terminal(tmp_path: Path) -> None:
    found = robomimic.read(write(tmp_path / "x.hdf5", {0: 2}, done=None, solved=(0,)), None)
    assert not found.terminals.any()
    assert any("none is terminal" in note for note in found.notes)


@pytest.mark.parametrize("left_out", ["next_obs/object", "dones"])
def test_what_one_demo_lacks_is_read_of_none(tmp_path: Path, left_out: str) -> None:
    path = write(tmp_path / "x.hdf5", {0: 3, 1: 3}, solved=(0, 1))
    with h5py.File(path, "a") as file:
        del file[f"data/demo_1/{left_out}"]
    found = robomimic.read(path, None)
    # Solved ends are kept as terminal by their marks; without marks nothing is terminal.
    assert found.terminals.tolist() == [False, False, left_out != "dones"] * 2
    stored = found.rows[:, found.columns.next_observation][:, 0].tolist()
    assert stored[2] == (3.0 if left_out == "dones" else 2.0)


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("rewards", None, "lacks data/demo_0/rewards: make observations and rewards"),
        ("rewards", np.zeros(3), r"demo_0: rewards have shape \(3,\) where \(2,\)"),
        ("obs/object", np.zeros((3, 2)), r"obs/object must be \[2, width\].*shape \(3, 2\)"),
        ("actions", np.zeros(2), "actions have shape"),
    ],
)
def test_files_that_do_not_fit_get_one_sentence(
    tmp_path: Path, path: str, values: Any, message: str
) -> None:
    file_path = write(tmp_path / "bad.hdf5", {0: 2})
    with h5py.File(file_path, "a") as file:
        del file[f"data/demo_0/{path}"]
        if values is not None:
            file[f"data/demo_0/{path}"] = values
    with pytest.raises(UserError, match=message) as caught:
        robomimic.read(file_path, None)
    assert "bad.hdf5" in str(caught.value) and "\n" not in str(caught.value)


def test_only_images_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.hdf5", {0: 2})
    with h5py.File(path, "a") as file:
        del file["data/demo_0/obs/object"], file["data/demo_0/obs/eef_pos"]
    with pytest.raises(UserError, match=r"none of its observations is a vector: agentview_image"):
        robomimic.read(path, None)


def test_other_files_are_no_robomimic_files(tmp_path: Path) -> None:
    path = write(tmp_path / "x.hdf5", {0: 40})
    cut = tmp_path / "cut.hdf5"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert not robomimic.is_robomimic(cut)
    with pytest.raises(UserError, match="truncated"):
        robomimic.read(cut, None)
    with h5py.File(tmp_path / "d4rl.hdf5", "w") as file:
        file["observations"] = np.zeros((2, 2))
    assert not robomimic.is_robomimic(tmp_path / "d4rl.hdf5")
