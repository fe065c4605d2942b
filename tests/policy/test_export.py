"""Exported folders: whole or absent, and every file in them acts as the policy does."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import packed_policies
import pytest
import torch
from fake_runs import make_run
from folded import Form, Sizes
from tolerance import assert_as_accurate

import gtp_fast
from gtp_fast import cli, policy
from gtp_fast.errors import UserError
from gtp_fast.export import FORMATS, export, programs
from gtp_fast.export.__main__ import main
from gtp_fast.export.check import difference, trial
from gtp_fast.policy import file as packed
from gtp_fast.policy import restore
from gtp_fast.runs import Run
from gtp_fast.system import native

FILES = {
    "cpp": {"policy.gtp", "gtp_policy.hpp", "example.cpp"},
    "onnx": {"policy.onnx"},
    "pt2": {"policy.pt2"},
}
FORM = Form("gelu", clamp=True, carries=True, stochastic=True)
needs_onnx = pytest.mark.skipif(bool(programs.onnx_missing()), reason=programs.onnx_missing())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("export") / "run")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def no_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)


@needs_onnx
def test_every_format_is_written_checked_and_told(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    argv = [str(run), str(out), "--seed-index", "1", "--weights", "online", "--k", "2"]
    argv += ["--noise-scale", "0.5", "--act-by", "euler"]
    assert cli.run(main, argv) == 0
    assert names(out) == set().union(*FILES.values())
    said = capsys.readouterr().out
    assert "gtp on pointmaze-umaze, seed 7, update 60, online weights, K = 2 Euler steps: 3" in said
    assert all(f"\n{name} " in said for name in FORMATS)
    assert "same bits" in said and "The observation is state then goal" in said
    loaded = gtp_fast.load(out / "policy.gtp")
    ways = {"seed_index": 1, "k": 2, "weights": "online", "noise_scale": 0.5}
    wanted = policy.load(run, **ways, act_by="euler")
    observation = np.array([0.3, -0.7, 1.9], np.float32)
    assert np.array_equal(loaded.act(observation, seed=5), wanted.act(observation, seed=5))
    parts = {"state": observation[:2], "goal": observation[2:]}
    assert np.array_equal(loaded.act(parts, seed=5), wanted.act(observation, seed=5))
    jumps = policy.load(run, **ways)
    assert not np.array_equal(loaded.act(observation, seed=5), jumps.act(observation, seed=5))
    assert (loaded.act_by, jumps.act_by) == ("euler", "map")
    assert (loaded.k, loaded.task, loaded.keys) == (2, "pointmaze-umaze", ("state", "goal"))
    with pytest.raises(UserError, match="act_by are chosen when it is exported"):
        gtp_fast.load(out / "policy.gtp", act_by="euler")


@pytest.mark.parametrize(
    ("rule", "said"),
    [("softmax", "one of 50 candidates, by Q"), ("mean", "the mean of 50 candidates")],
)
def test_the_candidates_that_are_left_out_are_named(
    rule: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"eta": [1.0], "width": 8, "depth": 2, "num_candidates": 50, "candidate_rule": rule}
    run = make_run(tmp_path / "run", agent="consistency-ac", agent_settings=settings)
    assert policy.load(run).num_candidates == 50
    assert cli.run(main, [str(run), str(tmp_path / "out"), "--formats", "cpp"]) == 0
    assert said in capsys.readouterr().out
    assert packed.read(tmp_path / "out" / "policy.gtp").description["candidate_rule"] == rule
    assert policy.load(tmp_path / "out" / "policy.gtp").num_candidates == 1


@pytest.mark.parametrize("kind", ["pt2", pytest.param("onnx", marks=needs_onnx)])
def test_a_program_takes_any_batch_and_is_as_accurate_as_pytorch(kind: str, tmp_path: Path) -> None:
    content = packed_policies.make(Sizes(O=5, A=3, H=16, L=2, K=2), FORM)
    path = tmp_path / f"policy.{kind}"
    getattr(programs, f"save_{kind}")(content, path)
    whole = trial(content, policy.Policy(content))
    for rows in (1, 5, 256):
        observation, noise = whole.observation[:rows], whole.noise[..., :rows, :]
        actions = getattr(programs, f"run_{kind}")(path, observation, np.ascontiguousarray(noise))
        plain = programs.Program(content)(torch.from_numpy(observation), torch.from_numpy(noise))
        assert_as_accurate(f"{kind} B={rows}", actions, plain, whole.exact[:rows])
    assert noise.shape == (2, 256, 3)
    data = path.read_bytes()
    assert str(Path(programs.__file__).parent).encode() not in data and b"pkg.torch" not in data


def test_the_check_sees_a_wrong_policy(tmp_path: Path) -> None:
    content = packed_policies.make(Sizes(O=5, A=3, H=16, L=2, K=2))
    known = trial(content, policy.Policy(content))
    assert difference(known.acted, known).acted == 0
    assert difference(known.acted, known).exact <= known.drawn < 2e-5
    other = content._replace(policy=content.policy._replace(initial_scale=1.5001))
    moved = policy.Policy(other).act(known.observation, 0)
    assert difference(moved, known).exact > known.drawn


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_the_check_lets_a_policy_enlarge_what_its_noise_was_rounded_by(backend: str) -> None:
    # Clipped where its noise is large, it acts by draws near 0, which each form rounds otherwise.
    content = packed_policies.make(Sizes(O=5, A=3, H=16, L=2, K=2), unit=True)
    steep = content._replace(policy=content.policy._replace(initial_scale=100.0))
    known = trial(steep, policy.Policy(steep, backend=backend))
    assert difference(known.acted, known).exact <= known.drawn < 1e-3
    given = policy.Policy(steep)._sampler.sample(
        torch.from_numpy(known.observation)[None], torch.from_numpy(known.noise)[None]
    )
    assert difference(given[0].numpy(), known).exact <= known.allowed < 1e-5


def test_a_format_that_acts_otherwise_leaves_nothing_behind(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "run_pt2", lambda path, observation, noise: noise)
    with pytest.raises(UserError, match=r"policy.pt2 acts otherwise .* off by .* nothing was wri"):
        export(run, tmp_path / "out", formats=["cpp", "pt2"])
    assert not names(tmp_path)


def test_a_folder_is_replaced_only_if_asked_and_an_export(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(run, out, formats=["cpp"])
    before = (out / "policy.gtp").read_bytes()
    with pytest.raises(UserError, match=r"out exists already: .* --overwrite"):
        export(run, out, formats=["cpp"], k=1)
    assert (out / "policy.gtp").read_bytes() == before
    export(run, out, formats=["cpp"], k=1, overwrite=True)
    assert policy.load(out / "policy.gtp").k == 1
    (out / "mine.txt").write_text("precious")
    (out / "example").write_text("built as docs/export.md says")
    with pytest.raises(UserError, match=r"out holds example, mine\.txt, which are no export's"):
        export(run, out, overwrite=True)
    (out / "example").unlink()
    assert names(out) == FILES["cpp"] | {"mine.txt"}
    assert names(tmp_path) == {"out"}


def test_a_failed_replacement_keeps_the_earlier_export(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export(run, out, formats=["cpp"])

    def full(content: Any, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(programs, "save_pt2", full)
    with pytest.raises(UserError, match=r"out could not be written \(No space left on device\)"):
        export(run, out, formats=["pt2"], overwrite=True)
    assert names(out) == FILES["cpp"] and names(tmp_path) == {"out"}


def test_a_policy_that_is_not_finite_is_not_exported(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = restore.pack(*restore.restore(run), 0, None, None)
    content.policy.last_bias[0, 0] = float("nan")
    monkeypatch.setattr(restore, "pack", lambda *_: content)
    with pytest.raises(UserError, match="NaN or infinite numbers: export another checkpoint"):
        export(run, tmp_path / "out", formats=["pt2"])
    assert not names(tmp_path)


def test_an_unwritable_place_is_one_sentence(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert cli.run(main, [str(run), str(tmp_path / "file" / "out")]) == 2
    assert "file/out could not be written (" in capsys.readouterr().err


@pytest.mark.usefixtures("no_onnx")
def test_onnx_without_its_packages(
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    why = "ONNX needs the package onnx: pip install 'gtp_fast[export]'"
    for given in (["cpp", "onnx"], ["cpp,onnx"]):
        assert cli.run(main, [str(run), str(out), "--formats", *given]) == 2
        assert capsys.readouterr().err == f"gtp_fast: {why}.\n"
    assert not out.exists()
    monkeypatch.setattr("gtp_fast.export.FORMATS", ("cpp", "onnx"))
    assert cli.run(main, [str(run), str(out)]) == 0
    assert capsys.readouterr().out.count(why) == 1
    assert names(out) == FILES["cpp"]


def test_an_unknown_format_is_named(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Unknown format 'tflite': choose among cpp, onnx, pt2"):
        export(run, tmp_path / "out", formats=["tflite"])


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.skipif(
    not native.available() or native.module().isa() == "portable",
    reason="needs the native sampler and fused multiply-add",
)
def test_the_example_builds_with_its_first_line_and_has_the_bits_of_python(
    run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(run, out, formats=["cpp"])
    line = (out / "example.cpp").read_text().splitlines()[0].removeprefix("// ")
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    assert line in page
    assert shlex.split(line)[0] == "g++"
    done = subprocess.run(line, shell=True, cwd=out, capture_output=True, text=True, check=True)
    found = np.array([row.split() for row in done.stdout.splitlines()], np.float32)
    loaded = policy.load(run)
    observations = [0.125 * ((np.arange(3) + step) % 7) for step in range(3)]
    wanted = [loaded.act(row, seed=7, step=step) for step, row in enumerate(observations)]
    assert np.array_equal(found.view(np.uint32), np.stack(wanted).view(np.uint32))
    missing = subprocess.run(
        ["./example", "none.gtp"], cwd=out, capture_output=True, text=True, check=False
    )
    assert (missing.returncode, missing.stderr) == (1, "none.gtp cannot be opened\n")
