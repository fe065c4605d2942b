"""An agent from its checkpoint, and what a policy needs of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec

import gtp_fast
from gtp_fast import agents, tasks
from gtp_fast.agents.acting import ActBy
from gtp_fast.agents.base import Agent
from gtp_fast.data import TransitionTable, load_table, locate, trust
from gtp_fast.data.environment import Shape, fits_environment, registered
from gtp_fast.data.judging import as_judged
from gtp_fast.errors import UserError
from gtp_fast.evaluation.vector import Environment, make
from gtp_fast.ops.candidates import Rule
from gtp_fast.policy import file
from gtp_fast.policy.file import Packed
from gtp_fast.runs import checkpoint
from gtp_fast.system import closing
from gtp_fast.system.device import chosen_device
from gtp_fast.system.numbers import many

_WEIGHTS = ("ema", "online")


class Restored(NamedTuple):
    """An agent with the weights of a checkpoint, and that checkpoint."""

    agent: Agent
    saved: checkpoint.Checkpoint


def restore(
    path: str | os.PathLike[str],
    which: str = "last",
    device: torch.device | str = "cpu",
    backend: str = "auto",
    precision: str = "fp32",
) -> Restored:
    """Rebuild the agent of a checkpoint, as `checkpoint.find` names it.

    backend, precision: as `ops.resolve` takes them, for training on.
    """
    device = chosen_device(device)
    saved = checkpoint.load(path, which)
    config = saved.config
    try:
        shape = (config["observation_dim"], config["action_dim"], config["seeds"])
        settings = config["agent_settings"]
        standard = config.get("observation_mean") or (), config.get("observation_scale") or ()
        agent = agents.build(
            config["agent"], settings, *shape, device, backend, precision, standard
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{saved.path} cannot be used: its configuration does not fit this version of gtp_fast "
            f"({error})."
        ) from error
    saved.restore(agent)
    return Restored(agent, saved)


def table_of(
    config: Mapping[str, Any], arrays: Any = None, device: torch.device | str = "cpu"
) -> TransitionTable:
    """Return the data of a run folder's configuration as its agent reads them.

    arrays: the same data from memory, or the place where they lie now, where that is not the run's
    own. UserError when they are not available, or others.
    """
    task = tasks.of_run(config)
    rules = tasks.Rules(**agents.settings_of(config["rules"]))
    dataset = config["dataset"] if arrays is None else arrays
    if dataset is None:
        raise UserError(
            "This run took its data from memory: give them again, by gtp_fast.fit(data, resume=RUN)"
            " or gtp_fast.TrainedRun(RUN).fqe(data)."
        )
    low, high = config["action_low"], config["action_high"]
    plain = set(low) == {-1.0} and set(high) == {1.0}
    # Data other than Minari's are assumed to lie in such a box, which a note says again.
    assumed = plain and all(one.kind != "minari" for one in locate.find(task, dataset))
    table = load_table(task, dataset, rules, device, box=None if assumed else (low, high))
    keys = tuple(config.get("observation_keys", table.observation_keys))
    if keys != table.observation_keys:
        own, learned = (", ".join(names) or "no keys" for names in (table.observation_keys, keys))
        raise UserError(
            f"{table.dataset_id} has the state {own} and the run was trained on {learned}; give the"
            " run its own dataset, which must state its observation space"
        )
    _check_same(config, table, moved=isinstance(arrays, str | os.PathLike))
    # The same data may have another name in another place.
    name = config.get("dataset_id", table.dataset_id)
    table = replace(table, provenance=replace(table.provenance, dataset_id=name))
    if config.get("observation_mean"):
        table = table.standardised(config["observation_mean"], config["observation_scale"])
    return table


def _check_same(config: Mapping[str, Any], table: TransitionTable, moved: bool) -> None:
    """Raise UserError where a run was trained on other data; older folders do not tell."""
    known = config.get("data")
    if known is None and moved:
        raise UserError(
            "This run folder is of an older version and does not tell its data from others: put "
            f"them where they lay ({config['dataset']}), and leave --dataset out."
        )
    if known is None or known == (found := table.facts()):
        return
    then, now = (
        f"{many(facts['transitions'], 'transition')} in {many(facts['episodes'], 'episode')}"
        for facts in (known, found)
    )
    raise UserError(
        f"{table.dataset_id} is not what the run was trained on: {then} then, "
        f"{now if now != then else 'as many with other values'} now. Give the run its own data, or "
        "train a new one."
    )


def environment_of(
    config: Mapping[str, Any], source: object, env: str | None = None, trusted: bool = False
) -> EnvSpec | None:
    """Return the environment to evaluate in: `env` by the task's rules, or the run's own.

    env: an id, or none. source: the run folder, for messages. UserError for one that `trust.parse`
    refuses.
    """
    if env == "none":
        return None
    if env is not None:
        return as_judged(tasks.of_run(config), registered(env))
    stored = config.get("evaluation", {}).get("environment")
    return None if stored is None else trust.parse(stored, str(source), trusted)


def check_fit(table: TransitionTable | Shape, environment: Environment) -> None:
    """Raise UserError where the spaces of data, or of a policy, and environment differ."""
    if not isinstance(environment, EnvSpec):
        fits_environment(table, environment)
        return
    built = make(environment)
    try:
        fits_environment(table, built)
    finally:
        closing.close(built, environment.id)


def check_acting(
    weights: str | None,
    k: int | None,
    num_candidates: int | None,
    noise_scale: float | None = None,
    candidate_rule: str | None = None,
    act_by: str | None = None,
) -> None:
    """Raise UserError for a value out of range; None leaves a choice to the run.

    weights: `ema` or `online`. k: 1..64. num_candidates: 1..1024. noise_scale: 0..10.
    candidate_rule: one of `Rule`. act_by: one of `ActBy`.
    """
    for name, value in (("k", k), ("num_candidates", num_candidates)):
        if not isinstance(value, Integral | None):
            raise UserError(f"{name} = {value!r:.40} must be an integer.")
    if not isinstance(noise_scale, Real | None):
        raise UserError(f"noise_scale = {noise_scale!r:.40} must be a number.")
    if weights is not None and weights not in _WEIGHTS:
        raise UserError(f"Unknown weights {weights!r}: choose ema (the moving average) or online.")
    if k is not None and not 1 <= k <= 64:
        raise UserError(f"k = {k} is no number of sampler steps: give 1 to 64.")
    if num_candidates is not None and not 1 <= num_candidates <= 1024:
        raise UserError(f"num_candidates = {num_candidates} is out of range: give 1 to 1024.")
    for name, given, known in (
        ("candidate_rule", candidate_rule, get_args(Rule)),
        ("act_by", act_by, get_args(ActBy)),
    ):
        if given is not None and given not in known:
            raise UserError(f"Unknown {name} {given!r}: choose {', '.join(known)}.")
    if noise_scale is not None and not 0.0 <= noise_scale <= 10.0:
        raise UserError(f"noise_scale = {noise_scale:g} is out of range: give 0 to 10.")


def index_of(agent: Agent, saved: checkpoint.Checkpoint, seed_index: int) -> int:
    """Return which seed of the agent is meant; UserError when it has no such seed."""
    seeds = len(agent.seeds)
    if not isinstance(seed_index, Integral) or not -seeds <= seed_index < seeds:
        raise UserError(
            f"There is no seed_index {seed_index!r:.40}: {saved.path} holds {many(seeds, 'seed')}, "
            f"{f'0 to {seeds - 1}' if seeds > 1 else 'number 0'}."
        )
    return seed_index % seeds


def pack(
    agent: Agent,
    saved: checkpoint.Checkpoint,
    index: int,
    weights: str | None,
    k: int | None,
    noise_scale: float | None = None,
    act_by: ActBy | None = None,
) -> Packed:
    """Return what the policy of seed number `index` needs, on the CPU.

    UserError where its actions overflow.
    """
    config, weights = saved.config, weights or agent.acting_weights
    description = {
        "task": config["task"],
        "agent": config["agent"],
        "seed": agent.seeds[index],
        "step": saved.step,
        "weights": weights,
        "num_candidates": getattr(agent.config, "num_candidates", 1),
        "candidate_rule": getattr(agent.config, "candidate_rule", None),
        "noise_scale": agent.noise_scale if noise_scale is None else noise_scale,
        "act_by": act_by or agent.act_by,
        "observation_keys": list(config["observation_keys"]),
        "observation_widths": list(config.get("observation_widths", ())),
        "gtp_fast": gtp_fast.__version__,
    }
    low, high = (np.asarray(config[f"action_{end}"], np.float32) for end in ("low", "high"))
    policy = agent.acting_policy(weights, k, noise_scale, act_by)
    folded = file.copied(policy.select(index).to("cpu"))
    if not file.acts(folded):
        raise UserError(
            f"{saved.path} holds a policy with actions that overflow (seed {agent.seeds[index]}): "
            "take another seed or checkpoint."
        )
    return Packed(folded, low, high, description)
