"""The policy that users load: the same action by every way in, and one sentence for what is no
observation.
"""

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

from fake_runs import SETTINGS, agent_of, make_run

import gtp_fast
from gtp_fast import ops, policy
from gtp_fast.agents.base import Agent
from gtp_fast.errors import UserError
from gtp_fast.policy import Policy
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream
from gtp_fast.runs import Run, checkpoint

OBSERVATION = np.array([0.3, -0.7, 1.9], np.float32)
BATCH = np.stack([OBSERVATION, 2 * OBSERVATION, -OBSERVATION])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("policy") / "run")


@pytest.fixture(scope="module")
def loaded(run: Run) -> Policy:
    return policy.load(run)


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


def test_a_repeatable_episode_counts_its_steps(loaded: Policy) -> None:
    first = [tuple(loaded.act(OBSERVATION, seed=3, step=step)) for step in range(4)]
    assert first == [tuple(loaded.act(OBSERVATION, seed=3, step=step)) for step in range(4)]
    assert len(set(first)) == 4
    batch = loaded.act(BATCH, seed=3, step=2)
    assert np.array_equal(batch[0], first[2])
    assert np.array_equal(loaded.act(torch.from_numpy(BATCH), seed=3, step=2).numpy(), batch)
    assert np.array_equal(loaded.act(OBSERVATION, seed=3), first[0])


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("observation", [OBSERVATION, BATCH, torch.from_numpy(BATCH)])
@pytest.mark.parametrize(
    "given", [{"seed": "x"}, {"seed": 1.5}, {"seed": []}, {"seed": 1, "step": None}]
)
def test_a_seed_or_step_that_is_no_integer_is_one_sentence(
    run: Run, backend: str, observation: Any, given: dict[str, Any]
) -> None:
    actor = policy.load(run, backend=backend)
    with pytest.raises(UserError, match=r"^seed = .* and step = .* must be integers"):
        actor.act(observation, **given)
    assert np.array_equal(actor.act(BATCH, seed=np.int64(3)), actor.act(BATCH, seed=3))


@pytest.mark.parametrize(
    "given", [{"k": "x"}, {"k": 2.0}, {"num_candidates": "x"}, {"noise_scale": "x"},
              {"seed_index": "x"}, {"seed_index": 0.0}],
)  # fmt: skip
def test_a_choice_of_the_wrong_type_is_one_sentence(run: Run, given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(given))):
        policy.load(run, **given)


@pytest.mark.parametrize("observation", [[[1.0], [1.0, 2.0]], [None, 1, 2], "abc", None, object()])
def test_what_is_no_array_is_one_sentence(loaded: Policy, observation: Any) -> None:
    with pytest.raises(UserError, match=r"^The observation "):
        loaded.act(observation)


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_float32_are_a_sentence(loaded: Policy) -> None:
    wide = np.array([0.0, 1e39, 0.0])
    for observation in (wide[None], wide.tolist()):
        with pytest.raises(UserError, match="or some beyond float32"):
            loaded.act(observation)
    # NumPy warns of one array: to silence it costs more than to convert it, in every call.
    with np.errstate(over="ignore"), pytest.raises(UserError, match="or some beyond float32"):
        loaded.act(wide)


def test_the_tuples_of_an_environment_are_told_from_observations(loaded: Policy) -> None:
    for given in ((OBSERVATION, {}), (OBSERVATION, 0.0, False, False, {})):
        with pytest.raises(
            UserError, match=r"as reset\(\) and step\(\) of an environment return it"
        ):
            loaded.act(given)
    assert loaded.act(tuple(OBSERVATION.tolist())).shape == (2,)


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


@pytest.mark.parametrize(
    ("device", "said"), [("gpu", "no device 'gpu'"), ("cuda", "sees no CUDA GPU here")]
)
def test_a_device_that_is_not_there_is_one_sentence(run: Run, device: str, said: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UserError, match=said):
        policy.load(run, device=device)


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


def test_observations_as_environments_give_them(loaded: Policy) -> None:
    wanted = loaded.act(OBSERVATION, seed=4)
    parts = {
        "goal": OBSERVATION[2:].astype(np.float64),
        "other": np.zeros(9),
        "state": OBSERVATION[:2],
    }
    assert np.array_equal(loaded.act(parts, seed=4), wanted)
    batch = {"state": np.stack([OBSERVATION[:2]] * 2), "goal": np.stack([OBSERVATION[2:]] * 2)}
    assert np.array_equal(loaded.act(batch, seed=4)[0], wanted)
    tensors = {name: torch.from_numpy(np.asarray(part)) for name, part in batch.items()}
    assert np.array_equal(loaded.act(tensors, seed=4)[0].numpy(), wanted)


def test_any_layout_and_number_type(loaded: Policy) -> None:
    wanted = loaded.act(OBSERVATION, seed=4)
    strided = np.repeat(OBSERVATION, 2)[::2]
    assert not strided.flags.c_contiguous
    for same in (strided, OBSERVATION.astype(np.float64), OBSERVATION.tolist()):
        rounded = np.asarray(same, np.float32)
        assert np.array_equal(loaded.act(same, seed=4), loaded.act(rounded, seed=4))
    assert np.array_equal(loaded.act(strided, seed=4), wanted)
    assert loaded.act(np.array([1, 0, 2]), seed=4).dtype == np.float32
    fortran = np.asfortranarray(BATCH)
    assert np.array_equal(loaded.act(fortran, seed=4), loaded.act(BATCH, seed=4))


