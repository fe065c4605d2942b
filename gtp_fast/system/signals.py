"""Stop signals: within a loop they let an update finish, elsewhere they unwind what is done."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_HANG_UP = getattr(signal, "SIGHUP", None)
"""Signal of a closed terminal; None on Windows, which has none."""
_ENDS = (signal.SIGTERM,) if _HANG_UP is None else (signal.SIGTERM, _HANG_UP)


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
        _leave_terminal(number)
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
        _leave_terminal(number)

    # Under nohup SIGHUP is ignored, and stays so.
    ends = [one for one in _ENDS if one != _HANG_UP or signal.getsignal(one) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, *ends)}
    try:
        yield lambda: received[0]
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _leave_terminal(number: int) -> None:
    """Send nowhere what would go to a closed terminal; number: of the signal that has come.

    Every write there fails, the interpreter's own last one too, which would change the exit code.
    """
    if number != _HANG_UP:
        return
    for stream in (1, 2):
        try:
            os.get_terminal_size(stream)
        except OSError as error:
            # Only a closed terminal gives EIO.
            if error.errno == errno.EIO:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)
