"""A file that another process writes is not called damaged: nobody should remove it."""

from __future__ import annotations

import fcntl
from pathlib import Path

import h5py
import pytest
import sets

from gtp_fast.data import load_table
from gtp_fast.errors import UserError
from gtp_fast.tasks import of_dataset


@pytest.mark.parametrize("kind", ["minari", "flat"])
def test_a_file_that_is_being_written_is_to_be_waited_for(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = path = tmp_path / "x.hdf5"
    if kind == "minari":
        episodes = [sets.walk(0, 6, 4)]
        place = sets.save(tmp_path, monkeypatch, "ant-v0", episodes, sets.ant_space(), 8)
        path = place / "data" / "main_data.hdf5"
    else:
        with h5py.File(path, "w") as file:
            file.update(sets.flat())
    with path.open("rb") as writer:
        # What HDF5 does for a writer.
        fcntl.flock(writer, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"wait until it is written") as caught:
            load_table(of_dataset("", "x"), place, use_cache=False)
    assert str(path) in str(caught.value) and "damaged" not in str(caught.value)
    assert "remove" not in str(caught.value)
    assert len(load_table(of_dataset("", "x"), place, use_cache=False)) > 0
