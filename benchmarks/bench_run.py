"""What a run costs beyond its updates: start, log, checkpoints, memory.

And seeds in processes against seeds in threads.

"""

from __future__ import annotations

import csv
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("gymnasium", reason="runs need gymnasium, which is not installed")

from benchmarks import ROOT, memory
from benchmarks.bench_update import CONFIG, table
from benchmarks.stage import Stage
from benchmarks.workload import EAGER, OURS, Results, Row, Subject, Unavailable, Workload, in_turns
from gtp_fast import agents, collect, data, engine, runs, tasks
from gtp_fast.agents.base import Agent
from gtp_fast.agents.setup import Setup
from gtp_fast.data import cache
from gtp_fast.training.options import NO_ENVIRONMENT
from gtp_fast.training.trainer import Trainer

TASK = "pointmaze-demo"
# Enough for what a run does once, at its start and end, to be little of it.
UPDATES, LOG_EVERY = 2000, 500
ALONE, THREADS = Row("updates alone", "rival"), Row("threads of one process", "rival")
_BACKENDS = {EAGER: "reference"}
_PARTS = (
    "peak {peak}; packages {packages}, with the table while it is loaded {loading}; "
    "of the rest: table {table}, state with gradients {state}"
)


def demo_config() -> Any:
    """Return GTP's settings on the demo's task, whose networks are small."""
    return agents.defaults("gtp", tasks.find(TASK))[1]


def build(
    config: Any, seeds: int, device: torch.device, backend: str, dtype: torch.dtype = torch.float32
) -> Agent:
    """Return an agent of the benchmark's table, ready for three updates."""
    shape = (table().observation_dim, table().action_dim)
    agent = agents.find("gtp")(config, Setup(*shape, range(seeds), device, backend, dtype))
    agent.prepare(3)
    return agent


def learnt(agent: Agent) -> Results:
    """Return what three updates from the start change."""
    names = ("actor.online", "critic.online")
    return {name: agent.state_dict()[name].clone() for name in names}


def exactly(config: Any, seeds: int, device: torch.device) -> Results:
    """Return what three updates on a device change, by the reference in float64."""
    agent, resident = build(config, seeds, device, "reference", torch.float64), table().to(device)
    for step in range(3):
        agent.update(resident, step)
    return learnt(agent)


class FirstUpdate(Workload):
    """The command as users give it, with a cached table, until its first update is logged."""

    def __init__(self, seeds: int, root: Path, device: torch.device):
        self.root, self.seeds, self.device = root, [str(seed) for seed in range(seeds)], device
        self.group = f"from command to first update, {seeds} seed{'s' * (seeds > 1)}"
        self.data = collect.collect(TASK, 1500, output=root, progress=False).path
        self.facts = {"seeds": seeds, "target": "at most 5 s on a CPU"}

    def exact(self) -> Results:
        """Do the update with the reference in float64."""
        loaded, config = data.load_table(TASK, self.data, use_cache=False), demo_config()
        shape = (loaded.observation_dim, loaded.action_dim)
        own = (range(len(self.seeds)), "cpu", "reference", torch.float64)
        agent = agents.find("gtp")(config, Setup(*shape, *own))
        agent.prepare(UPDATES)
        metrics = agent.update(loaded, 0)
        return {name: metrics[i] for i, name in enumerate(agent.loss_names)}

    def build(self, row: Row) -> Subject:
        """Start the command with the reference's operations, or as it is."""
        options = ["--task", TASK, "--dataset", str(self.data), "--seeds", *self.seeds]
        options += ["--log-every", "1", "--steps", str(UPDATES), "--device", self.device.type]
        options += ["--backend", _BACKENDS.get(row, "auto")]
        began = time.perf_counter()
        # Else the table that another row has cached would lie ready for our first start.
        cache = self.root / "caches" / f"{row.name}, {len(self.seeds)}"
        results = self._start(options, cache)
        note = f"{time.perf_counter() - began:.2f} s at the very first start" * (row == OURS)
        return Subject(functools.partial(self._start, options, cache), results, note)

    def _start(self, options: list[str], cache: Path) -> Results:
        output = Path(tempfile.mkdtemp(dir=self.root))
        command = [sys.executable, "-m", "gtp_fast.train", *options, "--output", str(output)]
        environment = os.environ | {"GTP_FAST_CACHE": str(cache)}
        # Into a file: nobody reads a pipe while the run goes on.
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
            try:
                while not (rows := self._logged(output)):
                    if process.poll() is not None:
                        said.seek(0)
                        raise AssertionError(said.read().decode()[-1000:])
                    time.sleep(0.002)
            finally:
                process.kill()
                process.wait()
        names = [name for name in rows[0] if name.endswith("_loss")]
        return {name: torch.tensor([float(row[name]) for row in rows]) for name in names}

    def _logged(self, output: Path) -> list[dict[str, str]]:
        """Return the rows of the first update, one a seed, once they are there."""
        texts = [path.read_text() for path in output.glob("*/metrics.csv")]
        if not texts or texts[0].count("\n") <= len(self.seeds):
            return []
        return list(csv.DictReader(texts[0].splitlines()))[: len(self.seeds)]


