"""Progress on stderr: a moving bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

from tqdm import tqdm

LINE_SECONDS = 10.0
"""Time between two lines in a log."""


class Bar(Protocol):
    """What shows how far something has come."""

    n: float
    """How much is done."""

    def update(self, n: float = 1) -> Any:
        """Count n more as done."""

    def set_description_str(self, desc: str) -> Any:
        """Say what is being done."""

    def set_postfix(self, ordered_dict: Mapping[str, Any], refresh: bool = True) -> Any:
        """Show figures."""

    def write(self, s: str, file: Any = None) -> Any:
        """Print a line above the bar."""

    def __enter__(self) -> Any: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> Any: ...


def bar(
    total: int,
    unit: str,
    *,
    initial: int = 0,
    label: str = "",
    keep: bool = False,
    shown: bool = True,
) -> Bar:
    """Return the progress of something on stderr; the one place that decides its form.

    keep: leave the bar, or a last line, at its end. shown: False shows nothing.
    """
    if shown and not sys.stderr.isatty():
        return Lines(total, unit, initial, label, keep)
    made: Bar = tqdm(
        total=total, initial=initial, unit=unit, desc=label or None, leave=keep,
        disable=not shown, dynamic_ncols=True, file=sys.stderr,
    )  # fmt: skip
    return made


class Lines:
    """A line on stderr every ten seconds, and one at the end of what took longer.

    keep: one at the end in any case.
    """

    def __init__(
        self, total: int, unit: str, initial: int = 0, label: str = "", keep: bool = False
    ):
        self.keep = keep
        self.total, self.unit, self.initial, self.label = total, unit, initial, label
        self.n: float = initial
        self.figures = ""
        self.shown: float | None = None
        self.began = self.said = time.monotonic()

    def update(self, n: float = 1) -> None:
        """Count n more as done."""
        self.n += n
        self._now_and_then()

    def set_description_str(self, desc: str) -> None:
        """Say what is being done."""
        self.label = desc
        self._now_and_then()

    def set_postfix(self, ordered_dict: Mapping[str, Any], refresh: bool = True) -> None:
        """Show figures from the next line on."""
        self.figures = ", ".join(f"{name}={value}" for name, value in ordered_dict.items())

    def write(self, s: str, file: Any = None) -> None:
        """Print a line."""
        print(s, file=file or sys.stdout, flush=True)

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        long = self.keep or time.monotonic() - self.began >= LINE_SECONDS
        if long and self.shown != self.n:
            self._say()

    def _now_and_then(self) -> None:
        if time.monotonic() - self.said >= LINE_SECONDS:
            self._say()

    def _say(self) -> None:
        self.said, self.shown = time.monotonic(), self.n
        text: str = tqdm.format_meter(
            self.n, self.total, self.said - self.began, initial=self.initial,
            prefix=f"{self.label}: " if self.label else "", unit=self.unit,
            postfix=self.figures or None,
            bar_format="{desc}{percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, "
            "{rate_fmt}{postfix}]",
        )  # fmt: skip
        print(text, file=sys.stderr, flush=True)
