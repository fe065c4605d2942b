"""Files that promise more than they hold are refused before memory is taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import sets
from fake_runs import make_run

from gtp_fast.data import load_table
from gtp_fast.errors import UserError
from gtp_fast.tasks import of_dataset

LIE = 2**40


def refused(data: Path, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_table(of_dataset("x", "x"), data, use_cache=False)


def lie(file: h5py.File, key: str, width: tuple[int, ...] = ()) -> None:
    """Replace an array by one of 2^40 rows, of which none is written."""
    del file[key]
    file.create_dataset(key, (LIE, *width), "f4", chunks=(1024, *width))


@pytest.mark.parametrize("key", ["rewards", "actions"])
def test_a_flat_file(tmp_path: Path, key: str) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        for name, value in sets.flat().items():
            file[name] = value
        lie(file, key, (2,) if key == "actions" else ())
    refused(tmp_path / "x.hdf5", rf"x.hdf5: {key} promises \({LIE}.* holds fewer")


@pytest.mark.parametrize("key", ["rewards", "actions", "obs/joints"])
def test_demonstrations(tmp_path: Path, key: str) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        demo = file.create_group("data/demo_0")
        demo["obs/joints"], demo["actions"] = np.ones((4, 3)), np.zeros((4, 2))
        demo["rewards"], demo["dones"] = np.ones(4), np.eye(4)[3]
        lie(file, f"data/demo_0/{key}", {"actions": (2,), "obs/joints": (3,)}.get(key, ()))
    refused(tmp_path / "x.hdf5", "holds fewer|one row for each action")


@pytest.mark.parametrize("key", ["rewards", "actions"])
def test_a_minari_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    episodes = [sets.walk(0, 10, 4)]
    folder = sets.save(tmp_path, monkeypatch, "some/walk-v0", episodes, sets.ant_space(), 8)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        lie(file, f"episode_0/{key}", (8,) if key == "actions" else ())
    refused(folder, "holds fewer|has shape")


def test_parquet_of_many_equal_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text("{}")
    (tmp_path / "data" / "chunk-000").mkdir(parents=True)
    path = tmp_path / "data" / "chunk-000" / "file-000.parquet"
    parquet.write_table(pyarrow.table({"action": pyarrow.nulls(10**8)}), path)
    refused(tmp_path, "file-000.parquet promises 100000000 numbers and holds fewer")


LAUGHS = "\n".join(
    f"k{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else '1'] * 9)}]" for i in range(40)
)


@pytest.mark.parametrize("text", [LAUGHS, "a: " + "[" * 100_000, "a: &x [*x]"])
def test_a_configuration_of_aliases_or_of_a_hundred_thousand_brackets(
    tmp_path: Path, text: str
) -> None:
    run = make_run(tmp_path / "run")
    (run.path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config.yaml cannot be read \(it is no valid YAML\)"):
        run.config()


def test_json_of_a_hundred_thousand_brackets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes: list[Any] = [sets.walk(0, 10, 4)]
    folder = sets.save(tmp_path, monkeypatch, "some/walk-v0", episodes, sets.ant_space(), 8)
    note = folder / "data" / "metadata.json"
    facts = json.loads(note.read_text())
    for text in ("[" * 100_000, json.dumps(facts | {"env_spec": "autoreset" + "[" * 100_000})):
        note.write_text(text)
        refused(folder, "cannot be read|not JSON|no specification")
