"""Loading, acting, evaluating and exporting do not depend on PyTorch's default type and device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium", reason="a run's data package needs gymnasium")

import fake_environments
from fake_policies import KEYS
from fake_runs import BATCH, OBSERVATION, make_run
from torch_defaults import other_defaults

from gtp_fast import export, policy
from gtp_fast.evaluation.evaluator import Evaluator
from gtp_fast.evaluation.record import Evaluation
from gtp_fast.policy.restore import restore
from gtp_fast.reference.off_policy import held_out
from gtp_fast.runs import Run

SMALL = {"width": 8, "depth": 2}


def actions(actor: policy.Policy) -> list[Any]:
    given = OBSERVATION, BATCH, torch.tensor(BATCH, device="cpu")
    return [np.asarray(actor.act(x, seed=4)) for x in given]


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize(
    ("agent", "settings"),
    [("gtp", SMALL | {"k": 3}), ("diffusion-ql", SMALL | {"num_candidates": 4}), ("bc", SMALL)],
)
def test_other_defaults_of_pytorch_change_no_action(
    tmp_path: Path, agent: str, settings: dict[str, Any], backend: str
) -> None:
    run = make_run(tmp_path / "run", agent=agent, agent_settings=settings)
    before = policy.load(run, backend=backend)
    wanted = actions(before)
    with other_defaults():
        found = [actions(before), actions(policy.load(run, backend=backend))]
    for some in found:
        for given, known in zip(some, wanted, strict=True):
            assert given.dtype == np.float32 and np.array_equal(given, known)


def test_other_defaults_of_pytorch_change_no_export(tmp_path: Path) -> None:
    run, names = make_run(tmp_path / "run"), ("cpp", "pt2")
    export.export(run.path, tmp_path / "one", formats=names)
    with other_defaults():
        made = export.export(run.path, tmp_path / "other", formats=names)
    assert made.differences["cpp"].acted == 0.0
    files = [(tmp_path / name / "policy.gtp").read_bytes() for name in ("one", "other")]
    assert files[0] == files[1]


def evaluated(run: Run) -> Evaluation:
    options = {"processes": 0, "environments": 2}
    agent = restore(run.path).agent
    with Evaluator(fake_environments.spec(), KEYS, (4, 7), 2, **options) as evaluator:
        return evaluator.evaluate(agent.acting().sampler)


def test_other_defaults_of_pytorch_change_no_evaluation(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    wanted, out = evaluated(run), held_out(20, 0.3)
    with other_defaults():
        found, out_again = evaluated(run), held_out(20, 0.3)
    assert np.array_equal(found.returns, wanted.returns) and torch.equal(out_again, out)
