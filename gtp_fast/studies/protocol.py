"""Runs of one study: same task, data, seeds and length, each trained once and resumable."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gtp_fast import agents, tasks
from gtp_fast.agents import settings
from gtp_fast.errors import UserError
from gtp_fast.runs import Run, plain
from gtp_fast.studies import jobs
from gtp_fast.studies.group import Group
from gtp_fast.studies.groups import collect
from gtp_fast.studies.jobs import Job
from gtp_fast.system.files import write_atomically
from gtp_fast.tasks import Task
from gtp_fast.training import config, sized
from gtp_fast.training.config import Command
from gtp_fast.training.options import RunConfig

_PATIENCE = 600.0
"""Seconds that a study waits for its file: another process holds it while it loads its data."""


@dataclass(frozen=True)
class Protocol:
    """What all runs of a study have in common; the fields are those of RunConfig."""

    task: str
    seeds: tuple[int, ...]
    dataset: str | None = None
    steps: int | None = None
    episodes: int | None = None
    device: str = "auto"
    engine: str = "auto"
    backend: str = "auto"

    def __post_init__(self) -> None:
        """Raise UserError for an option out of range, as `train` does."""
        config.check(RunConfig(**vars(self)))

    def settings(self, agent: str, changes: Mapping[str, Any]) -> tuple[Task, Any]:
        """Return the task and the Config of an agent.

        changes: setting -> value; settings that the agent lacks are left out.
        Raises UserError for an unknown task or agent, and for a setting out of range.
        """
        task, defaults = agents.defaults(agent, tasks.find(self.task), self.steps)
        fields = {field.name for field in dataclasses.fields(defaults)}
        given = dataclasses.replace(defaults, **{k: v for k, v in changes.items() if k in fields})
        settings.check(given, {})
        given.check_new()
        return task, given

    def facts(self, agent: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return what two runs must agree on to be the same run, as plain values."""
        task, given = self.settings(agent, changes)
        facts: dict[str, Any] = plain({
            "seeds": self.seeds, "steps": self.steps or task.updates, "dataset": self.dataset,
            "episodes": self.episodes or task.episodes(self.steps or task.updates),
            "settings": dataclasses.asdict(given),
        })  # fmt: skip
        return facts

    def width_by_data(self, agent: str, changes: Mapping[str, Any]) -> bool:
        """Return whether the size of the data decides how wide a new run's networks are."""
        task, given = self.settings(agent, changes)
        return bool(sized.fitted(given, task, changes, 0) != given)

    def command(
        self,
        agent: str,
        changes: Mapping[str, Any],
        output: str | Path = "runs",
        evaluate_every: int = 0,
    ) -> Command:
        """Return the settings of a run; output: folder of runs with a dated folder."""
        task, given = self.settings(agent, changes)
        run_config = RunConfig(
            **vars(self) | {"task": task.name}, agent=agent, evaluate_every=evaluate_every,
            output=str(output),
        )  # fmt: skip
        return Command(run_config, task.rules, given, task, asked=frozenset(changes))


