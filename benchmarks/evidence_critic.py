"""python -m benchmarks.evidence_critic RUN ... --output FILE: critics against the simulator.

One record a run or checkpoint: which update, what made it, its learning curve, and how the critic
of its first seed goes with rollouts (benchmarks.critic_truth says what the figures are).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks import critic_truth, evidence_curves
from benchmarks.evidence_runs import Record
from gtp_fast import cli
from gtp_fast.runs import checkpoint
from gtp_fast.system.files import write_atomically


@dataclass(frozen=True)
class Options:
    """Which critics are judged, how closely, and where the file goes."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Finished run folders, each for its last checkpoint, or checkpoints in them."""
    output: Path
    """The file, which is replaced."""
    states: int = 2000
    """States of the data, drawn by chance."""
    horizon: int = 100
    """Steps of a rollout, the first one included."""


def main(argv: Sequence[str]) -> int:
    """Write the file; return the exit code."""
    options = cli.parse(Options, argv, "python -m benchmarks.evidence_critic", __doc__)
    # Rollouts take minutes, so what a run lacks is said before them.
    curves = [
        evidence_curves.record(str(checkpoint.find(run).parent.parent)) for run in options.runs
    ]
    content = {
        "written_by": "python -m benchmarks.evidence_critic RUN ...",
        "states": options.states,
        "horizon": options.horizon,
        "columns": ["critic", "two rollouts", "a perfect critic"],
        "runs": [
            made | judged(folder, options)
            for folder, made in zip(options.runs, curves, strict=True)
        ],
    }
    write_atomically(options.output, json.dumps(content, indent=1) + "\n")
    print(f"wrote {options.output}")
    return 0


def judged(folder: str, options: Options) -> Record:
    """Return the update of a run's last checkpoint, or of a checkpoint, and its correlations.

    A figure is null where two rollouts contradict each other, or a critic or a rollout does not
    vary. Raises UserError as `critic_truth.compared` does.
    """
    path = checkpoint.find(folder)
    asked = critic_truth.Options(str(path), states=options.states, horizon=options.horizon)
    found = critic_truth.correlations(*critic_truth.compared(asked))
    return {
        "update": checkpoint.load(path).step,
        "correlations": {
            name: [None if isnan(x) else round(x, 4) for x in row] for name, row in found.items()
        },
    }


if __name__ == "__main__":
    sys.exit(cli.run(main))
