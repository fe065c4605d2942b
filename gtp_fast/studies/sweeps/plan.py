"""From a sweep's file to the settings of its runs, checked like those of train."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import io
import itertools
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, get_origin, get_type_hints

from gtp_fast import agents, cli, tasks
from gtp_fast.agents import settings
from gtp_fast.errors import UserError
from gtp_fast.studies import jobs
from gtp_fast.system import words
from gtp_fast.tasks import Rules
from gtp_fast.training import config
from gtp_fast.training.config import Command
from gtp_fast.training.options import RunConfig

_PARTS = ("base", "grid", "jobs")
_PLURAL = {"tasks": "task", "agents": "agent"}
_NOT_HERE = ("resume", "output")
_MOST = 10_000
"""Runs of one sweep."""
_DEVICES = ("auto", "cpu", "cuda")


class Entry(NamedTuple):
    """Settings of one run as the file gives them."""

    settings: dict[str, Any]
    places: dict[str, str]
    """Setting -> where in the file it stands."""


def read(path: Path) -> list[Command]:
    """Return the settings of every run of a file; UserError naming file, key and mend."""
    return resolve(str(path), entries(str(path), words.read(path)))


def paper(names: Sequence[str] = tasks.PAPER_TASKS) -> list[Command]:
    """Return the paper's table on its tasks: GTP as published, rivals as theirs, five seeds."""
    rows = [
        {"task": task, "agent": agent, "seeds": [0, 1, 2, 3, 4]}
        | ({"preset": "paper"} if agent == "gtp" else {})
        for task in names
        for agent in sorted(agents.REGISTRY, key=lambda name: (name != "gtp", name))
    ]
    return resolve("--paper", entries("--paper", {"jobs": rows}))


def entries(source: str, content: Mapping[str, Any]) -> list[Entry]:
    """Return the runs: the grid over the base, then the jobs over it."""
    for part in content:
        if part not in _PARTS:
            raise UserError(f"{source}: there is no part {part!r}: write {', '.join(_PARTS)}.")
    base = _mapping(source, "base", content.get("base") or {})
    grid: dict[str, tuple[str, Any]] = {}
    for key, value in _mapping(source, "grid", content.get("grid") or {}).items():
        name = _PLURAL.get(key, key)
        if name in grid:
            raise UserError(
                f"{source}: grid.{grid[name][0]} and grid.{key} are one setting: join the lists."
            )
        grid[name] = (key, value)
    given = content.get("jobs") or []
    if not isinstance(given, list):
        raise UserError(f"{source}: jobs must be a list of mappings of settings.")
    for name, (key, values) in grid.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{source}: grid.{key} must be a list of at least one value.")
        if name in base:
            raise UserError(f"{source}: {name} stands in base and in grid: leave one out.")
    places = {key: f"base.{key}" for key in base}
    shared = dict(base)
    if "seeds" in grid:
        # Seeds are no axis: all seeds of a configuration belong together.
        shared["seeds"], places["seeds"] = grid.pop("seeds")[1], "grid.seeds"
    places |= {name: f"grid.{key}" for name, (key, _) in grid.items()}
    count = len(given)
    for size in [len(values) for _, values in grid.values()]:
        count = max(1, count) * size
    if count > _MOST:
        raise UserError(f"{source}: the grid has more than {_MOST:,} runs: take some values out.")
    made = []
    if grid or not given:
        made = [
            Entry(shared | dict(zip(grid, chosen, strict=True)), places)
            for chosen in itertools.product(*(values for _, values in grid.values()))
        ]
    for number, one in enumerate(given):
        own = _mapping(source, f"jobs[{number}]", one)
        made.append(Entry(shared | own, places | {key: f"jobs[{number}].{key}" for key in own}))
    return made


def resolve(source: str, given: Sequence[Entry]) -> list[Command]:
    """Return the settings of the runs, each once, and print notes on them once."""
    found: dict[str, Command] = {}
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        for entry in given:
            command = _command(source, entry)
            found.setdefault(jobs.name(command), command)
    for line in dict.fromkeys(said.getvalue().splitlines()):
        print(line, file=sys.stderr)
    return list(found.values())


