"""What a loaded policy takes as an observation and an option, and one sentence for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium", reason="a run's data package needs gymnasium")

from fake_runs import BATCH, OBSERVATION, agent_of, make_run

import gtp_fast
from gtp_fast import export, policy
from gtp_fast.errors import UserError
from gtp_fast.policy import Policy
from gtp_fast.runs import Run, checkpoint


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


@pytest.mark.parametrize(
    ("device", "said"), [("gpu", "no device 'gpu'"), ("cuda", "sees no CUDA GPU here")]
)
def test_a_device_that_is_not_there_is_one_sentence(run: Run, device: str, said: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UserError, match=said):
        policy.load(run, device=device)


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


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize(
    "changes", [{}, {"agent": "diffusion-ql", "agent_settings": {"width": 8, "num_candidates": 3}}]
)
@pytest.mark.filterwarnings("error")
def test_received_bytes_and_a_batch_of_no_rows(
    tmp_path: Path, changes: dict[str, Any], backend: str
) -> None:
    actor = policy.load(make_run(tmp_path / "run", **changes), backend=backend)
    for known in (OBSERVATION, BATCH):
        received = np.frombuffer(known.tobytes(), np.float32).reshape(known.shape)
        assert not received.flags.writeable
        assert np.array_equal(actor.act(received, seed=4), actor.act(known, seed=4))
    assert actor.act(BATCH[:0]).shape == actor.act(torch.from_numpy(BATCH[:0])).shape == (0, 2)


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


@pytest.mark.parametrize("widths", [[3], [1, 1, 1], [2, 2]])
def test_widths_that_fit_no_entry_are_refused(tmp_path: Path, widths: list[int]) -> None:
    run = make_run(tmp_path / "run", observation_widths=widths)
    with pytest.raises(UserError, match=r"restore them in config\.yaml, or export again"):
        policy.load(run)


def test_entries_of_other_widths_that_add_up_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", observation_widths=[2, 1])
    loaded = policy.load(run)
    export.export(run.path, tmp_path / "robot", formats=("cpp",))
    swapped = {"state": OBSERVATION[:1], "goal": OBSERVATION[1:]}
    batch = {key: np.stack([part] * 2) for key, part in swapped.items()}
    tensors = {key: torch.from_numpy(part) for key, part in batch.items()}
    lists = {key: part.tolist() for key, part in swapped.items()}
    said = "other widths than in training: state 1, not 2; goal 2, not 1: give each entry whole"
    for actor in (loaded, policy.load(tmp_path / "robot" / "policy.gtp")):
        for given in (swapped, batch, tensors, lists):
            with pytest.raises(UserError, match=said):
                actor.act(given)
        right = {"state": OBSERVATION[:2], "goal": OBSERVATION[2:].tolist()}
        assert np.array_equal(actor.act(right, seed=4), loaded.act(OBSERVATION, seed=4))


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
        ({"k": 65}, "k = 65 is no number of sampler steps: give 1 to 64"),
        ({"num_candidates": 1025}, "num_candidates = 1025 is out of range: give 1 to 1024"),
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


def test_what_is_no_run_says_what_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "robot"
    folder.mkdir()
    for name in ("policy.gtp", "other.bin"):
        (folder / name).write_bytes(b"GTPOLICY")
    with pytest.raises(UserError, match=r"robot is an export.*load \S*robot/policy.gtp"):
        gtp_fast.load(folder)
    with pytest.raises(UserError, match=r"other.bin is a file, and no run folder or checkpoint"):
        gtp_fast.load(folder / "other.bin")


def test_a_configuration_of_another_version_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    text = run.path / "config.yaml"
    text.write_text(text.read_text().replace("width: 16", "breadth: 16"))
    from gtp_fast.runs import checkpoint

    checkpoint.save(run, 70, checkpoint.load(run).tensors, {})
    with pytest.raises(UserError, match=r"does not fit this version of gtp_fast .*breadth"):
        policy.load(run)


def test_a_checkpoint_with_actions_that_overflow_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    agent = agent_of(run.config())
    weights = agent.state_dict()["actor.average"]
    weights[1] = 1e38 * (-1.0) ** torch.arange(weights.shape[1])
    checkpoint.save(run, 61, agent.state_dict(), {})
    assert np.isfinite(policy.load(run).act(OBSERVATION, seed=1)).all()
    with pytest.raises(UserError, match=r"61 holds a policy with actions that overflow \(seed 7\)"):
        policy.load(run, seed_index=1)
