"""Checkpoints: whole or absent, kept or pruned, and refused in one sentence when they are not
sound.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_runs import agent_of, config, empty_run, make_run
from torch import Tensor

from gtp_fast.errors import UserError
from gtp_fast.runs import Run, checkpoint
from gtp_fast.system import files


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return empty_run(tmp_path / "run")


def tensors(value: float = 1.5) -> dict[str, Tensor]:
    flat = torch.arange(6.0) * value
    return {
        "a.view": flat.view(2, 3)[:, 1:],
        "a.again": flat[1:4],
        "a.same": flat[1:4],
        "half": torch.full((2, 2), value, dtype=torch.bfloat16),
        "steps": torch.tensor([2**40, -1]),
        "double": torch.tensor(1 / 3, dtype=torch.float64),
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_loaded_is_what_was_saved(run: Run) -> None:
    path = checkpoint.save(run, 12_000, tensors(), {"best": 0.1, "tuple": (1, 2)})
    assert path == run.checkpoints / "step_000012000"
    loaded = checkpoint.load(run)
    assert (loaded.path, loaded.step, loaded.config) == (path, 12_000, run.config())
    assert loaded.meta == {"best": 0.1, "tuple": [1, 2]}
    assert loaded.tensors.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)


def test_the_description_lists_step_digest_and_shapes(run: Run) -> None:
    state = json.loads((checkpoint.save(run, 5, tensors(), {}) / "state.json").read_text())
    assert state["step"] == 5
    assert state["config_digest"] == checkpoint.config_digest(run.config())
    assert state["tensors"]["half"] == ["bfloat16", [2, 2]]
    assert state["tensors"]["double"] == ["float64", []]


def test_only_the_last_two_and_the_best_are_kept(run: Run) -> None:
    for step in (10, 20, 30):
        path = checkpoint.save(run, step, tensors(step), {})
        if step == 10:
            checkpoint.mark_best(run, path, 3.0)
    assert sorted(p.name for p in run.checkpoints.glob("step_*")) == [
        "step_000000010",
        "step_000000020",
        "step_000000030",
    ]
    checkpoint.save(run, 40, tensors(), {})
    names = sorted(p.name for p in run.checkpoints.glob("step_*"))
    assert names == ["step_000000010", "step_000000030", "step_000000040"]
    assert checkpoint.load(run, "best").step == 10
    assert checkpoint.load(run).step == 40


def test_saving_a_step_again_replaces_it(run: Run) -> None:
    checkpoint.save(run, 7, tensors(1.0), {})
    checkpoint.save(run, 7, tensors(2.0), {})
    assert float(checkpoint.load(run).tensors["half"][0, 0]) == 2.0
    assert [p.name for p in run.checkpoints.iterdir()] == ["step_000000007"]


def test_checkpoints_that_may_not_be_read_are_not_called_absent(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(PermissionError, match="checkpoints"):
        checkpoint.last(run)


def test_a_full_disk_leaves_the_previous_checkpoint_and_nothing_else(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(run, 10, tensors(), {})
    before = contents(run.path)

    def full(path: Path, data: bytes) -> None:
        path.write_bytes(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "write_durably", full)
    with pytest.raises(
        UserError, match=r"step_000000020 .*No space left.*step_000000010"
    ) as caught:
        checkpoint.save(run, 20, tensors(), {})
    assert "free some space" in str(caught.value)
    assert contents(run.path) == before
    assert [p.name for p in run.checkpoints.iterdir()] == ["step_000000010"]
    monkeypatch.undo()
    checkpoint.save(run, 20, tensors(), {})
    assert checkpoint.load(run).step == 20


def test_a_full_disk_while_replacing_a_file_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.json"
    files.write_atomically(path, "old")

    def full(path: Path, data: bytes) -> None:
        path.write_bytes(data[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_durably", full)
    with pytest.raises(UserError, match=r"summary\.json .*No space left"):
        files.write_atomically(path, "new")
    assert contents(tmp_path) == {"summary.json": b"old"}


def test_a_save_that_was_killed_is_never_taken_for_a_checkpoint(run: Run) -> None:
    checkpoint.save(run, 10, tensors(), {})
    shutil.copytree(run.checkpoints / "step_000000010", run.checkpoints / ".step_000000020.tmp")
    assert checkpoint.load(run).step == 10
    checkpoint.save(run, 20, tensors(3.0), {})
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["step_000000010", "step_000000020"]


def cut_tensors(folder: Path) -> None:
    path = folder / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-3])


def flip_a_bit(folder: Path) -> None:
    path = folder / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def cut_description(folder: Path) -> None:
    path = folder / "state.json"
    path.write_text(path.read_text()[:40])


def change_step(folder: Path) -> None:
    path = folder / "state.json"
    path.write_text(path.read_text().replace('"step": 10', '"step": 11'))


def other_json(folder: Path) -> None:
    (folder / "state.json").write_text("[1, 2]")


@pytest.mark.parametrize(
    ("spoil", "file"),
    [
        (cut_tensors, "state.safetensors"),
        (flip_a_bit, "state.safetensors"),
        (lambda folder: (folder / "state.safetensors").unlink(), "state.safetensors"),
        (cut_description, "state.json"),
        (change_step, "state.json"),
        (other_json, "state.json"),
        (lambda folder: (folder / "state.json").unlink(), "state.json"),
    ],
)
def test_an_unsound_checkpoint_is_refused_by_name(
    run: Run, spoil: Callable[[Path], None], file: str
) -> None:
    folder = checkpoint.save(run, 10, tensors(), {})
    spoil(folder)
    with pytest.raises(UserError, match=r"delete that folder to go on from an earlier") as caught:
        checkpoint.load(run)
    assert f"step_000000010/{file}" in str(caught.value)


def test_a_checkpoint_of_another_shape_is_refused_by_name(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    wider = agent_of(config(observation_dim=4))
    with pytest.raises(UserError, match=r"step_000000060 does not fit: .*actor"):
        checkpoint.load(run).restore(wider)


def test_a_checkpoint_can_be_named_in_every_way(run: Run, tmp_path: Path) -> None:
    first = checkpoint.save(run, 10, tensors(), {})
    checkpoint.save(run, 20, tensors(), {})
    assert checkpoint.load(first).step == 10
    assert checkpoint.load(first / "state.json").step == 10
    assert checkpoint.load(run, str(first)).step == 10
    alone = shutil.copytree(first, tmp_path / "deployed")
    assert checkpoint.load(alone).config == run.config()


def test_a_checkpoint_is_found_by_its_name_and_a_mistyped_one_is_refused(
    run: Run, tmp_path: Path
) -> None:
    for step in (10, 20):
        checkpoint.save(run, step, tensors(), {})
    assert checkpoint.load(run, "step_000000010").step == 10
    has = rf"; {run.path} has step_000000010, step_000000020\.$"
    for path, which in (
        (run.path, "step_000000030"), (run.path, "nosuch"), (run.path, str(tmp_path / "nosuch")),
        (run.checkpoints / "step_000000030", "last"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=r"^There is no checkpoint .*(30|nosuch)" + has):
            checkpoint.load(path, which)
    with pytest.raises(UserError, match=r"^There is no checkpoint .*/step_000000030\.$"):
        checkpoint.load(tmp_path / "step_000000030")


def test_a_missing_checkpoint_says_what_to_do(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no last checkpoint: train it first"):
        checkpoint.load(run)
    checkpoint.save(run, 10, tensors(), {})
    with pytest.raises(UserError, match=r"no best checkpoint: .*use the last one"):
        checkpoint.load(run, "best")
    with pytest.raises(UserError, match=r"no run folder or checkpoint .*nowhere"):
        checkpoint.load(tmp_path / "nowhere")
    # A folder of runs, and that of a run's checkpoints.
    for folder in (run.path.parent, run.checkpoints):
        with pytest.raises(UserError, match=r"is no run folder, as it has no config\.yaml"):
            checkpoint.load(folder)
    with pytest.raises(UserError, match=r"^There is no checkpoint 10; .* has step_000000010"):
        checkpoint.load(run, 10)  # type: ignore[arg-type]
