"""Stop signals: within a loop they let an update finish, elsewhere they unwind what is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """SIGTERM has come; as with KeyboardInterrupt, what is half-made is removed on the way out."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated at SIGTERM, once, where nobody else handles it."""
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not ours:
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        # A second one must not interrupt the removal of what the first has left half-made.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Turn Ctrl-C and SIGTERM into a number that the loop reads between two updates.

    In another thread than the main one, which alone may handle signals, the number stays 0.
    """
    received = [0]
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return

    def note(number: int, frame: FrameType | None) -> None:
        received[0] = number

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: received[0]
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
