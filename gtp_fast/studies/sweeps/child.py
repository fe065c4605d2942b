"""A process of `Local`: it does one job after another on its place."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from types import FrameType

from gtp_fast.studies import jobs
from gtp_fast.studies.sweeps.local import Place
from gtp_fast.system import children
from gtp_fast.system.signals import Terminated

_LOOK = 2.0
"""Seconds between two looks at the parent."""


def serve(pipe: Connection) -> None:
    """Answer each job with its result."""
    # While a run trains, it takes the signal itself, and saves.
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    place: Place = pipe.recv()
    if place.core is not None:
        os.sched_setaffinity(0, {place.core})
    if place.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = place.gpu
    while True:
        pipe.send(jobs.run(pipe.recv()))


def _end(number: int, frame: FrameType | None) -> None:
    # A SystemExit would be taken for the environment's own.
    raise Terminated(number)


def _end_with(parent: int) -> None:
    """Stop this process once its parent has been killed."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    try:
        children.run(serve)
    except Terminated as error:
        sys.exit(128 + error.number)
