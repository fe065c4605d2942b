"""What a run says of a divergence: the quantity that broke first, and what may mend it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sets

import gtp_fast
from gtp_fast import evaluate, reference
from gtp_fast.engine import cause
from gtp_fast.errors import UserError
from gtp_fast.training.callbacks import Callback

OPTIONS: dict[str, Any] = {
    "width": 8, "batch_size": 8, "log_every": 5, "device": "cpu", "processes": 1, "steps": 40,
    "env": "none", "evaluate_every": 0,
}  # fmt: skip
CRITIC = r"critic is at fault, not the actor: .*--discount below {:g} .*--critic-learning-rate"
ACTOR = r"a lower --learning-rate, or with --max-gradient-norm 1\.$"
DATA = r"look at the data \(rewards from .* observations from"


@pytest.mark.parametrize(
    ("options", "rewards", "observations", "said"),
    [
        ({"critic_learning_rate": 1e30}, 1, 1, "the critic's Q .* update 0: .*" + CRITIC),
        ({"critic_learning_rate": 1e8}, 1, 1, "critic_loss .* update 1: .*" + CRITIC),
        ({"discount": 1.0, "eta": 0.5}, 3e17, 1, "the critic's Q .*" + CRITIC),
        ({"eta": 0.5}, 1e30, 1, "^critic_loss .* update 0: .*" + DATA),
        ({"learning_rate": 1e18}, 1, 1, "^consistency_loss .* update 1: .*" + ACTOR),
        ({}, 1, 1e30, "^consistency_loss .* update 0: .*" + DATA),
        ({"eta": 1e3, "weight_maximum": None}, 1, 1, "^a weight w .*--weight-maximum .*--eta"),
        (
            {"objective": "linear-q", "critic_learning_rate": 1e30}, 1, 1,
            "the critic's Q .* update 0: .*" + CRITIC,
        ),
        ({"agent": "bc", "learning_rate": 1e30}, 1, 1, "^cloning_loss .*" + ACTOR),
        ({"agent": "fql", "learning_rate": 1e30}, 1, 1, "^an action of the policy .*" + ACTOR),
        ({"agent": "fql", "critic_learning_rate": 1e30}, 1, 1, "^critic_loss .*" + CRITIC),
        (
            {"agent": "iql", "critic_learning_rate": 1e30}, 1, 1,
            "^the critic's V .* update 0: .*" + CRITIC,
        ),
        (
            {"agent": "iql", "critic_learning_rate": 1e8}, 1, 1,
            "^the critic's V .* update 0: .*" + CRITIC,
        ),
        ({"agent": "iql"}, 1e30, 1, "^critic_loss .* update 0: .*" + DATA),
        ({"agent": "diffusion-ql", "critic_learning_rate": 1e30}, 1, 1, "^the critic's Q"),
        # Its critic learns from update 12 on.
        (
            {"agent": "qipo-ot", "critic_learning_rate": 1e30}, 1, 1,
            "^critic_loss .* update 13: .*" + CRITIC,
        ),
    ],
)  # fmt: skip
def test_a_divergence_names_its_first_cause_and_a_mend_that_fits(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    rewards: float,
    observations: float,
    said: str,
) -> None:
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "cache"))
    arrays = sets.flat(steps=40, width=2)
    arrays["rewards"] = arrays["rewards"] * np.float64(rewards) + (rewards > 1) * rewards
    arrays["observations"] = arrays["observations"] * np.float32(observations)
    with pytest.raises(UserError, match=said.format(options.get("discount", 0.99))):
        gtp_fast.fit(arrays, output=tmp_path, **OPTIONS | options)


def test_a_single_far_observation_is_named_instead_of_a_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "cache"))
    arrays = sets.flat(steps=400, width=2)
    arrays["observations"][123, 1] = -1e30
    said = r"diverged at update [1-9].*; observation 1 is -1e\+30 in step 115 of episode 2, .*mend"
    with pytest.raises(UserError, match=said) as caught:
        gtp_fast.fit(arrays, output=tmp_path, **OPTIONS | {"agent": "bc", "hold_out": 0.3})
    assert "--learning-rate" not in str(caught.value)


def test_an_observation_that_no_update_has_seen_is_not_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "cache"))
    arrays = sets.flat(steps=40, width=2)
    kept = reference.held_out(3, 0.3)
    arrays["observations"][np.repeat(kept.numpy(), (4, 4, 32))] = 1e30
    options = OPTIONS | {"agent": "bc", "hold_out": 0.3, "learning_rate": 1e30}
    with pytest.raises(UserError, match="^cloning_loss .*" + ACTOR):
        gtp_fast.fit(arrays, output=tmp_path, **options)


def test_one_seed_of_two_names_its_own_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "cache"))
    options = OPTIONS | {"seeds": (3, 8), "critic_learning_rate": (3e-4, 1e30)}
    figures: dict[int, Any] = {}

    class Note(Callback):
        def on_metrics(self, step: int, found: Any) -> None:
            figures[step] = figures.get(step, {}) | dict(found)

    gtp_fast.fit(sets.flat(steps=40, width=2), output=tmp_path, callbacks=[Note()], **options)
    said = capsys.readouterr().err
    assert said.count("the critic's Q of seed 8 diverged at update 0: it stays as it was") == 1
    assert "of seed 3 diverged" not in said
    assert all(math.isfinite(figures[40][name][0]) for name in ("q", "consistency_loss"))


def test_a_diverged_seed_rests_in_an_evaluation_where_it_cannot_act(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "cache"))
    arrays = sets.flat(steps=40, width=3)
    arrays["actions"] = arrays["actions"][:, :1]
    options = {"learning_rate": (3e-4, 1e30), "env": "Pendulum-v1", "episodes": 1}
    run = gtp_fast.fit(arrays, output=tmp_path, **OPTIONS | options | {"seeds": (3, 8)})
    assert list(run.summary["diverged"]) == ["8"]
    returns = run.evaluate().returns
    assert np.isfinite(returns).all() and len(set(returns[:, 0])) == 2
    capsys.readouterr()
    # A second evaluation names it too, in words and in its file.
    assert evaluate.main([str(run.path)]) == 0
    at = run.summary["diverged"]["8"]
    assert f"seed 8 diverged at update {at} of the training" in capsys.readouterr().out
    (stored,) = (run.path / "evaluations").glob("*.json")
    assert json.loads(stored.read_text())["diverged"] == {"8": at}
    np.savez(tmp_path / "set.npz", **arrays)
    words = ["--fqe", "--fqe-steps", "2", "--dataset", str(tmp_path / "set.npz")]
    assert evaluate.main([str(run.path), *words]) == 0
    said = capsys.readouterr().out
    assert f"diverged at update {at} of the training" in said
    assert "with figures that are nan where that cannot act" in said


def test_the_order_of_an_update_decides_which_quantity_was_first() -> None:
    bad, fine = math.nan, 1.0
    gradients = {"actor_gradient": bad, "critic_gradient": bad}
    after_critic = {"q": bad, "weight": bad} | gradients
    assert cause.broken(["consistency_loss"], after_critic)[0] == "q"
    assert cause.broken(["consistency_loss"], {"q": fine, "weight": bad} | gradients)[0] == "weight"
    assert cause.broken(["critic_loss", "flow_loss"], after_critic)[0] == "critic_loss"
    assert cause.broken(["flow_loss"], {"q": fine} | gradients)[0] == "flow_loss"
    assert cause.broken([], {"q": fine} | gradients)[0] == "critic_gradient"
    assert cause.broken([], {"q": fine, "actor_gradient": bad}) == ("actor_gradient",)
    assert cause.broken([], {"q": fine}) == ()
