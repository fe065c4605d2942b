"""A recording that needs no GPU."""

from __future__ import annotations


class Again:
    """A recording that does its work anew, as a CUDA graph would."""

    made = 0

    def __init__(self, work) -> None:
        self.replay = work
        Again.made += 1
