"""python -m gtp_fast.ablate: the paper's ablation of the objective, by one command.

Trains every row on one task with the same seeds, data and protocol, and measures the time of an
update of all rows in turns. Each row is written when it is done; the same command goes on where it
was stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gtp_fast import agents, cli, data, engine, tasks, train
from gtp_fast.agents.gtp import GTPConfig
from gtp_fast.errors import UserError
from gtp_fast.runs import plain
from gtp_fast.studies import stats
from gtp_fast.system.files import write_atomically
from gtp_fast.training import config
from gtp_fast.training.trainer import AllDiverged, Trainer

ROWS: dict[str, dict[str, Any]] = {
    "gtp": {},
    "solver": {"objective": "solver"},
    "shortcut": {"objective": "shortcut"},
    "mean-flow": {"objective": "mean-flow"},
    "linear-q-0.01": {"objective": "linear-q", "lambda_q": (0.01,)},
    "linear-q-0.1": {"objective": "linear-q", "lambda_q": (0.1,)},
    "linear-q-1": {"objective": "linear-q", "lambda_q": (1.0,)},
    "flow": {"objective": "flow"},
    "consistency": {"objective": "consistency"},
    "ctm": {"objective": "ctm"},
    "gtp-uniform-u": {"u_mode": "uniform"},
}
_PAPER_ROWS = ("gtp", "solver", "shortcut", "mean-flow", "linear-q-0.01", "linear-q-0.1")
# hopper-medium-expert on D4RL's own data, 5 seeds (paper, table 3; shortcut and mean-flow: poster).
_PUBLISHED_ON = ("hopper-medium-expert", "hopper_medium_expert-v2.hdf5")
_PUBLISHED = {
    "gtp": "112.2 +- 0.6",
    "solver": "99.7 +- 1.7",
    "shortcut": "76.1",
    "mean-flow": "diverged",
    "linear-q-0.01": "111.4 +- 0.9",
    "linear-q-0.1": "diverged",
    "linear-q-1": "diverged",
}


@dataclass(frozen=True)
class Options:
    """What is compared, on what, and for how long."""

    task: str = "hopper-medium-expert"
    """Task."""
    rows: tuple[str, ...] = _PAPER_ROWS
    """Rows to train, of gtp, solver, shortcut, mean-flow, linear-q-0.01, linear-q-0.1, linear-q-1,
    flow, consistency, ctm, gtp-uniform-u."""
    dataset: str | None = None
    """Minari id, D4RL .hdf5 file or .npz file; by default the task's own Minari dataset."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds, all trained together."""
    steps: int | None = None
    """Updates of each row; by default those of the task."""
    episodes: int | None = None
    """Evaluation episodes for each seed, after the last update; by default those of the task."""
    width: int = 256
    """Units of each hidden layer."""
    batch_size: int = 256
    """Transitions per update and seed."""
    rounds: int = 30
    """Rounds of the timing; every row does five updates in each."""
    backend: str = "auto"
    """auto, reference or fused."""
    device: str = "auto"
    """auto, cpu or cuda."""
    output: Path = Path("runs/ablation")
    """Folder of table.md and rows.json, and of the run folders."""


def main(argv: Sequence[str]) -> int:
    """Time, train, evaluate and write every row; return the exit code."""
    options = cli.parse(Options, argv, "python -m gtp_fast.ablate", __doc__)
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        raise UserError(f"Unknown rows {', '.join(unknown)}: choose among {', '.join(ROWS)}.")
    ablation = Ablation(options)
    ablation.measure()
    for name in options.rows:
        if code := ablation.train(name):
            return code
        print(ablation.table(), flush=True)
    return 0


