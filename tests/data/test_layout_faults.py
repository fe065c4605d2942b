"""Faults of flat data: each is refused in one sentence."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import sets
from flat_layouts import Arrays, cast, load, renamed

from gtp_fast.errors import UserError


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (cast("observations", lambda x: x.astype(object)), "observations holds object"),
        (lambda a: a | {"done": a["terminals"], "terminated": a["terminals"]} | {}, None),
        (lambda a: renamed(rewards="reward")(a) | {"rews": a["rewards"]}, "both mean rewards"),
        (cast("terminals", lambda x: 2 * x), "row 3: terminals is 2; it must be 0 or 1"),
        (cast("terminals", lambda x: x * np.nan), "row 0: terminals is nan"),
        (
            lambda a: renamed(terminals="done")(a) | {"timeouts": np.array(["a"] * 12)},
            "timeouts holds <U1",
        ),
        (
            lambda a: {k: v for k, v in a.items() if k != "rewards"},
            "lacks rewards; add them [N], zeros",
        ),
        (lambda a: {k: v[:0] for k, v in a.items()}, "holds no transition"),
        (lambda a: a | {"episode_ends": np.array([4, 8])}, "episode_ends must rise to"),
        (lambda a: a | {"episode_ends": np.array([0, 8, 12])}, "episode_ends must rise to"),
        (lambda a: a | {"episode_ends": np.array([4, 4, 12])}, "episode_ends must rise to"),
        (cast("actions", lambda x: x.reshape(3, 4, 2)), "a stack of 3 episodes of 4 steps"),
        (cast("rewards", lambda x: x[:5]), "rewards has shape"),
        (cast("rewards", lambda x: x + 1j), "rewards holds complex64, not numbers"),
        (cast("rewards", lambda x: x.astype("M8[s]")), "rewards holds datetime64[s], not numbers"),
    ],
)
def test_a_fault_is_one_sentence(change: Callable[[Arrays], Arrays], said: str | None) -> None:
    arrays = change(sets.flat())
    if said is None:
        assert len(load(arrays)) == 10
        return
    with pytest.raises(UserError) as caught:
        load(arrays)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"some text", "of no format that is read here"),
        (b"PK\x03\x04 cut short", "is truncated or holds something else"),
        (b"\x1f\x8bcut short", "cannot be read"),
    ],
)
def test_a_file_that_is_no_dataset(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=said):
        load(tmp_path / "x.npz")


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for key, value in sets.flat().items():
            member = io.BytesIO()
            np.lib.format.write_array(member, value)
            content = member.getvalue()
            if key == "rewards":
                content = content.replace(b"(12,), }" + 12 * b" ", b"(100000000000,), }  ")
            archive.writestr(f"{key}.npy", content)
    with pytest.raises(UserError, match=r"rewards promises \(100000000000,\) numbers"):
        load(tmp_path / "x.npz")
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        for key, value in sets.flat().items():
            if key == "rewards":
                file.create_dataset(key, (2**40,), "f4", chunks=(1024,))
            else:
                file[key] = value
    with pytest.raises(UserError, match=r"rewards promises \(1099511627776,\) numbers"):
        load(tmp_path / "x.hdf5")


def test_objects_in_an_npz_are_refused(tmp_path: Path) -> None:
    arrays: Any = sets.flat() | {"extra": np.array([{}, None], object)}
    np.savez(tmp_path / "x.npz", **arrays)
    assert len(load(tmp_path / "x.npz")) == 10
    arrays["rewards"] = np.array([None] * 12, object)
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match="something else than plain arrays"):
        load(tmp_path / "x.npz")


def test_the_inside_of_a_minari_folder_names_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "set-v0" / "data" / "main_data.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file.create_group("episode_0")
    with pytest.raises(UserError, match=r"give its folder, .*set-v0"):
        load(path)
