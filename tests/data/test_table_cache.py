"""The cache of tables: the same table, made anew when the file or the cache is another."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import sets
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from gtp_fast.data import TransitionTable, cache, load_table
from gtp_fast.tasks import Rules, find, of_dataset


def _cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[TransitionTable, Path]:
    """Load a flat file; return its table and the file that the cache made of it."""
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "tables"))
    np.savez(tmp_path / "x.npz", **sets.flat())
    first = load_table("hopper-medium", tmp_path / "x.npz")
    (kept,) = (tmp_path / "tables").iterdir()
    return first, kept


def test_the_cache_gives_the_same_table_and_follows_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, kept = _cached(tmp_path, monkeypatch)
    monkeypatch.setattr(
        "gtp_fast.data.load._build", lambda *_: pytest.fail("the cache was not used")
    )
    second = load_table("hopper-medium", tmp_path / "x.npz")
    tensors = {"rows": None, "episode": None}
    assert torch.equal(first.rows, second.rows)
    assert torch.equal(first.episode, second.episode)
    assert first.episode.tolist() == [0] * 4 + [1] * 3 + [2] * 3
    assert vars(first) | tensors == vars(second) | tensors
    monkeypatch.undo()
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "tables"))
    np.savez(tmp_path / "x.npz", **sets.flat(steps=14))
    assert len(load_table("hopper-medium", tmp_path / "x.npz")) == 12
    other = load_table("hopper-medium", tmp_path / "x.npz", Rules(reward="minus_one"))
    assert torch.equal(other.all().reward[:3], torch.tensor([-1.0, 0.0, 1.0]))
    assert kept.exists()


def _with_a_bit_turned(content: bytes, tensor: torch.Tensor) -> bytes:
    stored = tensor.numpy().tobytes()
    return content.replace(stored, stored[:-1] + bytes([stored[-1] ^ 1]))


def test_a_file_named_like_a_preset_has_a_cached_table_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "tables"))
    path = tmp_path / "antmaze-umaze.npz"
    np.savez(path, **sets.flat())
    plain, preset = of_dataset("", str(path)), find("antmaze-umaze")
    assert plain.name == preset.name
    # The same rules, so that nothing else tells the two apart.
    found = [load_table(task, path, Rules(reward="minus_one")) for task in (plain, preset)]
    assert [table.statistics.success_rate for table in found] == [None, 1.0]


def test_a_cache_from_before_there_were_episodes_is_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, kept = _cached(tmp_path, monkeypatch)
    with safe_open(kept, framework="pt") as file:
        facts = file.metadata()
    save_file({"rows": first.rows}, kept, metadata=facts)
    again = load_table("hopper-medium", tmp_path / "x.npz")
    assert torch.equal(again.episode, first.episode)


@pytest.mark.parametrize("harm", ["truncated", "altered", "renumbered", "garbage"])
def test_a_broken_cache_is_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    first, kept = _cached(tmp_path, monkeypatch)
    sound = kept.read_bytes()
    broken = {
        "truncated": sound[:-40],
        "altered": sound[:-40] + bytes([sound[-40] ^ 1]) + sound[-39:],
        "renumbered": _with_a_bit_turned(sound, first.episode),
        "garbage": b"not a table",
    }[harm]
    kept.write_bytes(broken)
    assert broken != sound
    again = load_table("hopper-medium", tmp_path / "x.npz")
    assert torch.equal(again.rows, first.rows) and torch.equal(again.episode, first.episode)
    assert kept.read_bytes() == sound
    assert len(list(kept.parent.iterdir())) == 1


def test_the_cache_lies_in_the_users_folder_and_never_beside_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GTP_FAST_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "x.npz", **sets.flat())
    table = load_table("hopper-medium", tmp_path / "data" / "x.npz")
    (kept,) = (tmp_path / "home" / ".cache" / "gtp_fast").iterdir()
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["x.npz"]
    loaded = cache.load(kept)
    assert loaded is not None and torch.equal(loaded.rows, table.rows)
    assert not cache.store(table, tmp_path / "data" / "x.npz" / "below-a-file")


def test_a_part_of_a_writer_that_was_killed_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, kept = _cached(tmp_path, monkeypatch)
    old, new = (kept.with_name(f"{kept.stem}{name}.part") for name in ("old", "new"))
    for part in (old, new):
        part.write_bytes(b"half a table")
    os.utime(old, (0, 0))
    assert cache.store(first, kept)
    assert not old.exists() and new.exists()


def test_changed_metadata_make_a_table_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "tables"))
    folder = sets.hopper(tmp_path, monkeypatch, "medium", 15)
    load_table("hopper-medium")
    metadata = next(folder.rglob("metadata.json"))
    facts = json.loads(metadata.read_text())
    space = json.loads(facts["action_space"])
    facts["action_space"] = json.dumps(space | {"high": [2.0] * len(space["high"])})
    metadata.write_text(json.dumps(facts))
    assert set(load_table("hopper-medium").action_high) == {2.0}
