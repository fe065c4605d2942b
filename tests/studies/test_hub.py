"""Push and pull, with a local folder that stands in for the hub."""

from __future__ import annotations

import builtins
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from fake_runs import SETTINGS, add_scores, make_run

import gtp_fast
from gtp_fast import cli, pull, push
from gtp_fast.errors import UserError
from gtp_fast.runs import Run
from gtp_fast.studies import hub

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of repositories; the client's calls of the network read and write it."""
    root = tmp_path / "hub"

    def create_repo(self: Any, repo_id: str, **options: Any) -> None:
        assert options == {"private": False, "repo_type": "model", "exist_ok": True}
        (root / repo_id).mkdir(parents=True, exist_ok=True)

    def upload_folder(self: Any, *, repo_id: str, folder_path: Path, **options: Any) -> Any:
        shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)
        assert options["commit_message"] == "gtp on pointmaze-umaze, update 60"
        return SimpleNamespace(commit_url=f"hub/{repo_id}/commit/1")

    def list_repo_files(self: Any, repo_id: str, **options: Any) -> list[str]:
        if not (root / repo_id).is_dir():
            raise ConnectionError(f"no repository {repo_id}\nmore lines")
        return [path.name for path in (root / repo_id).iterdir()]

    def hf_hub_download(
        self: Any, repo_id: str, filename: str, *, local_dir: str, **options: Any
    ) -> str:
        return shutil.copy(root / repo_id / filename, local_dir)

    for method in (create_repo, upload_folder, list_repo_files, hf_hub_download):
        monkeypatch.setattr(huggingface_hub.HfApi, method.__name__, method)
    return root


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = make_run(tmp_path / "run", dataset=str(tmp_path / "secret place.npz"),
                    dataset_id="secret place")  # fmt: skip
    add_scores(made, 60, [[1, 1, 0], [0, 0, 1]], [4, 7])
    made.write_environment("all of it")
    return made


def test_a_policy_comes_back_the_same(
    store: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(push.main, [str(run), "me/maze", "--seed-index", "1"]) == 0
    assert "hub/me/maze/commit/1" in capsys.readouterr().out
    assert {path.name for path in (store / "me/maze").iterdir()} == {
        "policy.gtp", "config.yaml", "README.md",
    }  # fmt: skip
    out = tmp_path / "mine"
    assert cli.run(pull.main, ["me/maze", str(out)]) == 0
    assert "gtp on pointmaze-umaze, seed 7, update 60" in capsys.readouterr().out
    observation = np.array([0.3, -0.7, 1.9], np.float32)
    pulled, own = gtp_fast.load(out / "policy.gtp"), gtp_fast.load(run.path, seed_index=1)
    assert np.array_equal(pulled.act(observation, seed=5), own.act(observation, seed=5))
    assert cli.run(pull.main, ["me/maze", str(out)]) == 2
    assert "has policy.gtp, config.yaml, README.md already" in capsys.readouterr().err


def test_the_card_says_scores_and_origin(store: Path, run: Run, tmp_path: Path) -> None:
    run.write_summary({
        "dataset": "secret place", "official_dataset": False, "environment": "Some-v0",
        "data": {"description": "made up | <b>\nin two lines", "transitions": 99},
    })  # fmt: skip
    hub.push(str(run), "me/maze")
    text = (store / "me/maze/README.md").read_text()
    _, head, body = text.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["library_name"] == "gtp_fast"
    assert metadata["pipeline_tag"] == "reinforcement-learning"
    (result,) = metadata["model-index"][0]["results"]
    # Seed 4 succeeds in two of its three episodes.
    assert result["metrics"][0]["value"] == pytest.approx(66.667)
    assert "| last" in body and "seed 4, update 60" in body
    assert "no: made locally" in body and r"made up \| &lt;b> in two lines" in body
    assert "gtp_fast pull me/maze policy" in body
    everything = "".join(p.read_text(errors="replace") for p in (store / "me/maze").iterdir())
    assert str(tmp_path) not in everything, "no path of this machine is published"


def test_scores_of_candidates_are_not_those_of_the_file(store: Path, tmp_path: Path) -> None:
    settings = SETTINGS | {"num_candidates": 50}
    run = make_run(tmp_path / "run", agent_settings=settings)
    add_scores(run, 60, [[1.0], [0.0]], [4, 7])
    hub.push(str(run), "me/maze")
    text = (store / "me/maze/README.md").read_text()
    assert "choose among 50 candidates" in text and "model-index" not in text


def test_the_metric_is_of_the_policy_that_is_pushed(store: Path, run: Run, tmp_path: Path) -> None:
    def metadata() -> Any:
        hub.push(str(run), "me/maze")
        return yaml.safe_load((store / "me/maze/README.md").read_text().split("---\n", 2)[1])

    # A later evaluation is of another policy.
    add_scores(run, 80, [[0, 0, 0], [0, 0, 1]], [4, 7])
    (result,) = metadata()["model-index"][0]["results"]
    assert result["metrics"][0]["name"] == "normalised return, update 60"
    assert result["metrics"][0]["value"] == pytest.approx(66.667)
    run.evaluations.unlink()
    add_scores(run, 80, [[0, 0, 0], [0, 0, 1]], [4, 7])
    assert "model-index" not in metadata()


def test_a_card_has_the_settings_of_its_seed(store: Path, tmp_path: Path) -> None:
    own = SETTINGS | {"eta": [0.25, 2.0]}
    run = make_run(tmp_path / "run", agent_settings=own)
    add_scores(run, 60, [[1.0], [0.0]], [4, 7])
    hub.push(str(run), "me/maze", seed_index=1)
    text = (store / "me/maze/README.md").read_text()
    assert "| eta | [2.0] |" in text
    assert "gtp (eta=0.25)" in text and "gtp (eta=2)" in text
    metrics = yaml.safe_load(text.split("---\n", 2)[1])["model-index"][0]["results"][0]["metrics"]
    assert metrics[0]["value"] == 0.0


def test_the_card_names_the_mean_of_candidates(store: Path, tmp_path: Path) -> None:
    settings = SETTINGS | {"num_candidates": 50, "candidate_rule": "mean"}
    run = make_run(tmp_path / "run", agent_settings=settings)
    add_scores(run, 60, [[1.0], [0.0]], [4, 7])
    hub.push(str(run), "me/maze")
    text = (store / "me/maze/README.md").read_text()
    assert "act by the mean of 50 candidates." in text and "by their critic" not in text


@pytest.mark.parametrize("name", ["policy.gtp", "other.bin"])
def test_what_is_no_policy_is_not_kept(store: Path, run: Run, tmp_path: Path, name: str) -> None:
    hub.push(str(run), "me/maze")
    whole = store / "me/maze/policy.gtp"
    data = bytearray(whole.read_bytes())
    whole.unlink()
    data[200] ^= 1
    (store / "me/maze" / name).write_bytes(data)
    with pytest.raises(UserError, match=r"was altered .* push it again|has no policy.gtp"):
        hub.pull("me/maze", str(tmp_path / "mine"))
    assert not (tmp_path / "mine").exists()


def test_a_hub_that_refuses_is_a_sentence(store: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not/there could not be read \(no repository not/there\)"):
        hub.pull("not/there", str(tmp_path / "mine"))


def test_without_the_client_it_is_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "huggingface_hub":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'gtp_fast\[hub\]'"):
        hub.push(str(run), "me/maze")
