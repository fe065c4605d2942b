"""How a run is cut into pieces that need nothing of the host in their middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

_PIECE_SECONDS = 0.25


def next_length(longest: int, count: int, took: float) -> int:
    """Return how long pieces are to be after one of `count` updates that took so many seconds:
    short enough to obey a stop, long enough for what comes between them not to matter.
    """
    if took < 0.5 * _PIECE_SECONDS and count == longest:
        return 2 * longest
    return max(1, longest // 2) if took > 2.0 * _PIECE_SECONDS else longest


def chunks(
    start: int,
    stop: int,
    longest: int,
    intervals: Sequence[int] = (),
    steady: Callable[[int], int] = lambda step: 1,
) -> Iterator[tuple[int, int]]:
    """Yield (first, count) that cover start..stop-1 in order.

    A piece is at most `longest` updates, ends wherever a multiple of one of `intervals` is reached
    (a row of metrics, a checkpoint, an evaluation), and stays within steady(first) updates, for
    which `Agent.advance` has nothing to do after its first call.
    """
    first = start
    while first < stop:
        count = min(longest, stop - first, max(1, steady(first)))
        for interval in intervals:
            if interval > 0:
                count = min(count, interval - first % interval)
        yield first, count
        first += count