@pytest.mark.parametrize(
    ("observation", "complaint"),
    [
        (
            OBSERVATION[:2],
            r"shape \[2\]: this policy takes \[3\], a batch \[B, 3\], the dict of state",
        ),
        (BATCH[None], r"shape \[1, 3, 3\]"),
        (np.float32(1), r"shape \[\]"),
        (np.array([1, np.nan, 1], np.float32), "NaN or infinite"),
        (np.array([1, np.inf, 1], np.float32), "NaN or infinite"),
        (np.array([[1, np.nan, 1]]), "NaN or infinite"),
        (torch.tensor([1, float("nan"), 1]), "NaN or infinite"),
        ({"state": OBSERVATION[:2]}, "lacks goal: it has state, and this policy needs state, goal"),
        (np.array(["a", "b", "c"]), "numbers are expected"),
        (np.ones(3, bool), "holds bool: numbers are expected"),
        (torch.ones(3, dtype=torch.complex64), "holds torch.complex64: numbers are expected"),
        (torch.ones(3, dtype=torch.bool), "holds torch.bool: numbers are expected"),
        (torch.ones(3).to_sparse(), "is a sparse tensor: give it dense, with numbers"),
        (torch.ones(3, device="meta"), "is a meta tensor: give it dense, with numbers"),
    ],
)
def test_what_is_no_observation_is_refused(
    loaded: Policy, observation: Any, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        loaded.act(observation)


def test_a_dict_is_refused_where_flat_arrays_are_expected(tmp_path: Path) -> None:
    flat = policy.load(make_run(tmp_path / "run", observation_keys=[]))
    assert flat.act(OBSERVATION).shape == (2,)
    with pytest.raises(UserError, match="takes flat arrays of 3 numbers"):
        flat.act({"state": OBSERVATION})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"seed_index": 2}, "no seed_index 2: .* holds 2 seeds, 0 to 1"),
        ({"device": None}, "There is no device 'None': choose cpu, cuda or auto"),
        ({"k": 0}, "k = 0"),
        ({"weights": "best"}, "Unknown weights"),
        ({"backend": "quick"}, "Unknown backend"),
        ({"noise_scale": 10.5}, "noise_scale = 10.5 is out of range: give 0 to 10"),
        ({"noise_scale": -1.0}, "noise_scale = -1 is out of range"),
        ({"act_by": "heun"}, "Unknown act_by 'heun': choose map, euler"),
        ({"checkpoint": "best"}, "no best checkpoint"),
    ],
)
def test_bad_options_are_refused(run: Run, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        policy.load(run, **options)


@pytest.mark.parametrize("agent", ["bc", "iql"])
def test_a_scale_of_noise_is_refused_where_a_policy_draws_none(tmp_path: Path, agent: str) -> None:
    run = make_run(tmp_path / "run", agent=agent, agent_settings={"width": 8, "depth": 2})
    with pytest.raises(UserError, match=r"noise_scale = 0\.5 does nothing: .* draws no noise"):
        policy.load(run, noise_scale=0.5)
    assert policy.load(run, noise_scale=1.0).act(OBSERVATION).shape == (2,)


@pytest.mark.parametrize("agent", ["bc", "iql"])
@pytest.mark.parametrize("rule", [None, "mean"])
def test_candidates_are_refused_where_they_are_one_action(
    tmp_path: Path, agent: str, rule: Any
) -> None:
    run = make_run(tmp_path / "run", agent=agent, agent_settings={"width": 8, "depth": 2})
    with pytest.raises(UserError, match=r"--num-candidates 4 does nothing: .* draws no noise"):
        policy.load(run, num_candidates=4, candidate_rule=rule)
    assert policy.load(run, num_candidates=1).act(OBSERVATION).shape == (2,)


def test_candidates_without_initial_noise_still_differ_by_that_between_the_steps(
    tmp_path: Path,
) -> None:
    settings = {"width": 8, "depth": 2}
    run = make_run(tmp_path / "run", agent="diffusion-ql", agent_settings=settings)
    assert policy.load(run, num_candidates=4, noise_scale=0.0).num_candidates == 4
    run = make_run(tmp_path / "gtp", agent_settings=settings | {"advantage_start": 0})
    with pytest.raises(UserError, match="draws no noise"):
        policy.load(run, num_candidates=4, noise_scale=0.0)


def test_what_is_no_run_says_what_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "robot"
    folder.mkdir()
    for name in ("policy.gtp", "other.bin"):
        (folder / name).write_bytes(b"GTPOLICY")
    with pytest.raises(UserError, match=r"robot is an export.*load \S*robot/policy.gtp"):
        gtp_fast.load(folder)
    with pytest.raises(UserError, match=r"other.bin is a file, and no run folder or checkpoint"):
        gtp_fast.load(folder / "other.bin")


def test_a_run_that_holds_an_export_too_is_still_a_run(run: Run) -> None:
    (run.path / "policy.gtp").write_bytes(b"GTPOLICY")
    with pytest.raises(UserError, match="has no best checkpoint: evaluations in training mark it"):
        gtp_fast.load(run, checkpoint="best")


def test_a_configuration_of_another_version_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    text = run.path / "config.yaml"
    text.write_text(text.read_text().replace("width: 16", "breadth: 16"))
    from gtp_fast.runs import checkpoint

    checkpoint.save(run, 70, checkpoint.load(run).tensors, {})
    with pytest.raises(UserError, match=r"does not fit this version of gtp_fast .*breadth"):
        policy.load(run)


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


def test_a_checkpoint_with_actions_that_overflow_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    agent = agent_of(run.config())
    weights = agent.state_dict()["actor.average"]
    weights[1] = 1e38 * (-1.0) ** torch.arange(weights.shape[1])
    checkpoint.save(run, 61, agent.state_dict(), {})
    assert np.isfinite(policy.load(run).act(OBSERVATION, seed=1)).all()
    with pytest.raises(UserError, match=r"61 holds a policy with actions that overflow \(seed 7\)"):
        policy.load(run, seed_index=1)
