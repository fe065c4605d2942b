"""What the campaigns found, in one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Total(NamedTuple):
    """One part of a campaign."""

    tried: str
    """What was tried; empty where it could not be tried here."""
    count: int
    failures: int
    seed: int | None = None
    note: str = ""


def failures(found: Mapping[str, int]) -> int:
    """Return how many outcomes are failures: those written in capitals."""
    return sum(number for what, number in found.items() if what[:3].isupper())


def listed(found: Mapping[str, int]) -> str:
    """Return outcomes and their numbers, the most frequent first."""
    order = sorted(found.items(), key=lambda one: -one[1])
    return ", ".join(f"{number:,} {what}" for what, number in order)


def show(totals: Iterable[Total]) -> int:
    """Print a row for each part and their sum; return 1 if anything failed."""
    rows = list(totals)
    print("\n| tried | how often | failures | seed |\n|---|---:|---:|---:|")
    for one in rows:
        how = f"{one.count:,}" if one.count else f"not here: {one.note}"
        print(f"| {one.tried} | {how} | {one.failures} | {'-' if one.seed is None else one.seed} |")
    count, bad = (sum(getattr(one, name) for one in rows) for name in ("count", "failures"))
    print(f"| in total | {count:,} | {bad} | |", flush=True)
    return int(bad > 0)
