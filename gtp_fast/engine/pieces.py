"""Split a run into pieces between which the host logs, saves or stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

_PIECE_SECONDS = 0.25


def next_length(longest: int, count: int, took: float) -> int:
    """Return the length of the next piece after one of `count` updates took so many seconds.

    Pieces of about a quarter of a second obey a stop soon, and the host's work between them is
    small.
    """
    if took < 0.5 * _PIECE_SECONDS and count == longest:
        return 2 * longest
    return max(1, longest // 2) if took > 2.0 * _PIECE_SECONDS else longest


def chunks(
    start: int,
    stop: int,
    longest: int,
    intervals: Sequence[int] = (),
    updates_per_advance: Callable[[int], int] = lambda step: 1,
) -> Iterator[tuple[int, int]]:
    """Yield (first, count) that cover start..stop-1 in order.

    A piece has at most `longest` updates and ends at every multiple of one of `intervals` (a row of
    metrics, a checkpoint, an evaluation). One call of `Agent.advance` serves it: it has at most
    updates_per_advance(first) updates.
    """
    first = start
    while first < stop:
        count = min(longest, stop - first, max(1, updates_per_advance(first)))
        for interval in intervals:
            if interval > 0:
                count = min(count, interval - first % interval)
        yield first, count
        first += count
