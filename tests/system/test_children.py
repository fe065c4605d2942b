"""A child whose parent has gone says nothing, however the parent ended."""

from __future__ import annotations

import pickle
import struct
import subprocess

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
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **b: start(*a, **b, stderr=subprocess.PIPE))
    child = Child("gtp_fast.evaluation.workers", "a worker")
    with open(child.pipe.fileno(), "wb", closefd=False) as pipe:
        pipe.write(written)
    child.pipe.close()
    assert child.process.communicate(timeout=60)[1] == b""
    assert child.process.returncode == 0
