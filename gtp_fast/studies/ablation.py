"""Rows of the paper's ablation of the objective: settings, times of an update, and table."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from gtp_fast import agents, engine
from gtp_fast.data import TransitionTable
from gtp_fast.errors import untrusted
from gtp_fast.studies import costs, markdown, stats, tables
from gtp_fast.studies.protocol import Study
from gtp_fast.system.device import synchronise
from gtp_fast.system.files import write_atomically

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
PAPER_ROWS = ("gtp", "solver", "shortcut", "mean-flow", "linear-q-0.01", "linear-q-0.1")
# hopper-medium-expert on D4RL's own data, 5 seeds (paper, table 3; shortcut and mean-flow: poster).
_PUBLISHED_ON = ("hopper-medium-expert", "hopper_medium_expert-v2.hdf5")
PUBLISHED = {
    "gtp": "112.2 +- 0.6",
    "solver": "99.7 +- 1.7",
    "shortcut": "76.1",
    "mean-flow": "diverged",
    "linear-q-0.01": "111.4 +- 0.9",
    "linear-q-0.1": "diverged",
    "linear-q-1": "diverged",
}
_AT_ONCE = 5
"""Updates of a row in each round of the timing."""


class Ablation:
    """The rows of one study, in one table.

    shared: settings that all rows have besides their own; all act by the map, which every
    objective trains. rounds: of the timing. folder: of times.json and table.md.
    """

    def __init__(self, study: Study, data: TransitionTable, shared: Mapping[str, Any], rounds: int):
        self.study, self.data, self.rounds = study, data, rounds
        self.shared: dict[str, Any] = {"act_by": "map"} | dict(shared)
        self.folder = study.path.parent
        self.times = self._kept_times()

    def changes(self, row: str) -> dict[str, Any]:
        """Return what sets a row apart from gtp's defaults."""
        return self.shared | ROWS[row]

    def measure(self, rows: Sequence[str]) -> None:
        """Time one update of every row, in turns on fresh agents: medians of the rounds."""
        if all(name in self.times for name in rows):
            return
        protocol = self.study.protocol
        choice = engine.choose(protocol.engine, protocol.backend, self.data.device)
        timed = {}
        for name in rows:
            task, config = protocol.settings("gtp", self.changes(name))
            agent = agents.build(
                "gtp", config, self.data.observation_dim, self.data.action_dim, protocol.seeds,
                self.data.device, choice.backend,
            )  # fmt: skip
            agent.prepare(protocol.steps or task.updates)
            timed[name] = _Timed(engine.build(choice, agent, self.data, engine.Watch(agent)))
        taken = costs.in_turns(
            {name: functools.partial(one.seconds, self.data.device) for name, one in timed.items()},
            self.rounds,
        )
        self.times = {name: float(np.median(seconds)) for name, seconds in taken.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"protocol": self._timed_under(), "seconds": self.times}
        write_atomically(self.folder / "times.json", json.dumps(content, indent=1) + "\n")

    def _timed_under(self) -> dict[str, Any]:
        """Return what the times depend on besides the machine, as plain values."""
        protocol = self.study.protocol
        return protocol.facts("gtp", self.shared) | {
            "dataset": self.data.dataset_id, "engine": protocol.engine,
            "backend": protocol.backend, "device": str(self.data.device), "rounds": self.rounds,
        }  # fmt: skip

    def _kept_times(self) -> dict[str, float]:
        """Return the seconds of an update by row; none where they hold for other settings."""
        path, asked = self.folder / "times.json", self._timed_under()
        if not path.exists():
            return {}
        with untrusted(f"{path} cannot be read", "delete it to measure again"):
            content = json.loads(path.read_text())
            # Files of older versions do not say what they hold for.
            return {**content["seconds"]} if content.get("protocol") == asked else {}

    def write(self) -> str:
        """Write table.md; return its content."""
        text = self.table()
        write_atomically(self.folder / "table.md", text)
        return text

    def table(self) -> str:
        """Return the finished rows as a Markdown table under their protocol."""
        protocol, data = self.study.protocol, self.data
        task, config = protocol.settings("gtp", self.shared)
        published = (task.name, data.dataset_id) == _PUBLISHED_ON
        head = ["row", "score, mean [95 %]", "each seed", "ms per update", "against gtp"]
        lines = []
        for name in filter(self.study.finished, self.study.kept):
            seconds, base = self.times.get(name), self.times.get("gtp")
            cells = [
                name,
                *self._score(name),
                "-" if seconds is None else f"{1e3 * seconds:.2f}",
                "-" if seconds is None or base is None else f"{seconds / base:.2f} x",
            ]
            lines.append(cells + [PUBLISHED.get(name, "-")] * published)
        episodes = protocol.episodes or task.episodes(protocol.steps or task.updates)
        seeds = "1 seed" if len(protocol.seeds) == 1 else f"{len(protocol.seeds)} seeds"
        origin = "" if data.provenance.official else " (made locally: no published score compares)"
        return (
            f"{task.name} on {data.dataset_id}{origin}: {protocol.steps or task.updates:,} updates "
            f"of {seeds} (width {config.width}, batch {config.batch_size}), "
            f"last checkpoint, {episodes} episodes for each seed; intervals: 95 % bootstrap over "
            "the seeds; time: medians of "
            f"{self.rounds} rounds in turns on {data.device}, one update advancing all seeds.\n\n"
            + markdown.table(head + ["published"] * published, lines, aligned=False)
            + (f"\n\n{tables.guidance_note(published)}" if config.advantage_start is None else "")
            + "\n"
        )

    def _score(self, name: str) -> tuple[str, str]:
        """Return mean with interval, and the score of each seed; or what diverged."""
        diverged = self.study.kept[name].get("diverged", "")
        found = self.study.scored(name)
        if diverged or found is None:
            return f"diverged ({diverged})" if diverged else "-", "-"
        _, group = found
        scores = group.values(group.steps()[-1])
        note = f" (diverged: {'; '.join(group.lost)})" if group.lost else ""
        mean = tables.interval(float(scores.mean()), [scores], stats.mean)
        return mean + note, " ".join(f"{score:.1f}" for score in scores)


class _Timed:
    """An engine after its first updates; times the next ones when asked."""

    def __init__(self, built: engine.Engine):
        self.engine, self.done = built, _AT_ONCE
        built.do(0, _AT_ONCE)

    def seconds(self, device: torch.device) -> float:
        """Return the seconds of one update."""
        synchronise(device)
        began = time.perf_counter()
        self.engine.do(self.done, _AT_ONCE)
        synchronise(device)
        self.done += _AT_ONCE
        return (time.perf_counter() - began) / _AT_ONCE
