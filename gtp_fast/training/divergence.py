"""Seeds that diverge: each is reported once, and the run ends when none is left."""

from __future__ import annotations

from collections.abc import Callable

from gtp_fast import engine
from gtp_fast.data import TransitionTable
from gtp_fast.errors import UserError
from gtp_fast.runs import Run, checkpoint
from gtp_fast.training import console


class AllDiverged(UserError):
    """Every seed of the run has diverged."""


class Divergence:
    """The diverged seeds of a run of `seeds` seeds."""

    def __init__(self, run: Run, table: TransitionTable, watch: engine.Watch, seeds: int):
        self.run, self.table, self.watch, self.seeds = run, table, watch, seeds
        self.reported: set[int] = set()

    def check(self, say: Callable[[str], None]) -> None:
        """Report each diverged seed once by `say`; AllDiverged when none is left."""
        diverged = self.watch.diverged()
        fresh = [one for one in diverged if one.seed not in self.reported]
        self.reported |= {one.seed for one in fresh}
        lines = [f"{one.term} of seed {one.seed} diverged at update {one.step:,}" for one in fresh]
        if len(diverged) == self.seeds:
            raise AllDiverged(
                f"{'; '.join(lines) or 'every seed has diverged'}: "
                f"{checkpoint.last_good(self.run)}; "
                f"{console.mend(self.table, max(one.step for one in diverged))}."
            )
        for line in lines:
            say(f"{line}: it stays as it was, the other seeds go on")
