"""Training that is killed: no finished checkpoint is lost, and the run goes on to the same bits.

`python tests/faults/kills.py COUNT SEED [PROCESSES]` kills that many runs, by default half in one
process and half in two. Half of them die at a file operation, each of which has its turn, half at a
random time, and of the latter in two processes a half loses one that trains. It prints a table.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1] / room) for room in ("support", "faults")]

import numpy as np
import sets
import torch
from forks import child, counted, ended, workers
from totals import Total, failures, listed, show

import gtp_fast
from gtp_fast.errors import UserError
from gtp_fast.runs import checkpoint

_OPTIONS: dict[str, Any] = {
    "env": "none", "width": 8, "k": 2, "batch_size": 8, "log_every": 3, "checkpoint_every": 4,
    "device": "cpu", "steps": 60,
}  # fmt: skip


class Finished(gtp_fast.Callback):
    """Tells the parent of each checkpoint once it is saved."""

    def __init__(self, pipe: int):
        self.pipe = pipe

    def on_checkpoint(self, step: int, path: Path) -> None:
        os.write(self.pipe, bytes([step]))


class Counting(gtp_fast.Callback):
    """Tells the parent the file operations before the first checkpoint and the end.

    And the milliseconds between the two.
    """

    def __init__(self, pipe: int, count: list[int]):
        self.pipe, self.count, self.saved = pipe, count, False

    def on_checkpoint(self, step: int, path: Path) -> None:
        if not self.saved:
            os.write(self.pipe, self.count[0].to_bytes(4, "little"))
            self.began = time.monotonic()
        self.saved = True

    def on_end(self, step: int) -> None:
        for number in (self.count[0], round(1000 * (time.monotonic() - self.began))):
            os.write(self.pipe, number.to_bytes(4, "little"))


class Campaign:
    """Runs below a folder, each killed once and then taken to its end."""

    def __init__(self, folder: Path, processes: int):
        self.folder, self.options = folder, _OPTIONS | {"processes": processes}
        self.options |= {"seeds": tuple(range(processes))}
        np.savez(folder / "x.npz", **sets.flat(steps=40))
        self.whole = self._last(self._trained(folder / "whole"))
        said, _ = ended(*child(self._count))
        self.first, self.operations, milliseconds = (
            int.from_bytes(said[i : i + 4], "little") for i in (0, 4, 8)
        )
        self.seconds = milliseconds / 1000

    def _count(self, pipe: int) -> None:
        options = self.options | {"output": self.folder / "counted"}
        callbacks = [Counting(pipe, counted())]
        gtp_fast.fit(self.folder / "x.npz", callbacks=callbacks, **options)

    def _trained(self, output: Path, resume: Path | None = None) -> Path:
        def work(pipe: int) -> None:
            given = {"resume": resume} if resume else self.options | {"output": output}
            dataset = None if resume else self.folder / "x.npz"
            gtp_fast.fit(dataset, callbacks=[Finished(pipe)], **given)

        _, status = ended(*child(work))
        assert status == 0, "the run fails without a kill"
        return next(output.iterdir())

    def _last(self, run: Path) -> dict[str, torch.Tensor]:
        return checkpoint.load(run).tensors

    def trial(
        self, number: int, operation: int | None, wait: float, worker: bool = False
    ) -> str:  # fmt: skip
        """Kill one run, or a process of it, at a file operation or after its first checkpoint.

        wait: seconds after that checkpoint. Returns what came of it.
        """
        output = self.folder / f"run{number}"

        def work(pipe: int) -> None:
            if operation is not None:
                counted(kill_at=operation)
            options = self.options | {"output": output}
            gtp_fast.fit(self.folder / "x.npz", callbacks=[Finished(pipe)], **options)

        process, reader = child(work)
        early = b""
        if operation is None:
            early = os.read(reader, 1)
            time.sleep(wait)
            for victim in workers(process)[:1] if worker else [process]:
                os.kill(victim, signal.SIGKILL)
        said, status = ended(process, reader)
        if status == 0:
            return "over before the kill"
        found = self._judged(output, max(early + said, default=0))
        shutil.rmtree(output, ignore_errors=True)
        return found

    def _judged(self, output: Path, finished: int) -> str:
        """Return what became of a killed run of which a checkpoint was finished."""
        runs = list(output.iterdir()) if output.exists() else []
        last = checkpoint.last(runs[0]) if runs else None
        if last is None:
            return "no checkpoint yet" if finished == 0 else "LOST"
        try:
            if checkpoint.load(last).step < finished:
                return "LOST"
            end = self._last(self._trained(output, resume=runs[0]))
        except (UserError, AssertionError) as error:
            return f"FAILED: {str(error)[:60]}"
        same = all(torch.equal(end[name], self.whole[name]) for name in self.whole)
        return "went on to the same bits" if same else "OTHER BITS"


def main(count: int, seed: int, *several: int) -> list[Total]:
    """Print one row for each number of processes; return what was found."""
    torch.set_num_threads(1)
    totals = []
    numbers = several or (1, 2)
    share = count // len(numbers)
    print("| processes | kills | outcome |\n|---:|---:|---|")
    for processes in numbers:
        draw, found = random.Random(seed), Counter[str]()
        with tempfile.TemporaryDirectory() as folder:
            os.environ["GTP_FAST_CACHE"] = f"{folder}/cache"
            campaign = Campaign(Path(folder), processes)
            for number in range(share):
                # From the middle of the first checkpoint on each operation has its turn.
                begin = campaign.first - 20
                turn = begin + 37 * (number // 2) % (campaign.operations - begin)
                wait = draw.uniform(0.0, campaign.seconds)
                worker = processes == 2 and number % 4 == 1
                at = None if number % 2 else turn
                found[campaign.trial(number, at, wait, worker)] += 1
        print(f"| {processes} | {share:,} | {listed(found)} |", flush=True)
        where = f"{processes} process{'es' * (processes > 1)}"
        totals.append(Total(f"kills of training in {where}", share, failures(found), seed))
    return totals


if __name__ == "__main__":
    sys.exit(show(main(*map(int, sys.argv[1:]))))
