"""A specification as text: what another process cannot build is refused in a sentence."""

from __future__ import annotations

import json
from typing import Any

import fake_environments
import gymnasium as gym
import numpy as np
import pytest
from fake_policies import KEYS, equal, play
from fake_policies import Linear as Policy
from gymnasium.envs.registration import EnvSpec

from gtp_fast.data import trust
from gtp_fast.errors import UserError
from gtp_fast.evaluation.evaluator import Evaluator
from gtp_fast.system import specs


def spec(entry: Any, **kwargs: Any) -> EnvSpec:
    return EnvSpec("Own-v0", entry_point=entry, max_episode_steps=30, kwargs=kwargs)


def test_a_class_that_can_be_imported_is_named() -> None:
    text = specs.to_json(spec(fake_environments.Chaos, flat=True))
    assert json.loads(text)["entry_point"] == "fake_environments:Chaos"
    built = gym.make(EnvSpec.from_json(text))
    assert isinstance(built.unwrapped, fake_environments.Chaos)
    assert json.loads(specs.to_json(spec("some:Where"))) == json.loads(spec("some:Where").to_json())


def local() -> Any:
    class Hidden(fake_environments.Chaos):
        pass

    return Hidden


@pytest.mark.parametrize("entry", [local(), lambda: fake_environments.Chaos(), None])
def test_one_that_cannot_is_refused(entry: Any) -> None:
    with pytest.raises(UserError, match=r"Own-v0 is registered by .* entry_point='module:Class'"):
        specs.to_json(spec(entry))


def test_a_class_of_a_script_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = local()
    monkeypatch.setattr(hidden, "__module__", "__main__")
    with pytest.raises(UserError, match="Own-v0 is registered by"):
        specs.to_json(spec(hidden))


@pytest.mark.parametrize("value", [np.zeros((40, 2)), np.float32(1), len])
def test_arguments_that_no_file_holds_are_refused(value: Any) -> None:
    said = "Own-v0 is registered with goal = .*: register it with plain numbers, strings and lists"
    with pytest.raises(UserError, match=said) as caught:
        specs.to_json(spec("some:Where", flat=True, goal=value))
    assert "\n" not in str(caught.value)


def test_a_vector_entry_point_is_left_out() -> None:
    own = EnvSpec("Own-v0", entry_point="some:Where", vector_entry_point=lambda: None)  # type: ignore[arg-type,return-value]
    assert json.loads(specs.to_json(own))["vector_entry_point"] is None


def test_workers_build_what_a_class_registers() -> None:
    named = fake_environments.spec()
    named.entry_point = fake_environments.Chaos
    with Evaluator(named, KEYS, (3,), 3, processes=1) as evaluator:
        assert equal(evaluator.evaluate(Policy(1)), play(episodes=3))


def test_a_class_that_is_registered_here_may_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    own = spec(fake_environments.Telling)
    text = specs.to_json(own)
    with pytest.raises(UserError, match="no environment registered here"):
        trust.parse(text, "run")
    monkeypatch.setitem(gym.registry, own.id, own)
    assert trust.parse(text, "run").entry_point == "fake_environments:Telling"
