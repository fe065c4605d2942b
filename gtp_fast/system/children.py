"""Child processes, started new rather than forked.

A child ends when the pipe to its parent closes, however the parent ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import count, islice
from multiprocessing.connection import Connection, wait
from typing import Any

from gtp_fast.errors import UserError

# A child inherits its end of a socket, which only POSIX systems allow.
POSSIBLE = os.name == "posix"


class ChildDied(UserError):
    """A child ended without being asked to; `what` says which, and how."""

    def __init__(self, what: str):
        self.what = what
        super().__init__(f"{what}: give the command again, with more memory free if it is short.")


class Child:
    """A process that runs `python -m module` and answers over a pipe.

    title: what it does, for the message of its death. inherited: open files that it gets too, under
    their own numbers.
    """

    def __init__(self, module: str, title: str, inherited: Sequence[int] = ()):
        self.title = title
        ours, theirs = socket.socketpair()
        with theirs:
            # The child looks where we look, and leaves the cores to its siblings.
            surroundings = os.environ | {
                "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path),
                "OMP_NUM_THREADS": "1",
            }
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno())],
                env=surroundings,
                pass_fds=[theirs.fileno(), *inherited],
            )
        self.pipe = Connection(ours.detach())

    def send(self, message: Any) -> None:
        """Send a message; raises ChildDied."""
        try:
            self.pipe.send(message)
        except OSError as error:
            raise self._death() from error

    def receive(self) -> Any:
        """Return the child's next message; raises ChildDied, or the UserError that it sent."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if isinstance(answer, UserError):
            raise answer
        return answer

    def _death(self) -> ChildDied:
        code = self.process.wait(10)
        how = (
            f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
        return ChildDied(f"{self.title} (process {self.process.pid}) {how}")


@contextlib.contextmanager
def started(number: int, module: str, title: str) -> Iterator[list[Child]]:
    """Start children of one kind; kill them afterwards. UserError on another system than POSIX."""
    if not POSSIBLE:
        raise UserError(f"Only a POSIX system, such as Linux or macOS, can start {title}.")
    found: list[Child] = []
    try:
        # `extend` keeps those that were started before one that was not.
        found.extend(Child(module, title) for _ in range(number))
        yield found
    finally:
        # They hold nothing, and one that is busy looks at its pipe too late.
        for child in found:
            child.process.kill()
        close(found)


def in_order(children: Sequence[Child], jobs: Iterable[Any]) -> Generator[Any]:
    """Send jobs to free children; yield the answers in the order of the jobs.

    While an answer is slow at most two a child wait behind it. Raises ChildDied, or the UserError
    that a child sent.
    """
    numbered, free = enumerate(jobs), deque(children)
    busy: dict[Any, tuple[Child, int]] = {}
    answers: dict[int, Any] = {}

    def occupy() -> None:
        while free and len(answers) < 2 * len(children):
            for number, job in islice(numbered, 1):
                child = free.popleft()
                child.send(job)
                busy[child.pipe] = child, number
                break
            else:
                return

    for wanted in count():
        occupy()
        while wanted not in answers:
            if not busy:
                return
            for pipe in wait(list(busy)):
                child, number = busy.pop(pipe)
                answers[number] = child.receive()
                free.append(child)
            occupy()
        yield answers.pop(wanted)


def close(children: Sequence[Child]) -> None:
    """End children and wait for them."""
    for child in children:
        child.pipe.close()
    for child in children:
        try:
            child.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


def run(serve: Callable[[Connection], None]) -> None:
    """Run as a child: serve the pipe of the command line until it is closed."""
    # Ctrl-C, a scheduler's SIGTERM and a closed terminal's SIGHUP reach the whole group; the parent
    # decides what becomes of us.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pipe = Connection(int(sys.argv[1]))
    try:
        serve(pipe)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    except UserError as error:
        # The parent may have gone meanwhile.
        with contextlib.suppress(OSError):
            pipe.send(error)
    except OSError as error:
        # `Connection` has no number for a parent that was killed within a message.
        if error.errno is not None:
            raise
