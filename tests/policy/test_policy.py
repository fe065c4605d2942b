"""The policy that users load: the same action by every way in."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("gymnasium", reason="a run's data package needs gymnasium")

from fake_runs import BATCH, OBSERVATION, SETTINGS, agent_of, make_run

import gtp_fast
from gtp_fast import ops, policy
from gtp_fast.agents.base import Agent
from gtp_fast.errors import UserError
from gtp_fast.policy import Policy
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream
from gtp_fast.runs import Run


def expected(run: Run, rows: NDArray[np.float32], seed: int, **options: Any) -> NDArray[np.float32]:
    """Return the actions worked out from the agent itself, with the plain sampler."""
    chosen = {"seed_index": 0, "weights": "ema", "k": None, "noise_scale": 1.0} | options
    agent = agent_of(run.config())
    by_flow = chosen.get("act_by") == "euler"
    policy = (agent.euler_policy if by_flow else agent.folded)(chosen["weights"], chosen["k"])
    assert policy is not None
    folded = policy.select(chosen["seed_index"])
    folded = folded._replace(initial_scale=chosen["noise_scale"] * folded.initial_scale)
    noise = philox.normals(philox.key_tensor([seed]), 0, Stream.ACT, len(rows), 2)
    action = ops.make_sampler(folded, "reference").sample(torch.from_numpy(rows)[None], noise)[0]
    return 1.0 + 3.0 * action.numpy()


def test_act_is_the_sampler_in_the_environments_units(run: Run, loaded: Policy) -> None:
    actions = expected(run, BATCH, 5)
    np.testing.assert_allclose(loaded.act(BATCH, seed=5), actions, atol=2e-5)
    np.testing.assert_allclose(loaded.act(OBSERVATION, seed=5), actions[0], atol=2e-5)
    assert loaded.act(OBSERVATION, seed=5).shape == (2,)
    assert loaded.act(BATCH).dtype == np.float32
    assert (np.abs(actions - 1) < 3).any(), "all actions are clipped: the test sees nothing"


def test_rows_of_a_batch_draw_noise_of_their_own(loaded: Policy) -> None:
    actions = loaded.act(np.stack([OBSERVATION] * 4), seed=1)
    assert len(np.unique(actions[:, 0])) == 4


@pytest.mark.parametrize(
    "options",
    [
        {"seed_index": 1},
        {"k": 1},
        {"weights": "online"},
        {"backend": "reference"},
        {"noise_scale": 0.5},
        {"act_by": "euler", "k": 2},
    ],
)
def test_options_choose_seed_steps_weights_and_backend(run: Run, options: dict[str, Any]) -> None:
    other = policy.load(run, **options)
    wanted = expected(run, BATCH, 9, **{k: v for k, v in options.items() if k != "backend"})
    np.testing.assert_allclose(other.act(BATCH, seed=9), wanted, atol=2e-5)


def test_the_runs_own_noise_scale_holds_unless_another_is_given(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", agent_settings=SETTINGS | {"noise_scale": 0.25})
    for given, scale in ((None, 0.25), (1.0, 1.0), (0.0, 0.0)):
        actions = policy.load(run, noise_scale=given).act(BATCH, seed=9)
        wanted = expected(run, BATCH, 9, noise_scale=scale)
        np.testing.assert_allclose(actions, wanted, atol=2e-5)
        assert policy.load(run, noise_scale=given).noise_scale == scale
    still = policy.load(run, noise_scale=0.0)
    assert len({tuple(still.act(OBSERVATION, seed=seed)) for seed in range(5)}) == 1
    assert len({tuple(policy.load(run).act(OBSERVATION, seed=seed)) for seed in range(5)}) == 5


def test_precision_reaches_the_sampler(run: Run, loaded: Policy) -> None:
    rounded = policy.load(run, precision="bf16")
    assert "bf16 weights" in repr(rounded) and "bf16 weights" not in repr(loaded)
    change = np.abs(rounded.act(BATCH, seed=5) - loaded.act(BATCH, seed=5)).max()
    assert 0 < change < 0.1
    with pytest.raises(UserError, match="precision 'half'"):
        policy.load(run, precision="half")


def test_a_seed_fixes_the_action_and_none_does_not(run: Run, loaded: Policy) -> None:
    assert np.array_equal(loaded.act(OBSERVATION, seed=3), loaded.act(OBSERVATION, seed=3))
    fresh = {tuple(loaded.act(OBSERVATION)) for _ in range(5)}
    fresh |= {tuple(policy.load(run).act(OBSERVATION))}
    fresh |= {tuple(loaded.act(OBSERVATION, seed=s)) for s in (3, -3, 2**70)}
    assert len(fresh) == 9
    assert not np.array_equal(loaded.act(BATCH), loaded.act(BATCH))


def test_a_seed_index_may_count_from_the_end(run: Run, loaded: Policy) -> None:
    wanted = [one.act(BATCH, seed=9) for one in (loaded, policy.load(run, seed_index=1))]
    for place, actions in zip((-2, -1), wanted, strict=True):
        assert np.array_equal(policy.load(run, seed_index=place).act(BATCH, seed=9), actions)


def test_a_repeatable_episode_counts_its_steps(loaded: Policy) -> None:
    first = [tuple(loaded.act(OBSERVATION, seed=3, step=step)) for step in range(4)]
    assert first == [tuple(loaded.act(OBSERVATION, seed=3, step=step)) for step in range(4)]
    assert len(set(first)) == 4
    batch = loaded.act(BATCH, seed=3, step=2)
    assert np.array_equal(batch[0], first[2])
    assert np.array_equal(loaded.act(torch.from_numpy(BATCH), seed=3, step=2).numpy(), batch)
    assert np.array_equal(loaded.act(OBSERVATION, seed=3), first[0])


def test_a_copy_acts_alike_and_draws_noise_of_its_own(loaded: Policy) -> None:
    for other in (copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):
        assert repr(other) == repr(loaded)
        assert np.array_equal(other.act(BATCH, seed=3), loaded.act(BATCH, seed=3))
        assert not np.array_equal(other.act(BATCH), loaded.act(BATCH))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_actor_draws_noise_of_its_own(run: Run) -> None:
    actor = policy.load(run)
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, actor.act(OBSERVATION).tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = np.frombuffer(os.read(reader, 64), np.float32)
    assert theirs.shape == (2,) and not np.array_equal(theirs, actor.act(OBSERVATION))


def test_actions_stay_in_the_box(tmp_path: Path) -> None:
    low, high = [-0.7, 0.1], [0.1, 0.7]
    agent = make_run(tmp_path / "run", action_low=low, action_high=high)
    actor = policy.load(agent)
    far = 1e3 * np.random.default_rng(0).standard_normal((500, 3), np.float32)
    actions = actor.act(far, seed=0)
    assert (actions >= actor.low).all() and (actions <= actor.high).all()
    assert (actions == actor.low).any() or (actions == actor.high).any(), "nothing is clipped"


@pytest.mark.parametrize(("low", "high"), [(0.0, 2.0), (-3.0, 3.0), (-1.0, 1.0)])
def test_a_box_of_unit_width_or_about_zero_is_scaled_to_too(
    low: float, high: float, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", action_low=[low] * 2, action_high=[high] * 2)
    unit = (expected(run, BATCH, 5) - 1.0) / 3.0
    wanted = (low + high) / 2 + (high - low) / 2 * unit
    actor = policy.load(run)
    np.testing.assert_allclose(actor.act(BATCH, seed=5), wanted, atol=2e-5)
    np.testing.assert_allclose(actor.act(OBSERVATION, seed=5), wanted[0], atol=2e-5)


def test_a_returned_action_is_never_written_again(loaded: Policy) -> None:
    first = loaded.act(OBSERVATION, seed=1)
    kept = first.copy()
    loaded.act(OBSERVATION, seed=2)
    assert np.array_equal(first, kept)


def test_torch_in_torch_out(loaded: Policy) -> None:
    for rows in (OBSERVATION, BATCH):
        action = loaded.act(torch.from_numpy(rows), seed=4)
        assert isinstance(action, torch.Tensor)
        assert action.dtype == torch.float32
        assert np.array_equal(action.numpy(), loaded.act(rows, seed=4))
    wanted = loaded.act(BATCH, seed=4)
    needs_gradient = torch.from_numpy(BATCH).double().requires_grad_()
    assert np.array_equal(loaded.act(needs_gradient, seed=4).numpy(), wanted)


def test_candidates_without_initial_noise_still_differ_by_that_between_the_steps(
    tmp_path: Path,
) -> None:
    settings = {"width": 8, "depth": 2}
    run = make_run(tmp_path / "run", agent="diffusion-ql", agent_settings=settings)
    assert policy.load(run, num_candidates=4, noise_scale=0.0).num_candidates == 4
    run = make_run(tmp_path / "gtp", agent_settings=settings | {"advantage_start": 0})
    with pytest.raises(UserError, match="draws no noise"):
        policy.load(run, num_candidates=4, noise_scale=0.0)


def test_a_run_that_holds_an_export_too_is_still_a_run(run: Run) -> None:
    (run.path / "policy.gtp").write_bytes(b"GTPOLICY")
    with pytest.raises(UserError, match="has no best checkpoint: evaluations in training mark it"):
        gtp_fast.load(run, checkpoint="best")


def test_the_package_loads_and_the_policy_says_what_it_is(run: Run) -> None:
    loaded = gtp_fast.load(run.path, backend="reference")
    assert repr(loaded) == (
        "Policy(task='pointmaze-umaze', K=3, num_candidates=1, backend='reference PyTorch', "
        "device='cpu')"
    )


@pytest.mark.gpu
def test_a_gpu_policy_acts_like_the_cpu_one(run: Run, loaded: Policy) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    there = policy.load(run, device="cuda")
    wanted = loaded.act(BATCH, seed=6)
    np.testing.assert_allclose(there.act(BATCH, seed=6), wanted, atol=1e-4)
    action = there.act(torch.from_numpy(BATCH).cuda(), seed=6)
    assert action.device.type == "cuda"
    np.testing.assert_allclose(action.cpu().numpy(), wanted, atol=1e-4)
    assert there.act(torch.from_numpy(BATCH), seed=6).device.type == "cpu"


def test_one_candidate_packs_one_sampler(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = []
    make = ops.make_sampler

    def counted(*given: Any, **options: Any) -> Any:
        packed.append(given)
        return make(*given, **options)

    monkeypatch.setattr(ops, "make_sampler", counted)
    monkeypatch.setattr(Agent, "acting", lambda *_, **__: pytest.fail("packs another sampler"))
    assert policy.load(run).act(OBSERVATION).shape == (2,)
    assert len(packed) == 1