def packed(commands: Sequence[Command], device: str) -> list[Command]:
    """Return the jobs: one for all seeds on a GPU, one a seed on cores.

    device: what `auto` stands for. Seeds with settings of their own stay together. A seed that
    stands in several entries of one configuration trains in the first: its run counts for all.
    """
    made = list[Command]()
    taken: dict[str, set[int]] = {}
    for command in commands:
        on = device if command.run.device == "auto" else command.run.device
        run = dataclasses.replace(command.run, device=on)
        if on == "cpu":
            run = dataclasses.replace(run, processes=1)
        own = any(isinstance(v, tuple) and len(v) > 1 for v in vars(command.agent).values())
        seeds = run.seeds
        if not own:
            before = taken.setdefault(jobs.name(_with_seeds(command, ())), set())
            seeds = tuple(seed for seed in seeds if seed not in before)
            before.update(seeds)
        groups = [seeds] if on != "cpu" or own else [(seed,) for seed in seeds]
        on_device = dataclasses.replace(command, run=run)
        made += [_with_seeds(on_device, group) for group in groups if group]
    return made


def _with_seeds(command: Command, seeds: tuple[int, ...]) -> Command:
    return dataclasses.replace(command, run=dataclasses.replace(command.run, seeds=seeds))


def _command(source: str, entry: Entry) -> Command:
    """Return the settings of one run; UserError naming the key that is wrong and its place."""
    agent = str(entry.settings.get("agent", RunConfig.agent))
    places = entry.places
    try:
        kind = agents.find(agent).Config
    except UserError as error:
        raise UserError(f"{source}: {places['agent']}: {error}") from error
    kinds = {
        name: one
        for home in (RunConfig, Rules, kind)
        for name, one in get_type_hints(home, include_extras=True).items()
        if name not in _NOT_HERE and get_origin(one) is not ClassVar
    }
    for key in entry.settings:
        if key not in kinds:
            near = difflib.get_close_matches(key, kinds, n=2)
            mend = f"did you mean {' or '.join(near)}?" if near else "take it out."
            raise UserError(f"{source}: {places[key]}: {agent} has no setting {key!r}; {mend}")
    typed = {
        key: _typed(f"{source}: {places[key]}", key, kinds[key], value)
        for key, value in entry.settings.items()
    }
    dataset = typed.pop("dataset", None)
    typed.pop("agent", None)
    try:
        command = config.of_keywords(dataset, agent, typed, shared=True)
        if command.run.device not in _DEVICES:
            raise UserError(f"--device must be one of {', '.join(_DEVICES)}.")
        _check_ranges(agent, command)
    except UserError as error:
        named = [word.replace("-", "_") for word in re.findall(r"--([a-z][a-z-]*)", str(error))]
        named += ["task"] if "task" in str(error) else []
        wrong = next((places[key] for key in named if key in places), "")
        raise UserError(f"{source}: {wrong}{': ' * bool(wrong)}{error}") from error
    return command


def _check_ranges(agent: str, command: Command) -> None:
    """Raise UserError for a setting out of range; the agent is built small, which is fast."""
    settings.check(command.agent, {})
    small = dataclasses.replace(command.agent, width=8, depth=1)
    agents.build(agent, small, 3, 2, command.run.seeds, "cpu", "reference").acting()


def _typed(place: str, key: str, kind: Any, value: Any) -> Any:
    """Return a value of the file as the command line would read it."""
    words = _words(place, key, value)
    try:
        return _parsed(key, kind, tuple(words))
    except UserError as error:
        reason = str(error).split(" Got errors")[0].split("; see ")[0].rstrip(".")
        raise UserError(
            f"{place}: {value!r} does not fit ({reason}); `gtp_fast train --help-all` explains "
            f"{words[0].split('=')[0]}."
        ) from error


@functools.cache
def _parsed(key: str, kind: Any, words: tuple[str, ...]) -> Any:
    one = dataclasses.make_dataclass("One", [(key, kind)], frozen=True)
    return getattr(cli.parse(one, words, "gtp_fast train"), key)


def _words(place: str, key: str, value: Any) -> list[str]:
    """Return a setting as words of the command line."""
    option = f"--{key.replace('_', '-')}"
    if not isinstance(value, list):
        return [f"{option}={_word(place, value)}"]
    several = [_word(place, one) for one in value]
    if not several or any(word.startswith("--") for word in several):
        raise UserError(f"{place} must be a value or a list of values.")
    return [option, *several]


def _word(place: str, value: Any) -> str:
    if isinstance(value, dict | list):
        raise UserError(f"{place} must be a value or a list of values.")
    return str(value)


def _mapping(source: str, place: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{source}: {place} must be a mapping of settings to values.")
    return {key.replace("-", "_"): one for key, one in value.items()}
