"""Try an installed package, in an empty folder: train, evaluate, export, act."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np

import gtp_fast
from gtp_fast.system import native


def main() -> None:
    here = Path.cwd()
    assert here not in Path(gtp_fast.__file__).parents, "run it outside the checkout"
    native.module()
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
