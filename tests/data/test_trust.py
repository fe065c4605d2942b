"""What a dataset or a run folder may have built: environments, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from fake_runs import make_run

from gtp_fast import cli, evaluate, train
from gtp_fast.data import trust
from gtp_fast.errors import UserError


def stored(**changes: Any) -> str:
    facts: dict[str, Any] = json.loads(gym.spec("Pendulum-v1").to_json())
    return json.dumps(facts | changes)


@pytest.mark.parametrize(
    "entry",
    [
        "os:system",
        "gtp_fast.toy.__main__:main",
        "gtp_fast.system.children:Child",
        "gymnasium.envs.registration:make",
        "gymnasium.envs.registration:load_env_creator",
        "gymnasium.envs.classic_control.pendulum:angle_normalize",
        None,
    ],
)
def test_only_registered_environments_are_built(entry: str | None) -> None:
    text = stored(entry_point=entry)
    with pytest.raises(UserError, match=r"^my set asks to run code .*--trust-environment"):
        trust.parse(text, "my set")
    assert trust.parse(text, "my set", trusted=True).entry_point == entry


def test_an_environment_of_gymnasium_is_built_with_its_arguments() -> None:
    limit = {"name": "TimeLimit", "entry_point": "gymnasium.wrappers.common:TimeLimit"}
    text = stored(kwargs={"g": 9.0}, additional_wrappers=[limit | {"kwargs": {}}])
    assert trust.parse(text, "my set").kwargs == {"g": 9.0}
    assert trust.parse(stored(vector_entry_point="os:system"), "x").vector_entry_point is None


@pytest.mark.parametrize(
    "wrapper",
    ["os:system", "gymnasium.wrappers.rendering:RecordVideo", "gymnasium.wrappers:os.TimeLimit"],
)
def test_wrappers_that_may_write_or_run_are_refused(wrapper: str) -> None:
    one = {"name": "W", "entry_point": wrapper, "kwargs": {}}
    with pytest.raises(UserError, match="asks to wrap it in"):
        trust.parse(stored(additional_wrappers=[one]), "my set")


@pytest.mark.parametrize(
    "kwargs",
    [
        {"xml_file": "/tmp/evil.xml"},
        {"xml_file": "evil.xml"},
        {"xml_file": "evil.mjb"},
        {"model": "evil"},
        {"a": {"b": ["os:system"]}},
        {"path": "..\\model"},
    ],
)
def test_arguments_that_name_files_or_code_are_refused(kwargs: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="which names a file or code"):
        trust.parse(stored(kwargs=kwargs), "my set")


@pytest.mark.parametrize("text", ["", "[]", "{", "null", 3, '{"entry_point": 1}', "[" * 100_000])
def test_what_is_no_specification_is_a_sentence(text: Any) -> None:
    with pytest.raises(UserError) as caught:
        trust.parse(text, "my set")
    assert str(caught.value).startswith("my set") and "\n" not in str(caught.value)


@pytest.mark.parametrize("command", ["evaluate", "resume"])
def test_a_run_folder_runs_no_code(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "was-here"
    evil = stored(entry_point="os:mkdir", kwargs={"path": str(mark)})
    run = make_run(tmp_path / "run", evaluation={"environment": evil})
    words = [str(run)] if command == "evaluate" else ["--resume", str(run)]
    assert cli.run(evaluate.main if command == "evaluate" else train.main, words) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and not mark.exists()
    if command == "evaluate":
        assert f"{run} asks to run code from os:mkdir" in said


def test_nothing_here_unpickles() -> None:
    package = Path(trust.__file__).parents[1]
    for path in package.rglob("*.py"):
        text = path.read_text()
        assert "import pickle" not in text and "pickle.load" not in text, path
        assert "allow_pickle=True" not in text and "weights_only=False" not in text, path
