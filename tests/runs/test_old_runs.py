"""Run folders and policy files that gtp_fast 0.1.0 left (tests/runs/old_runs) go on as they were.

Bits are compared where portable native code runs on x86-64 and PyTorch uses nothing beyond AVX2:
there they were made and seen again. Elsewhere sums are rounded in another order.
"""

from __future__ import annotations

import contextlib
import csv
import json
import platform
import runpy
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_environments  # noqa: F401 - it registers the environment of these runs
import numpy as np
import pytest
import safetensors.numpy
import torch
from on_arrays import limited_to

import gtp_fast
from gtp_fast.system import native

KEPT = Path(__file__).parent / "old_runs"
AGENTS = ("gtp", "iql")
LARGEST_ERROR = 2e-5
"""Of the largest number of an array, about four times what AVX2 or plain PyTorch differ by."""
MAY_DIFFER = {"last", "best_mean_score", "updates_per_second", "engine", "operations"}
"""What another machine says otherwise in summary.json."""
ACTING: dict[str, dict[str, Any]] = {
    "act_first": {},
    "act_last": {"seed_index": -1},
    "candidates": {"num_candidates": 4},
    "online": {"k": 2, "weights": "online"},
}
"""Arguments of `load` for actions of six observations."""


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the old files, whose dataset is found by its id."""
    monkeypatch.setenv("GTP_FAST_ISA", "portable")  # of child processes
    shutil.copytree(KEPT, tmp_path / "old")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "old" / "datasets"))
    with limited_to("portable") if native.available() else contextlib.nullcontext():
        yield tmp_path / "old"


def command(name: str, *words: str | Path) -> int:
    """Run `python -m gtp_fast.<name>` in this process; return its exit code."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # It says that the module has been imported before.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
        patch.setattr(sys, "argv", [name, *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(f"gtp_fast.{name}", run_name="__main__", alter_sys=True)
    return int(ended.value.code or 0)


def same_bits(old: Path) -> bool:
    """Say whether this machine promises the bits of the one that made the files."""
    portable = gtp_fast.load(old / "expected" / "gtp" / "policy.gtp").backend == "native portable"
    narrow = torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2")
    return portable and narrow and platform.machine() in ("x86_64", "AMD64")


def assert_kept(name: str, found: Any, kept: Any, exact: bool) -> None:
    """Assert that an array is what it was, to the bit or within LARGEST_ERROR of its largest."""
    found, kept = np.asarray(found), np.asarray(kept)
    assert (found.shape, found.dtype) == (kept.shape, kept.dtype), name
    if exact or kept.dtype.kind != "f":
        np.testing.assert_array_equal(found, kept, err_msg=name)
        return
    allowed = LARGEST_ERROR * float(np.nanmax(np.abs(kept), initial=0.0))
    np.testing.assert_allclose(found, kept, rtol=0, atol=allowed, err_msg=name)


def columns(path: Path) -> dict[str, list[float]]:
    """Return the columns of a metrics table, nan where a row has nothing."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or "nan") for row in rows] for name in rows[0]}


def cells(text: str) -> list[dict[str, str]]:
    """Return the rows of a Markdown table, each by the names of its columns."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    header, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.parametrize("agent", AGENTS)
def test_an_old_run_resumes_to_the_same_bits(old: Path, agent: str) -> None:
    run, kept, exact = old / agent, old / "expected" / agent, same_bits(old)
    assert command("train", "--resume", run, "--processes", "1", "--device", "cpu") == 0
    last = run / "checkpoints" / "step_000000040"
    state, old_state = (
        safetensors.numpy.load_file(folder / "state.safetensors") for folder in (last, kept)
    )
    assert state.keys() == old_state.keys()
    for name, tensor in old_state.items():
        assert_kept(name, state[name], tensor, exact)
    with np.load(run / "evaluations.npz") as episodes, np.load(kept / "evaluations.npz") as wanted:
        for name in wanted:
            assert_kept(name, episodes[name], wanted[name], exact)
    table = columns(run / "metrics.csv")
    for name, column in columns(kept / "metrics.csv").items():
        assert_kept(name, table[name], column, exact)
    summary, before = (json.loads((of / "summary.json").read_text()) for of in (run, kept))
    assert before.keys() <= summary.keys()
    for figure, values in before["last"].items():
        assert_kept(figure, summary["last"][figure], values, exact)
    for fact in set(before) - MAY_DIFFER:
        assert summary[fact] == before[fact], fact


@pytest.mark.parametrize("agent", AGENTS)
def test_an_old_run_is_evaluated_to_the_same_returns(old: Path, agent: str) -> None:
    kept = json.loads((old / "expected" / agent / "evaluated.json").read_text())
    for name, episodes in kept.items():
        # Four actions of a mean are one.
        candidates = "1" if agent == "iql" else "4"
        changed = ("--num-candidates", candidates, "--seed", "1", "--weights", "online")
        options = changed if name == "candidates" else ()
        assert command("evaluate", old / agent, "--processes", "0", *options) == 0
        (written,) = (old / agent / "evaluations").iterdir()
        found = json.loads(written.read_text())
        assert found["step"] == 20
        for figure, values in episodes.items():
            assert_kept(figure, found["per_episode"][figure], values, same_bits(old))
        written.unlink()


@pytest.mark.parametrize("agent", AGENTS)
def test_an_old_run_and_its_policy_file_act_with_the_same_bits(old: Path, agent: str) -> None:
    run, expected, exact = old / agent, old / "expected" / agent, same_bits(old)
    with np.load(expected / "actions.npz") as file:
        kept = dict(file)
    seen = kept.pop("observations")
    exported = gtp_fast.load(expected / "policy.gtp")
    assert_kept("exported", exported.act(seen, seed=11, step=2), kept.pop("exported"), exact)
    single = gtp_fast.load(run / "checkpoints" / "step_000000020")
    assert_kept("single", single.act(seen[0], seed=11, step=3), kept.pop("single"), exact)
    assert {"act_first", "act_last"} <= kept.keys()
    for name, actions in kept.items():
        policy = gtp_fast.load(run, **ACTING[name])
        assert_kept(name, policy.act(seen, seed=11, step=2), actions, exact)


@pytest.mark.parametrize("agent", AGENTS)
def test_an_old_run_is_exported_as_it_was(old: Path, agent: str) -> None:
    words = ("--formats", "cpp", "--seed-index", "-1")
    assert command("export", old / agent, old / "files", *words) == 0
    with np.load(old / "expected" / agent / "actions.npz") as kept:
        found = gtp_fast.load(old / "files" / "policy.gtp")
        actions = found.act(kept["observations"], seed=11, step=2)
        assert_kept("exported", actions, kept["exported"], same_bits(old))


def test_old_runs_are_reported_as_they_were(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for agent in AGENTS:
        for file in ("metrics.csv", "evaluations.npz", "summary.json"):
            shutil.copy(old / "expected" / agent / file, old / agent)
    assert command("report", *(old / agent for agent in AGENTS)) == 0
    found, kept = cells(capsys.readouterr().out), cells((old / "expected/report.md").read_text())
    found = [{name: row[name] for name in kept[0]} for row in found]
    parts = [row for row in found if row["agent"].startswith("gtp")]
    assert [row for row in found if row not in parts] == kept[2:]
    # The seeds of gtp have etas of their own, so that each is a row now. Before they were one, from
    # the lower score to the higher one.
    assert [row["agent"] for row in parts] == ["gtp (eta=0.5)"] * 2 + ["gtp (eta=2)"] * 2
    own = {"agent", "seeds", "mean [95 %]", "IQM [95 %]"}
    for row, whole in zip(kept[:2], (parts[0::2], parts[1::2]), strict=True):
        assert all(row[name] == one[name] for one in whole for name in row.keys() - own)
        for name in ("mean [95 %]", "IQM [95 %]"):
            ends = ", ".join(sorted(one[name] for one in whole))
            assert row[name].endswith(f" [{ends}]")