class Study:
    """Runs of one protocol by name, kept in a JSON file next to their folders.

    The file maps a name to its run folder and to what it was trained under. The folders lie next to
    it, wherever both were moved.
    """

    def __init__(self, path: Path, protocol: Protocol):
        self.path, self.protocol = path, protocol

    @property
    def kept(self) -> dict[str, dict[str, Any]]:
        """What this call and others have begun; UserError when the file cannot be read."""
        if not self.path.exists():
            return {}
        try:
            content = json.loads(self.path.read_text())
            kept: dict[str, dict[str, Any]] = {name: {**facts} for name, facts in content.items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise self._unreadable() from error
        return kept

    def _unreadable(self) -> UserError:
        return UserError(f"{self.path} cannot be read: delete it to start over.")

    def check(self, name: str, agent: str, changes: Mapping[str, Any]) -> None:
        """Raise UserError where the file holds that name under another protocol."""
        asked, found = self.protocol.facts(agent, changes), self.kept.get(name)
        if found is None:
            return
        begun = found.get("protocol")
        if not isinstance(begun, dict) or not isinstance(found.get("run"), str):
            raise self._unreadable()
        begun = begun | {"settings": agents.completed(agent, begun.get("settings", {}))}
        if self.protocol.width_by_data(agent, changes) and "width_by_data" in begun:
            # None equals no width: a run whose width was asked for is not the one without.
            own = begun["settings"].get("width") if begun["width_by_data"] else None
            asked["settings"]["width"] = own
        if differing := [key for key, value in asked.items() if begun.get(key) != value]:
            raise UserError(
                f"{self.path} holds {name} under another protocol ({', '.join(differing)} differ): "
                "repeat that one, or choose another --output."
            )

    def train(self, name: str, agent: str, changes: Mapping[str, Any]) -> int:
        """Train a run to its end, or continue it, unless finished; return the exit code."""
        with self._alone():
            # Whoever comes second finds the folder, and that it is being trained.
            self.check(name, agent, changes)
            home = self._run(name).path if name in self.kept else None
            if self.finished(name):
                print(f"done before: {home}")
                return 0
            command = self.protocol.command(agent, changes, self.path.parent)
            try:
                trainer = jobs.trainer(Job(command, home))
            except BaseException:
                if home is not None and not home.exists():
                    # It had no checkpoint, made room for its second start, and that failed.
                    self._forget(name)
                raise
            before = self.kept.get(name, {}).get("protocol", {})
            facts = self.protocol.facts(agent, changes)
            facts["settings"]["width"] = trainer.run.config()["agent_settings"]["width"]
            by_data = self.protocol.width_by_data(agent, changes)
            facts["width_by_data"] = before.get("width_by_data", by_data)
            self._note(name, {"run": str(trainer.run), "protocol": facts})
        return trainer.train()

    def note(self, name: str, **facts: Any) -> None:
        """Keep facts of a run in the file, next to what other processes keep there."""
        with self._alone():
            self._note(name, facts)

    def _note(self, name: str, facts: Mapping[str, Any]) -> None:
        kept = self.kept
        kept[name] = {**kept.get(name, {}), **facts}
        self._keep(kept)

    def _forget(self, name: str) -> None:
        self._keep({other: facts for other, facts in self.kept.items() if other != name})

    def _keep(self, kept: Mapping[str, Mapping[str, Any]]) -> None:
        write_atomically(self.path, json.dumps(kept, indent=1) + "\n")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the file against other processes; UserError where one takes too long."""
        hold = jobs.held(self.path.parent, _PATIENCE)
        try:
            yield
        finally:
            hold.release()

    def finished(self, name: str) -> bool:
        """Return whether a run has ended with its evaluation, or has diverged."""
        if name not in self.kept or "diverged" in self.kept[name]:
            return name in self.kept
        return jobs.finished(self._run(name))

    def _run(self, name: str) -> Run:
        """Return the folder of a run; UserError where it is not next to the file."""
        run = Run(self.path.parent / Path(self.kept[name]["run"]).name)
        if not run.path.is_dir():
            raise UserError(
                f"There is no run folder {run}, which {self.path} names for {name}: put it back, "
                f"or delete {name} from that file to train it again."
            )
        return run

    def unfinished(self, names: Iterable[str]) -> list[str]:
        """Return a sentence for each run that has ended without its scores: why, and the mend."""
        return [
            f"no scores of {name}: {jobs.unfinished(self._run(name))}"
            for name in names
            if not self.finished(name)
        ]

    def width(self, name: str) -> int:
        """Return the units of each hidden layer of a run that has begun."""
        return int(self._run(name).config()["agent_settings"]["width"])

    def scored(self, name: str) -> tuple[Run, Group] | None:
        """Return a finished run with its scores; None where there are none."""
        if not self.finished(name):
            return None
        run = self._run(name)
        if not run.summary() or not run.evaluations.exists():
            return None
        (group,) = collect([str(run)])
        return run, group