class Ablation:
    """The rows of one protocol, kept in a folder."""

    def __init__(self, options: Options):
        self.options, self.task = options, tasks.find(options.task)
        self.device = train.choose_device(options.device)
        table = data.load_table(self.task, options.dataset, None, self.device)
        self.data = table
        self.steps = options.steps or self.task.updates
        self.protocol: dict[str, Any] = plain(
            {
                "task": self.task.name,
                "dataset": table.dataset_id,
                "official": table.provenance.official,
                "seeds": options.seeds,
                "updates": self.steps,
                "episodes": options.episodes or self.task.evaluation_episodes,
                "width": options.width,
                "batch_size": options.batch_size,
                "settings": dataclasses.asdict(self.settings("gtp")),
            }
        )
        self.kept = self._kept()

    def settings(self, name: str) -> GTPConfig:
        """Return the settings of a row: gtp's at this length, and what sets the row apart."""
        _, config = agents.defaults("gtp", self.task, self.options.steps)
        rest = {"width": self.options.width, "batch_size": self.options.batch_size}
        settings: GTPConfig = dataclasses.replace(config, **(rest | ROWS[name]))
        return settings

    def measure(self) -> None:
        """Time one update of every row in turns on fresh agents: the median of the rounds."""
        times = self.kept.setdefault("seconds_per_update", {})
        if all(name in times for name in self.options.rows):
            return
        built: dict[str, engine.Engine] = {}
        choice = engine.choose("auto", self.options.backend, self.device)
        for name in self.options.rows:
            agent = agents.build(
                "gtp", self.settings(name), self.data.observation_dim, self.data.action_dim,
                self.options.seeds, self.device, choice.backend,
            )  # fmt: skip
            agent.prepare(self.steps)
            built[name] = engine.build(choice, agent, self.data, engine.Watch(agent))
            built[name].do(0, 5)
        taken: dict[str, list[float]] = {name: [] for name in built}
        for number in range(1, self.options.rounds + 1):
            for name, one in built.items():
                self._wait()
                began = time.perf_counter()
                one.do(5 * number, 5)
                self._wait()
                taken[name].append((time.perf_counter() - began) / 5)
        self.kept["seconds_per_update"] = {k: float(np.median(v)) for k, v in taken.items()}
        self._write()

    def train(self, name: str) -> int:
        """Train and evaluate a row, or go on with it; return the exit code of a stopped run."""
        if name in self.kept["rows"]:
            return 0
        print(f"--- {name}", flush=True)
        trainer = self._trainer(name)
        self.kept["runs"][name] = str(trainer.run.path)
        self._write()
        row: dict[str, Any] = {"run": str(trainer.run.path), "diverged": ""}
        try:
            if code := int(trainer.train()):
                return code
        except AllDiverged as error:
            # Every seed has left the rails: that is this row's result.
            row["diverged"] = str(error).split(": the last good")[0].split(": no checkpoint")[0]
            print(error, file=sys.stderr)
        if trainer.last is not None and not row["diverged"]:
            row["scores"] = [float(x) for x in trainer.last.means()["score"]]
            row["diverged"] = "; ".join(
                f"{one.term} of seed {one.seed} at update {one.step:,}"
                for one in trainer.watch.diverged()
            )
        self.kept["rows"][name] = row
        self._write()
        return 0

    def table(self) -> str:
        """Return the rows that are done as a Markdown table under their protocol."""
        p = self.protocol
        published = (p["task"], p["dataset"]) == _PUBLISHED_ON
        header = ["row", "score, mean [95 %]", "each seed", "ms per update", "against gtp"]
        lines = [header + ["published"] * published, ["---"] * (len(header) + published)]
        times: Mapping[str, float] = self.kept["seconds_per_update"]
        for name, row in self.kept["rows"].items():
            seconds, base = times.get(name), times.get("gtp")
            cells = [
                name,
                *_score(row),
                "-" if seconds is None else f"{1e3 * seconds:.2f}",
                "-" if seconds is None or base is None else f"{seconds / base:.2f} x",
            ]
            lines.append(cells + [_PUBLISHED.get(name, "-")] * published)
        origin = "" if p["official"] else " (made locally: never beside published numbers)"
        return (
            f"{p['task']} on {p['dataset']}{origin}: {p['updates']:,} updates of {len(p['seeds'])} "
            f"seeds (width {p['width']}, batch {p['batch_size']}), last checkpoint, "
            f"{p['episodes']} episodes for each seed; intervals: 95 % bootstrap over the seeds; "
            f"time: medians of {self.options.rounds} rounds in turns on {self.device}, one update "
            "advancing all seeds.\n\n"
            + "\n".join("| " + " | ".join(line) + " |" for line in lines)
            + "\n"
        )

    def _trainer(self, name: str) -> Trainer:
        o = self.options
        if begun := self.kept["runs"].get(name):
            # A run that was stopped before its first checkpoint starts again.
            with contextlib.suppress(UserError):
                return train.resume(
                    config.RunConfig(resume=begun, backend=o.backend, device=o.device)
                )
        run_config = config.RunConfig(
            task=self.task.name, dataset=o.dataset, seeds=o.seeds, steps=self.steps,
            episodes=o.episodes, evaluate_every=0, backend=o.backend, device=o.device,
            output=str(o.output),
        )  # fmt: skip
        return train.start(run_config, self.task, self.task.rules, self.settings(name))

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _kept(self) -> dict[str, Any]:
        """Return what an earlier call left; UserError when it followed another protocol."""
        path = self.options.output / "rows.json"
        if not path.exists():
            return {"protocol": self.protocol, "rows": {}, "runs": {}}
        kept: dict[str, Any] = json.loads(path.read_text())
        differing = [k for k, v in self.protocol.items() if kept["protocol"].get(k) != v]
        if differing:
            raise UserError(
                f"{path} holds rows of another protocol ({', '.join(differing)} differ): choose "
                "another --output."
            )
        return kept

    def _write(self) -> None:
        self.options.output.mkdir(parents=True, exist_ok=True)
        write_atomically(self.options.output / "rows.json", json.dumps(self.kept, indent=1) + "\n")
        write_atomically(self.options.output / "table.md", self.table())


def _score(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return mean with interval, and the score of each seed; or what diverged."""
    scores, diverged = row.get("scores"), row["diverged"]
    if scores is None:
        return f"diverged ({diverged})" if diverged else "-", "-"
    low, high = stats.bootstrap_interval([scores], stats.mean)
    interval = "" if np.isnan(low) else f" [{low:.1f}, {high:.1f}]"
    note = f" (diverged: {diverged})" if diverged else ""
    return f"{np.mean(scores):.1f}{interval}{note}", " ".join(f"{x:.1f}" for x in scores)


if __name__ == "__main__":
    sys.exit(cli.run(main))
