"""A dataset reads its own file: links and storage elsewhere are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import sets

from gtp_fast.data import load_table
from gtp_fast.errors import UserError
from gtp_fast.tasks import of_dataset


def elsewhere(kind: str, file: h5py.File, key: str, secret: Path, shape: tuple[int, ...]) -> None:
    """Replace an array by one that lies in another file."""
    parent, name = file[key].parent, key.rsplit("/", 1)[-1]
    del parent[name]
    if kind == "external link":
        with h5py.File(secret.with_suffix(".h5"), "w") as other:
            other["stolen"] = np.zeros(shape)
        parent[name] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/stolen")
    elif kind == "external storage":
        secret.write_bytes(np.zeros(shape).tobytes())
        parent.create_dataset(name, shape, "f8", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
    else:
        with h5py.File(secret.with_suffix(".h5"), "w") as other:
            other["stolen"] = np.zeros(shape)
        layout = h5py.VirtualLayout(shape, "f8")
        layout[:] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "stolen", shape)
        parent.create_virtual_dataset(name, layout)


KINDS = ("external link", "external storage", "virtual dataset")


def refused(data: Any) -> None:
    with pytest.raises(
        UserError, match=r"(rewards|an array) lies in another file, which is not followed"
    ):
        load_table(of_dataset("x", "x"), data, use_cache=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flat_file(kind: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        for key, value in sets.flat().items():
            file[key] = value
        elsewhere(kind, file, "rewards", tmp_path / "secret", (12,))
    refused(tmp_path / "x.hdf5")


@pytest.mark.parametrize("kind", KINDS)
def test_demonstrations(kind: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        demo = file.create_group("data/demo_0")
        demo["obs/joints"], demo["actions"] = np.ones((4, 3)), np.zeros((4, 2))
        demo["rewards"], demo["dones"] = np.ones(4), np.eye(4)[3]
        elsewhere(kind, file, "data/demo_0/rewards", tmp_path / "secret", (4,))
    refused(tmp_path / "x.hdf5")


@pytest.mark.parametrize("kind", KINDS)
def test_a_minari_set(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = [sets.walk(0, 10, 4)]
    folder = sets.save(tmp_path, monkeypatch, "some/walk-v0", episodes, sets.ant_space(), 8)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        elsewhere(kind, file, "episode_0/rewards", tmp_path / "secret", (10,))
    refused(folder)
