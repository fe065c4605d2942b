"""A child whose parent has gone says nothing, however the parent ended."""

from __future__ import annotations

import pickle
import signal
import struct
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import count, islice
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread
from typing import Any

import fake_environments
import pytest
from gymnasium.envs.registration import EnvSpec

from gtp_fast.errors import UserError
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


class Answering:
    """A child whose answer to job 0 comes after those to all others."""

    def __init__(self, jobs: int, held: list[Any]) -> None:
        self.pipe, self.end = Pipe()
        self.jobs, self.held, self.taken = jobs, held, list[int]()

    def send(self, job: int) -> None:
        self.taken.append(job)
        if job == 0:
            self.held.append(self)
        else:
            self.end.send(2 * job)
        if job == self.jobs - 1:
            self.held[0].end.send(0)

    def receive(self) -> Any:
        return self.pipe.recv()


def test_answers_come_in_the_order_of_the_jobs_and_a_free_child_takes_the_next() -> None:
    held: list[Any] = []
    slow, quick = (Answering(5, held) for _ in range(2))
    pair: Any = (slow, quick)
    assert list(children.in_order(pair, range(5))) == [2 * job for job in range(5)]
    assert (slow.taken, quick.taken) == ([0], [1, 2, 3, 4])


def test_no_more_answers_than_two_a_child_wait_for_a_slow_one() -> None:
    held: list[Any] = []
    slow, quick = (Answering(9, held) for _ in range(2))
    pair: Any = (slow, quick)
    answers = Thread(target=lambda: next(children.in_order(pair, count())), daemon=True)
    answers.start()
    answers.join(1.0)
    assert answers.is_alive() and (slow.taken, quick.taken) == ([0], [1, 2, 3, 4])


def test_a_child_that_is_busy_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []

    def close(found: Sequence[Child]) -> None:
        ends.extend(child.process.wait(60) for child in found)

    monkeypatch.setattr(children, "close", close)
    with children.started(3, "answering", "an answer") as busy:
        for child in busy:
            child.send("long")
    assert ends == [-signal.SIGKILL] * 3


def test_fewer_jobs_than_children_and_jobs_without_an_end() -> None:
    assert answers([]) == []
    assert answers([7]) == [14]
    assert answers(count(1), 3) == [2, 4, 6]


@pytest.mark.parametrize(
    ("job", "said"),
    [("die", r"an answer \(process \d+\) was ended by SIGKILL"), ("refuse", "no such number")],
)
def test_a_child_that_ends_is_never_waited_for(job: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        answers([1, job, 2, 3])


def answers(jobs: Iterable[Any], most: int | None = None) -> list[int]:
    """Return the first answers of two children."""
    with (
        children.started(2, "answering", "an answer") as pair,
        closing(children.in_order(pair, jobs)) as found,
    ):
        return list(islice(found, most))
