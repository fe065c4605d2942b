"""LeRobot folders, versions 2 and 3: keys, order of frames, terminal steps and refusals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gtp_fast.data import lerobot, rules
from gtp_fast.errors import UserError
from gtp_fast.tasks import Rules

pytest.importorskip("pyarrow")
import pyarrow as pa
from lerobot_folders import write
from pyarrow import parquet


@pytest.mark.parametrize("one_file", [False, True])
def test_both_versions_give_the_same_steps(tmp_path: Path, one_file: bool) -> None:
    folder = write(tmp_path, one_file=one_file)
    assert lerobot.is_lerobot(folder)
    found = lerobot.read(folder, None)
    assert found.observation_keys == ("observation.state", "observation.environment_state")
    assert found.observation_widths == (2, 2)
    assert found.rows[:, 0].tolist() == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert found.rows[1, :4].tolist() == [1.0, 1.5, 1.0, 1.0]
    step = found.rows[:, found.columns.next_observation][:, 0] - found.rows[:, 0]
    assert step.tolist() == [1, 1, 0, 1, 1, 1, 1, 1, 0], "terminal rows keep a stand-in"
    assert found.terminals.tolist() == [False, False, True] + [False] * 5 + [True]
    assert found.rewards.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 1]
    assert found.episode.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    notes = " ".join(found.notes)
    for part in ("left out of the state: observation.image", "last step of 1 episodes", "success"):
        assert part in notes
    assert rules.apply(found, Rules(), None, False)[2].episodes == 3


def test_without_success_a_done_frame_is_terminal_with_a_reward(tmp_path: Path) -> None:
    found = lerobot.read(write(tmp_path, drop=("next.success",)), ("observation.state",))
    assert found.observation_dim == 2
    assert found.terminals.tolist() == [False, False, True] + [False] * 5 + [True]


def test_without_any_mark_nothing_is_terminal(tmp_path: Path) -> None:
    found = lerobot.read(write(tmp_path, drop=("next.success", "next.done")), None)
    assert len(found.rows) == 7 and not found.terminals.any()


def test_single_numbers_are_vectors_of_width_one(tmp_path: Path) -> None:
    folder = write(tmp_path, drop=("action", "observation.image"))
    for file in folder.glob("data/*/*.parquet"):
        table = parquet.read_table(file)
        parquet.write_table(table.append_column("action", table["frame_index"]), file)
    found = lerobot.read(folder, None)
    assert found.actions[:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert not found.box_is_known


@pytest.mark.parametrize(
    ("drop", "keys", "message"),
    [
        (("next.reward",), None, "has no column next.reward: offline"),
        (("action",), None, "has no column action; its columns are"),
        ((), ("observation.depth",), "has no column observation.depth"),
        (
            ("observation.state", "observation.environment_state"),
            None,
            "none of its observations is a vector: observation.image",
        ),
    ],
)
def test_missing_columns_get_one_sentence(
    tmp_path: Path, drop: tuple[str, ...], keys: tuple[str, ...] | None, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        lerobot.read(write(tmp_path, drop=drop), keys)
    assert "pusht" in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_folders_get_one_sentence(tmp_path: Path) -> None:
    folder = write(tmp_path)
    file = folder / "data/chunk-000/episode_000001.parquet"
    sound = file.read_bytes()
    file.write_bytes(sound[: len(sound) // 2])
    with pytest.raises(UserError, match="pusht is damaged"):
        lerobot.read(folder, None)
    file.unlink()
    with pytest.raises(UserError, match="promises 10 frames but the files hold 6"):
        lerobot.read(folder, None)
    file.write_bytes(sound)
    (folder / "meta/info.json").write_text("{")
    with pytest.raises(UserError, match="pusht is damaged"):
        lerobot.read(folder, None)


@pytest.mark.parametrize("kept", [[0, 1, 3], [0, 1, 1, 2]])
def test_a_frame_that_is_missing_or_there_twice_is_named(tmp_path: Path, kept: list[int]) -> None:
    folder = write(tmp_path)
    file = folder / "data/chunk-000/episode_000001.parquet"
    parquet.write_table(parquet.read_table(file).take(kept), file)
    (folder / "meta/info.json").write_text("{}")
    with pytest.raises(
        UserError, match=f"pusht, episode 1: frame 1 is followed by frame {kept[2]}, "
    ):
        lerobot.read(folder, None)


def test_lists_of_unequal_length_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, drop=("action",))
    for file in folder.glob("data/*/*.parquet"):
        table = parquet.read_table(file)
        ragged = pa.array([[0.0] * (1 + i % 2) for i in range(len(table))])
        parquet.write_table(table.append_column("action", ragged), file)
    with pytest.raises(UserError, match="action has lists of unequal lengths"):
        lerobot.read(folder, None)


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"needs pyarrow; pip install 'gtp_fast\[lerobot\]'"):
        lerobot.read(folder, None)


def test_other_folders_are_no_lerobot_folders(tmp_path: Path) -> None:
    assert not lerobot.is_lerobot(tmp_path)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text("{}")
    assert not lerobot.is_lerobot(tmp_path)
