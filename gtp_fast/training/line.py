"""The progress line of a run: its newest figures, and sentences that it says once."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from gtp_fast.system import progress


class ProgressLine:
    """How far a run has come, from update `start` of `steps` on."""

    def __init__(self, steps: int, start: int):
        self.bar = progress.bar(steps, "update", initial=start, keep=True)
        self.figures: dict[str, str] = {}
        self.said: set[str] = set()

    def reach(self, done: int) -> None:
        """Show that so many updates are done."""
        self.bar.update(done - self.bar.n)

    def show(self, figures: Mapping[str, str]) -> None:
        """Show figures beside those of other names."""
        self.figures |= figures
        self.bar.set_postfix(self.figures, refresh=False)

    def label(self, text: str) -> None:
        """Say what is being done besides updates; empty for nothing."""
        self.bar.set_description_str(text)

    def say(self, sentence: str) -> None:
        """Print a sentence above the line."""
        self.bar.write(sentence, file=sys.stderr)

    def say_once(self, kind: str, sentence: str) -> None:
        """Print the first sentence of a kind."""
        if kind not in self.said:
            self.said.add(kind)
            self.say(sentence)
