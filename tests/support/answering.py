"""A child process for tests: it doubles numbers, and may be asked to end."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection

from gtp_fast.errors import UserError
from gtp_fast.system import children


def serve(pipe: Connection) -> None:
    """Answer each number with its double; end at "die", complain at "refuse", work at "long"."""
    while True:
        job = pipe.recv()
        if job == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if job == "long":
            time.sleep(600)
        if job == "refuse":
            raise UserError("no such number")
        pipe.send(2 * job)


if __name__ == "__main__":
    children.run(serve)
