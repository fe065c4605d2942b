"""Seeds that diverge: reported once with their cause; without any left the run ends."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gtp_fast import engine
from gtp_fast.agents.base import Agent
from gtp_fast.data import TransitionTable
from gtp_fast.engine import Diverged, cause
from gtp_fast.engine.cause import Cause
from gtp_fast.errors import UserError
from gtp_fast.runs import Run, checkpoint

_FAR = 1e6
"""Size of an observation beyond which no rate is at fault."""


class AllDiverged(UserError):
    """Every seed of the run has diverged."""


class Divergence:
    """The diverged seeds of a run."""

    def __init__(
        self,
        run: Run,
        agent: Agent,
        table: TransitionTable,
        whole: TransitionTable,
        watch: engine.Watch,
    ):
        """Watch seeds that train on a table; `whole` has the held-out episodes too."""
        self.run, self.agent, self.watch = run, agent, watch
        self.table, self.whole = table, whole
        self.causes: dict[int, Cause] = {}

    def check(self, say: Callable[[str], None]) -> None:
        """Report each diverged seed once by `say`; AllDiverged when none is left."""
        diverged = self.watch.diverged()
        fresh = [one for one in diverged if one.seed not in self.causes]
        for one in fresh:
            index = self.agent.seeds.index(one.seed)
            self.causes[one.seed] = cause.first(self.agent, self.table, index, one.broken)
        lines = [
            f"{self.causes[one.seed].term} of seed {one.seed} diverged at update {one.step:,}"
            for one in fresh
        ]
        if len(diverged) == len(self.agent.seeds):
            advice = dict.fromkeys(map(self.mend, diverged))
            raise AllDiverged(
                f"{'; '.join(lines) or 'every seed has diverged'}: "
                f"{checkpoint.last_good(self.run)}; {'; '.join(advice)}."
            )
        for line in lines:
            say(f"{line}: it stays as it was, the other seeds go on")

    def mend(self, one: Diverged) -> str:
        """Return what may help a diverged seed."""
        found = self.causes[one.seed]
        if one.step == 0 and not found.stepped:
            rows = self.table.all()
            spans = f"{_span('rewards', rows.reward)}, {_span('observations', rows.observation)}"
            return (
                "a rate is seldom at fault when the first update diverges: look at the data "
                f"({spans}), at --reward and --normalise-observations"
            )
        if (far := _far_observation(self.table, self.whole)) is not None:
            return far
        if found.part == "weights":
            return "start again with --weight-maximum 100, or with a lower --eta"
        if found.part == "critic":
            return (
                f"the critic is at fault, not the actor: look at the "
                f"{_span('rewards', self.table.all().reward)} and at --reward, and start again "
                f"with a --discount below {self.agent.config.discount:g} or a lower "
                "--critic-learning-rate"
            )
        return "start again with a lower --learning-rate, or with --max-gradient-norm 1"


def _far_observation(table: TransitionTable, whole: TransitionTable) -> str | None:
    """Return what may mend a table's largest observation; None where none is far from 0.

    whole: the table with the episodes held out, of which its step and episode are told.
    """
    sizes = table.all().observation.abs()
    row, column = divmod(int(sizes.argmax()), sizes.shape[1])
    if sizes[row, column] <= _FAR:
        return None
    place = int((whole.rows == table.rows[row]).all(1).nonzero()[0])
    # The loader leaves rows out at the ends of episodes alone, so earlier rows are earlier steps.
    step = int((whole.episode[:place] == whole.episode[place]).sum())
    return (
        f"observation {column} is {float(table.rows[row, column]):.3g} in step {step} of episode "
        f"{int(whole.episode[place])}, all counted from 0: mend or remove it, or start again with "
        "--normalise-observations if it is no mistake"
    )


def _span(name: str, values: Tensor) -> str:
    return f"{name} from {float(values.min()):.3g} to {float(values.max()):.3g}"
