"""Stop signals: within a loop they let an update finish, elsewhere they unwind what is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """SIGTERM or SIGHUP has come; as after Ctrl-C, what is half-made is removed on the way out.

    number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


@contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated at SIGTERM and SIGHUP, once, where nobody else handles them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Under nohup SIGHUP is ignored, and stays so.
    ours = [number for number in _ENDS if signal.getsignal(number) is signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:
        # A second one must not interrupt the removal of what the first has left half-made.
        for each in ours:
            signal.signal(each, signal.SIG_IGN)
        raise Terminated(number)

    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into a number that the loop reads between two updates.

    In another thread than the main one, which alone may handle signals, the number stays 0.
    """
    received = [0]
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return

    def note(number: int, frame: FrameType | None) -> None:
        received[0] = number

    hung_up = [signal.SIGHUP] * (signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN)
    stops = (signal.SIGINT, signal.SIGTERM, *hung_up)
    previous = {number: signal.signal(number, note) for number in stops}
    try:
        yield lambda: received[0]
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
