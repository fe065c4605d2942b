"""Forked children that end at a file operation or at a signal."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_EVENTS = frozenset({"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"})


def counted(kill_at: int | None = None, by: int = signal.SIGKILL) -> list[int]:
    """Count the file operations of this process from now on; signal it at one of them."""
    count, own = [0], os.getpid()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS and os.getpid() == own:
            count[0] += 1
            if count[0] == kill_at:
                os.kill(own, by)

    sys.addaudithook(hook)
    return count


def child(work: Callable[[int], object], said: Path = Path(os.devnull)) -> tuple[int, int]:
    """Fork, do the work with the end of a pipe; return the process and the pipe to read.

    said: file that takes what the child writes on stderr. The child ends with the number that the
    work returns, with 1 where it raises.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if process:
        os.close(writer)
        return process, reader
    with contextlib.suppress(BaseException), said.open("w") as err, open(os.devnull, "w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.stdout, sys.stderr = out, err
        code = work(writer)
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)
    os._exit(1)


def ended(process: int, reader: int) -> tuple[bytes, int]:
    """Wait; return what the child wrote into its pipe, and its status."""
    said = b""
    while part := os.read(reader, 64):
        said += part
    os.close(reader)
    return said, os.waitpid(process, 0)[1]


def workers(process: int) -> list[int]:
    """Return the processes that a process has started to work for it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes()
            if parent == process and (b"spawn_main" in command or b"gtp_fast." in command):
                found.append(int(entry.name))
    return sorted(found)


def all_end(processes: list[int], seconds: float = 60.0) -> bool:
    """Wait for processes; return whether all have ended in time."""
    deadline = time.monotonic() + seconds
    while any(_runs(one) for one in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _runs(process: int) -> bool:
    """Return whether a process is there and is more than an entry that nobody has collected."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
