"""Try an installed package, in an empty folder: its files, then train, evaluate, export, act."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np

import gtp_fast
from gtp_fast.system import native

CHECKOUT = Path(__file__).resolve().parents[1]


def check_files() -> None:
    """Compare what was installed with the checkout: nothing may be left out or lie beside."""
    names = {str(path) for path in importlib.metadata.files("gtp_fast") or ()}
    tops = {name.split("/")[0] for name in names if not name.startswith("..")}
    extra = {top for top in tops if top != "gtp_fast" and not top.startswith("gtp_fast-")}
    assert extra <= {"gtp_fast.libs"}, extra
    listed = ["git", "-C", str(CHECKOUT), "ls-files", "gtp_fast", "kernels"]
    tracked = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()
    places = {name if name.startswith("gtp_fast/") else f"gtp_fast/{name}" for name in tracked}
    assert places <= names, sorted(places - names)
    assert any(name.endswith("/LICENSE") for name in names)


def main() -> None:
    check_files()
    here = Path.cwd()
    assert here not in Path(gtp_fast.__file__).parents, "run it outside the checkout"
    module = native.module()
    assert (module.cuda, module.cuda_reason) == (False, "built with GTP_FAST_CUDA=off")
    environment = gymnasium.make("Pendulum-v1")
    rows = 2_000
    draw = np.random.default_rng(0)
    arrays = {
        "observations": draw.standard_normal((rows, 3)),
        "actions": draw.uniform(-2, 2, (rows, 1)),
        "rewards": draw.standard_normal(rows),
        "timeouts": np.arange(rows) % 200 == 199,
    }
    np.savez("data.npz", **arrays)
    run = gtp_fast.fit(
        "data.npz", env="Pendulum-v1", steps=30, width=32, batch_size=32, seeds=(0, 1), episodes=1
    )
    returns = run.evaluate(episodes=1).returns
    assert returns.shape == (2, 1) and np.isfinite(returns).all()
    observation, _ = environment.reset(seed=0)
    action = run.policy().act(observation, seed=7, step=0)
    command = [
        sys.executable,
        "-m",
        "gtp_fast",
        "export",
        str(run.path),
        "robot",
        "--formats",
        "cpp",
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    exported = gtp_fast.load("robot/policy.gtp").act(observation, seed=7, step=0)
    assert np.array_equal(action, exported) and abs(action) <= 2.0
    print("trained, evaluated, exported and acted with", gtp_fast.__file__)


if __name__ == "__main__":
    main()