class Bookkeeping(Workload):
    """A run of the demo's small networks, which its log and checkpoints burden most."""

    plain = ALONE

    def __init__(self, root: Path, device: torch.device):
        self.root, self.device = root, device
        self.group = (
            f"{UPDATES:,} updates with {UPDATES // LOG_EVERY} rows of the log and a checkpoint"
        )
        self.facts = {
            "width": demo_config().width,
            "log_every": LOG_EVERY,
            "checkpoint_every": UPDATES,
        }

    def exact(self) -> Results:
        """Do three updates with the reference in float64."""
        return exactly(demo_config(), 1, self.device)

    def build(self, row: Row) -> Subject:
        """Take the engine's loop alone, or all that training does around it."""
        chosen = engine.choose("auto", "auto", self.device)
        agent = build(demo_config(), 1, self.device, chosen.backend)
        resident = table().to(self.device)
        if row == ALONE:
            runner = engine.build(chosen, agent, resident, engine.Watch(agent))
            runner.do(0, 3)
            note = "the engine's loop; ours vs it is to be 0.98x at least"
            return Subject(functools.partial(runner.do, 3, UPDATES), learnt(agent), note)

        def train(steps: int) -> None:
            run = runs.create(self.root, TASK, "gtp")
            run.write_config(
                {
                    "task": TASK, "agent": "gtp", "agent_settings": agent.settings, "steps": steps,
                    "episodes": 1, "evaluate_every": 0, "dataset": None,
                    "evaluation": {"environment": None, "reason": NO_ENVIRONMENT},
                    **self.facts,
                }
            )  # fmt: skip
            Trainer.held(run, agent, resident, chosen, start=0).train()

        train(3)
        return Subject(functools.partial(train, UPDATES), learnt(agent))


class Seeds(Workload):
    """Pieces of updates of two seeds: threads that share them, or a process each."""

    def __init__(self, name: str, device: torch.device):
        self.device = device
        # Pieces of about a quarter of a second, as a run has them.
        cases = {"width 256": (CONFIG, 8), "the demo's networks": (demo_config(), 100)}
        self.config, self.count = cases[name]
        self.group = f"{self.count} updates of 2 seeds, {name}"
        self.facts = {"seeds": 2, "width": self.config.width, "K": self.config.k}

    def exact(self) -> Results:
        """Do three updates with the reference in float64."""
        return exactly(self.config, 2, self.device)

    def build(self, row: Row) -> Subject:
        """Take one process with the reference's operations or ours, or several."""
        processes = None if row == OURS else 1
        backend = _BACKENDS.get(row, "auto")
        chosen = engine.choose("auto", backend, self.device, 2, processes)
        if row == OURS and chosen.sharing.count == 1:
            raise Unavailable(chosen.sharing.reason or "one process is all that pays here")
        agent = build(self.config, 2, self.device, chosen.backend)
        runner = engine.build(chosen, agent, table().to(self.device), engine.Watch(agent))
        runner.do(0, 3)
        runner.settle()
        note = chosen.sharing.describe() if row == OURS else ""
        return Subject(functools.partial(runner.do, 7, self.count), learnt(agent), note)


class Memory(Workload):
    """The peak of a process that loads a million transitions from the cache and trains five
    seeds.
    """

    TRANSITIONS = 1_000_000

    def __init__(self, root: Path, device: torch.device):
        self.device, self.path = device, root / "table.safetensors"
        self.group = f"start and {memory.UPDATES} updates of {memory.SEEDS} seeds, 1M transitions"
        self.facts = {"seeds": memory.SEEDS, "target": "peak memory is stated"}
        cache.store(table(self.TRANSITIONS), [self.path])

    def exact(self) -> Results:
        """Do the updates with the reference in float64."""
        losses, _ = memory.trained(table(self.TRANSITIONS), "reference", torch.float64)
        return {"losses": losses}

    def build(self, row: Row) -> Subject:
        """Start a process with the reference's operations or ours."""
        facts = self._start(row)
        losses = torch.tensor(facts.pop("losses"))
        sizes = {name: f"{size / 1e6:,.0f} MB" for name, size in facts.items()}
        return Subject(
            functools.partial(self._start, row), {"losses": losses}, _PARTS.format(**sizes)
        )

    def _start(self, row: Row) -> dict[str, Any]:
        options = [str(self.path), _BACKENDS.get(row, "auto"), self.device.type]
        command = [sys.executable, "-m", "benchmarks.memory", *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return facts


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


first_update, bookkeeping = functools.cache(FirstUpdate), functools.cache(Bookkeeping)
seeds, peak = functools.cache(Seeds), functools.cache(Memory)


@in_turns((1, 2), (EAGER, OURS))
def test_first_update(
    benchmark: Any, stage: Stage, root: Path, case: int, turn: int, row: Row
) -> None:
    pytest.importorskip("gymnasium_robotics", reason="the task needs gymnasium-robotics")
    stage.measure(benchmark, first_update(case, root, stage.device), row)


@in_turns(("run",), (ALONE, OURS))
def test_bookkeeping(
    benchmark: Any, stage: Stage, root: Path, case: str, turn: int, row: Row
) -> None:
    stage.measure(benchmark, bookkeeping(root, stage.device), row)


@in_turns(("width 256", "the demo's networks"), (EAGER, THREADS, OURS))
def test_seeds(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, seeds(case, stage.device), row)


@in_turns(("memory",), (EAGER, OURS))
def test_memory(benchmark: Any, stage: Stage, root: Path, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, peak(root, stage.device), row)
