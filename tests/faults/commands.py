"""Commands that are killed: what they leave is whole, and the same command then ends as ever.

`python tests/faults/commands.py COUNT SEED` kills each command COUNT times a share, half at a file
operation, half at a random time, and one of its processes where it has several; it prints a table.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1] / room) for room in ("support", "faults")]

import h5py
import numpy as np
import torch
from forks import all_end, child, counted, ended, workers
from totals import Total, failures, listed, show

from gtp_fast import cli, collect
from gtp_fast.__main__ import main as gtp_fast_main
from gtp_fast.data import minari
from gtp_fast.runs import Run, checkpoint
from gtp_fast.tasks import find

_SMALL = ["--width", "8", "--device", "cpu", "--episodes", "1", "--seeds", "0", "1"]
_HALF_MADE = ("*.tmp", "*.part", "*.old", ".gtp_fast_*")


class Command(NamedTuple):
    """A command line for an output folder, and a digest of what it left there, None for nothing."""

    name: str
    line: Callable[[Path], list[str]]
    left: Callable[[Path], str | None]
    share: float = 1.0
    """How many kills it gets of those of a fast command."""
    workers: bool = False


class Started(NamedTuple):
    """How a command went: what it left, its file operations, its seconds."""

    left: str | None
    operations: int
    seconds: float


def all_commands(folder: Path) -> list[Command]:
    """Return the commands, on a dataset and a run that are made below the folder."""
    draw = np.random.default_rng(0)
    flat = folder / "x.npz"
    np.savez(
        flat, observations=draw.normal(size=(40, 3)), rewards=np.ones(40), terminals=np.eye(40)[39],
        actions=draw.uniform(-1, 1, (40, 1)).astype(np.float32),
    )  # fmt: skip
    train = ["train", "--dataset", str(flat), "--env", "Pendulum-v1", "--steps", "12", *_SMALL]
    train += ["--batch-size", "8", "--log-every", "3", "--checkpoint-every", "4"]
    assert run([*train, "--output", str(folder / "runs")]) == 0
    (trained,) = (folder / "runs").iterdir()
    maze = str(collect.collect("pointmaze-demo", 1500, output=folder / "sets", progress=False).path)
    gathering = ["collect", "pointmaze-demo", "--transitions", "100"]
    compare = ["compare", "--task", "pointmaze-demo", "--dataset", maze, "--agents", "bc", "iql"]
    compare += ["--steps", "6", "--timed-updates", "0", *_SMALL]
    evaluate = ["evaluate", "--processes"]
    return [
        Command("train", lambda out: [*train, "--output", str(_within(out))], _states, 0.4),
        Command("evaluate", lambda out: [*evaluate, "0", str(_within(out, trained))], _scores),
        Command(
            "evaluate in 2 processes",
            lambda out: [*evaluate, "2", str(_within(out, trained))], _scores, 0.2, True,
        ),
        Command("export", lambda out: _export(trained, out), _files),
        Command("collect", lambda out: [*gathering, "--output", str(_within(out))], _arrays),
        Command(
            "collect in 2 processes",
            lambda out: [*gathering, "--workers", "2", "--output", str(_within(out))],
            _arrays, 0.2, True,
        ),
        Command("compare", lambda out: [*compare, "--output", str(_within(out))], _states, 0.2),
    ]  # fmt: skip


def run(line: list[str]) -> int:
    """Run a command in this process; return its exit code."""
    return cli.run(gtp_fast_main, line)


def _export(trained: Path, out: Path) -> list[str]:
    return ["export", str(trained), str(_within(out) / "policy"), "--formats", "cpp", "--overwrite"]


def _within(out: Path, content: Path | None = None) -> Path:
    """Make an output folder, with the content of another, where there is none."""
    if not out.exists():
        shutil.copytree(content, out) if content else out.mkdir()
    return out


def _states(out: Path) -> str | None:
    """Return the last weights of every run that has ended, by agent."""
    found = {}
    for config in sorted(out.rglob("config.yaml")):
        last = checkpoint.last(config.parent)
        if last is not None and (config.parent / "summary.json").exists():
            agent = Run(config.parent).config()["agent"]
            found[agent] = hashlib.sha256((last / "state.safetensors").read_bytes()).hexdigest()
    return json.dumps(found) if found else None


def _scores(out: Path) -> str | None:
    """Return the scores of the evaluations that the run keeps."""
    found = [json.loads(path.read_text()) for path in out.glob("evaluations/*.json")]
    return json.dumps(found[0]["per_episode"]) if found else None


def _files(out: Path) -> str | None:
    folder = out / "policy"
    if not folder.exists():
        return None
    return " ".join(f"{path.name} {_digest(path)}" for path in sorted(folder.iterdir()))


def _arrays(out: Path) -> str | None:
    """Return the digest of all arrays of a collected dataset, None where it has no name yet."""
    folder = out / find("pointmaze-demo").local_dataset
    if not folder.exists():
        return None
    digest = hashlib.sha256(bytes(minari.metadata(folder)["total_steps"]))

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            digest.update(name.encode() + item[()].tobytes())

    with h5py.File(folder / "data" / "main_data.hdf5") as file:
        file.visititems(add)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def whole(command: Command, out: Path) -> Started:
    """Run a command to its end in a child; return how it went."""

    line = command.line(out)

    def work(pipe: int) -> int:
        count = counted()
        code = run(line)
        os.write(pipe, count[0].to_bytes(4, "little"))
        return code

    began = time.monotonic()
    said, status = ended(*child(work))
    assert status == 0, f"{command.name} fails without a kill"
    return Started(command.left(out), int.from_bytes(said, "little"), time.monotonic() - began)


def trial(
    command: Command, out: Path, sound: Started, by: int, operation: int | None, wait: float = 0.0,
    worker: bool = False,
) -> str:  # fmt: skip
    """Signal a command at a file operation, or it or its worker after some seconds.

    Returns what came of it.
    """
    said, line = out.with_suffix(".stderr"), command.line(out)

    def work(pipe: int) -> int:
        if operation is not None:
            counted(operation, by)
        return run(line)

    process, reader = child(work, said)
    victims, started = [process], list[int]()
    if operation is None:
        time.sleep(wait)
        started = workers(process)
        victims = started[:1] if worker else victims
        for one in victims:
            os.kill(one, by)
    status = os.waitstatus_to_exitcode(ended(process, reader)[1])
    if status == 0:
        return "over before the signal" if victims else "no worker yet"
    code = 2 if worker else -by if by == signal.SIGKILL else 128 + by
    if wrong := _unlike(code, status, out, said.read_text()):
        return wrong
    if not all_end(started):
        return "ORPHANED WORKERS"
    left = command.left(out)
    if left not in (None, sound.left) and command.left is not _states:
        return "HALF-MADE"
    if os.waitstatus_to_exitcode(ended(*child(lambda pipe: run(line), said))[1]) != 0:
        return f"FAILED: {said.read_text().strip().splitlines()[-1:]}"
    return "ended as ever" if command.left(out) == sound.left else "OTHER RESULT"


def _unlike(code: int, status: int, out: Path, said: str) -> str | None:
    """Return what a command that a signal ended lacks: its code, its sentence, a clean end."""
    last = said.strip().splitlines()[-1:]
    if status != code:
        return f"CODE {status} for {code}: {last}"
    if code < 0:
        return None
    sentence = "was ended" if code == 2 else "topped"
    if "Traceback" in said or sentence not in "".join(last):
        return f"UNSAID: {said[-2000:]!r}"
    left = [path.name for pattern in _HALF_MADE for path in out.rglob(pattern)]
    runs = [path.parent for path in out.rglob("config.yaml")]
    left += [one.name for one in runs if checkpoint.last(one) is None]
    return f"LEFT {left}" if left else None


def main(count: int, seed: int) -> list[Total]:
    """Print one row for each command; return what was found."""
    torch.set_num_threads(1)
    totals = []
    print("| command | kills | outcome |\n|---|---:|---|")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        os.environ["GTP_FAST_CACHE"] = f"{folder}/cache"
        for command in all_commands(folder):
            draw, found = random.Random(f"{seed} {command.name}"), Counter[str]()
            sound = whole(command, folder / "whole")
            kills = round(count * command.share)
            for number in range(kills):
                turn = 1 + 37 * (number // 2) % sound.operations
                wait = draw.uniform(0.0, sound.seconds)
                at = None if number % 2 else turn
                worker = command.workers and number % 4 == 1
                # A worker that ends late writes into the file of its own trial.
                killed = folder / f"killed{number}"
                came = trial(command, killed, sound, signal.SIGKILL, at, wait, worker)
                found[came] += 1
                shutil.rmtree(killed, ignore_errors=True)
            shutil.rmtree(folder / "whole", ignore_errors=True)
            print(f"| {command.name} | {kills:,} | {listed(found)} |", flush=True)
            totals.append(Total(f"kills of {command.name}", kills, failures(found), seed))
    return totals


if __name__ == "__main__":
    sys.exit(show(main(int(sys.argv[1]), int(sys.argv[2]))))
