"""Run folders: never overwritten, and complete enough to know what a result depends on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from gtp_fast import runs
from gtp_fast.errors import UserError
from gtp_fast.system import machine

NOON = datetime(2026, 3, 4, 12, 0, 9)


def test_a_taken_name_gets_a_number(tmp_path: Path) -> None:
    made = [runs.create(tmp_path / "deep", "antmaze-umaze", "gtp", NOON) for _ in range(3)]
    assert [run.path.name for run in made] == [
        "antmaze-umaze-gtp-20260304-120009",
        "antmaze-umaze-gtp-20260304-120009-2",
        "antmaze-umaze-gtp-20260304-120009-3",
    ]
    assert all(run.checkpoints.is_dir() for run in made)


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        runs.create(tmp_path / "file", "t", "a")


def test_a_configuration_comes_back_as_plain_values(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "t", "a")
    values = {"eta": (1.0, 2.0), "path": Path("x"), "n": np.int64(3), "none": None}
    run.write_config(values | {"low": np.array([-1.0, 1.0])})
    wanted = {"eta": [1.0, 2.0], "path": "x", "low": [-1.0, 1.0], "n": 3, "none": None}
    assert runs.open_run(run).config() == wanted


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no run folder"):
        runs.open_run(tmp_path / "none")
    with pytest.raises(UserError, match=r"no run folder: it has no config\.yaml"):
        runs.open_run(tmp_path)
    for broken in ("a: [", "just text", "\x00"):
        (tmp_path / "config.yaml").write_text(broken)
        with pytest.raises(UserError, match=r"config\.yaml"):
            runs.open_run(tmp_path).config()


def test_the_environment_names_versions_machine_and_backend(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "t", "a")
    run.write_environment("sampler: fused")
    facts = json.loads((run.path / "environment.json").read_text())
    assert facts["numpy"] == np.__version__
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["backend"] == "sampler: fused"
    keys = {"torch", "triton", "gymnasium", "minari", "mujoco", "processor", "gpu", "git", "native"}
    assert keys <= facts.keys()


def test_versions_are_read_without_importing_the_packages() -> None:
    code = (
        "import sys; from gtp_fast.system import machine; machine.environment();"
        "names = ('torch', 'triton', 'gymnasium', 'minari', 'mujoco');"
        "print([m for m in names if m in sys.modules])"
    )
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=surroundings
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_place_that_is_no_folder_is_named(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "file":
        place.touch()
    else:
        place.symlink_to("nowhere")
    with pytest.raises(UserError, match=r"cannot be made \(.*place is a file or a link into now"):
        runs.create(place, "t", "a")


def test_a_summary_is_there_when_it_was_written(tmp_path: Path) -> None:
    run = runs.create(tmp_path, "t", "a")
    assert run.summary() == {}
    run.write_summary({"score": np.float64(1.5), "seeds": (1, 2)})
    assert run.summary() == {"score": 1.5, "seeds": [1, 2]}
    (run.path / "summary.json").write_text("{")
    with pytest.raises(UserError, match=r"summary\.json cannot be read"):
        run.summary()


def test_a_checkout_is_asked_for_its_revision_and_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    file, index = tmp_path / "gtp_fast" / "system" / "machine.py", tmp_path / ".git" / "index"
    file.parent.mkdir(parents=True)
    file.write_text("as it was\n")
    name = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for words in (("init", "-q"), ("add", "."), (*name, "commit", "-qm", "first")):
        subprocess.run(("git", "-C", str(tmp_path), *words), check=True)
    monkeypatch.setattr(machine, "__file__", str(file))
    # Another time of the same content: the index would note it.
    os.utime(file, (1e9, 1e9))
    before = index.read_bytes()
    clean = machine.environment()["git"]
    assert len(clean) == 40 and index.read_bytes() == before
    file.write_text("changed\n")
    assert machine.environment()["git"] == f"{clean}-dirty" and index.read_bytes() == before
    # Where git cannot tell, the checkout is not called clean.
    index.write_bytes(b"no index")
    assert machine.environment()["git"] is None


def test_a_checkout_names_its_revision() -> None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        pytest.skip("no checkout")
    command = ("git", "-C", str(root), "rev-parse", "HEAD")
    revision = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert str(machine.environment()["git"]).removesuffix("-dirty") == revision
