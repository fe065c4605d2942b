"""A child whose parent has gone says nothing, however the parent ended."""

from __future__ import annotations

import pickle
import struct
import subprocess
from pathlib import Path

import fake_environments
import pytest
from gymnasium.envs.registration import EnvSpec

from gtp_fast.system import children
from gtp_fast.system.children import Child

pytestmark = pytest.mark.skipif(not children.POSSIBLE, reason="needs POSIX")


def message(content: object) -> bytes:
    data = pickle.dumps(content)
    return struct.pack("!i", len(data)) + data


@pytest.mark.parametrize(
    "written",
    [
        b"",
        struct.pack("!i", 100_000),
        message((fake_environments.spec().to_json(), 1, ("state",)))[:-9],
        message((fake_environments.spec().to_json(), 1, ("state", "goal"))),
        message((EnvSpec("Nowhere-v0", entry_point="nowhere:Nothing").to_json(), 1, ())),
    ],
    ids=["nothing", "a length", "a part", "a whole message", "an environment that is not there"],
)
def test_a_child_whose_parent_goes_within_a_message_says_nothing(
    written: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(written, monkeypatch) == b""


def test_a_process_that_mujoco_starts_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', '1 / 0'])\n"
    (tmp_path / "mujoco.py").write_text(starts + "raise ImportError\n")
    monkeypatch.syspath_prepend(tmp_path)
    spec = fake_environments.spec().to_json()
    assert said(message((spec, 1, ("state", "goal"))), monkeypatch) == b""


def said(written: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Return what an evaluation worker writes on stderr after it has read that much."""
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **b: start(*a, **b, stderr=subprocess.PIPE))
    child = Child("gtp_fast.evaluation.workers", "a worker")
    with open(child.pipe.fileno(), "wb", closefd=False) as pipe:
        pipe.write(written)
    child.pipe.close()
    errors: bytes = child.process.communicate(timeout=60)[1]
    assert child.process.returncode == 0
    return errors
