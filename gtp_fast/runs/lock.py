"""One training at a time in a run folder."""

from __future__ import annotations

import os
import socket

from filelock import FileLock, Timeout

from gtp_fast.errors import UserError
from gtp_fast.runs.folder import Run
from gtp_fast.system.files import unwritable


class InUse(UserError):
    """Another process holds the folder; `holder` names it."""

    def __init__(self, sentence: str, holder: str):
        super().__init__(sentence)
        self.holder = holder


class Hold:
    """Holds a run folder from its making to `release`; InUse where another process holds it.

    The operating system frees the lock of a process that was killed. wait: seconds for another
    holder to end.
    """

    def __init__(self, run: Run, wait: float = 0.0):
        self.run, self.holder = run, run.path / ".holder"
        self.lock = FileLock(run.path / ".lock")
        try:
            self.lock.acquire(timeout=wait)
            self.holder.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        except Timeout as error:
            who = self.holder.read_text().strip() if self.holder.exists() else "another process"
            raise InUse(
                f"{run} is being trained by {who}: wait for its end, or stop it first.", who
            ) from error
        except OSError as error:
            self.lock.release()
            raise UserError(unwritable(run.path / ".lock", error)) from error

    def release(self) -> None:
        """Free the folder for others."""
        self.holder.unlink(missing_ok=True)
        self.lock.release()
