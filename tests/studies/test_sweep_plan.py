"""A sweep's file: its jobs, their names, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gtp_fast import agents, cli, sweep, tasks
from gtp_fast.errors import UserError
from gtp_fast.studies import jobs
from gtp_fast.studies.sweeps import plan
from gtp_fast.system import words

GRID = """
base: {steps: 100, width: 64, learning_rate: 1e-3}
grid:
  tasks: [hopper-medium, antmaze-umaze]
  agents: [gtp, iql]
  seeds: [0, 1]
  cosine_decay: [true, false]
jobs:
  - {task: pointmaze-demo, eta: [0.5, 1]}
"""


def read(tmp_path: Path, text: str) -> list[plan.Command]:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return plan.read(path)


def test_a_grid_over_a_base_and_jobs_of_their_own(tmp_path: Path) -> None:
    found = read(tmp_path, GRID)
    shown = [(c.task.name, c.run.agent, c.agent.cosine_decay) for c in found]
    assert len(shown) == 9 == len(set(shown))
    assert shown[0] == ("hopper-medium", "gtp", True) and shown[3] == (
        "hopper-medium",
        "iql",
        False,
    )
    assert {c.run.seeds for c in found} == {(0, 1)} and {c.run.steps for c in found} == {100}
    assert {c.agent.learning_rate for c in found} == {(1e-3,)}
    assert found[-1].agent.eta == (0.5, 1.0)


def test_seeds_are_packed_on_a_gpu_and_spread_over_cores(tmp_path: Path) -> None:
    found = read(tmp_path, GRID)
    assert [c.run.seeds for c in plan.packed(found, "cuda")] == 9 * [(0, 1)]
    spread = plan.packed(found, "cpu")
    # Seeds with settings of their own stay together.
    assert [c.run.seeds for c in spread] == 8 * [(0,), (1,)] + [(0, 1)]
    assert {(c.run.device, c.run.processes) for c in spread} == {("cpu", 1)}


def test_a_job_is_named_by_what_decides_its_result(tmp_path: Path) -> None:
    first, *_ = read(tmp_path, GRID)
    same = {"device": "cuda", "engine": "eager", "output": "elsewhere", "processes": 2}
    other = {"seeds": (1,), "steps": 101, "episodes": 3, "precision": "bf16", "env": "none"}
    other |= {"dataset": "own.npz"}

    def name(**changes: object) -> str:
        run = dataclasses.replace(first.run, **changes)
        return jobs.name(dataclasses.replace(first, run=run))

    assert {name(**{key: value}) for key, value in same.items()} == {name()}
    assert len({name(), *(name(**{key: value}) for key, value in other.items())}) == 7
    wider = dataclasses.replace(first, agent=dataclasses.replace(first.agent, width=65))
    assert jobs.name(wider) != name() and name().startswith("hopper-medium-gtp-")


def test_a_rule_of_the_task_that_is_asked_for_names_a_job_of_its_own(tmp_path: Path) -> None:
    base = "base: {task: antmaze-umaze, dataset: flat.npz, seeds: [0]"
    plain, asked = (read(tmp_path, f"{base}{more}}}")[0] for more in ("", ", cut_at_goal: true"))
    # A flat file is not cut by default.
    assert plain.rules == asked.rules and jobs.name(plain) != jobs.name(asked)


def test_a_setting_that_comes_later_renames_no_job_of_an_older_sweep(tmp_path: Path) -> None:
    (one,) = read(tmp_path, "base: {task: hopper-medium, steps: 1000, seeds: [0]}")
    assert jobs.name(one) == "hopper-medium-gtp-9fa7accf3382"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("base: {task: hopper-medium, stepz: 3}", "base.stepz: gtp has no setting 'stepz'; did"),
        ("base: {task: hopper-medium, steps: abc}", "base.steps: 'abc' does not fit"),
        ("base: {task: hopper-medium, steps: true}", "base.steps: True does not fit"),
        ("base: {task: hopper-medium, width: 0}", "base.width: --width 0 is out of range"),
        ("base: {task: hopper-medium, width: {a: 1}}", "base.width must be a value or a list"),
        ("base: {task: hopper-medium, eta: []}", "base.eta must be a value or a list"),
        ("base: {task: hopper-medium, seeds: [0, 0]}", "base.seeds: --seeds must name"),
        ("base: {task: hopper-medium, device: tpu}", "base.device: --device must be one of"),
        ("base: {task: hopper-medium, candidates_differ: false}", "gtp has no setting 'candidates"),
        ("base: {task: hopper-medium, output: x}", "base.output: gtp has no setting 'output'"),
        ("base: {task: hopper-medium}\ngrid: {t_law: [a]}", "grid.t_law: 'a' does not fit"),
        ("base: {steps: 3}\ngrid: {steps: [3]}", "steps stands in base and in grid: leave one out"),
        ("grid: {task: [hopper-medium], tasks: [hopper-medium]}", "grid.task and grid.tasks are"),
        ("grid: {tasks: [hopper-mediun]}", "grid.tasks: unknown task 'hopper-mediun'"),
        ("grid: {tasks: hopper-medium}", "grid.tasks must be a list"),
        ("jobs: [{task: hopper-medium, agent: iqq}]", "jobs[0].agent: Unknown agent 'iqq'"),
        ("jobs: {task: hopper-medium}", "jobs must be a list"),
        ("job: []", "there is no part 'job': write base, grid, jobs."),
        ("base: [1]", "base must be a mapping"),
        ("- 1", "holds no mapping"),
        ("", "holds no mapping"),
        ("a: &a [x]\nbase: [*a, *a]", "line 2: aliases (*name) are not read, write it out."),
        ("base: {}\nbase: {}", "line 2: base stands twice, keep one."),
        ("base: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("base: [1\n", "expected ',' or ']'"),
        ("[" * 5000, "line 1: more than 20 levels are not read"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_sentence_with_file_and_key(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    assert cli.run(sweep.main, [str(path), "--dry-run"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"gtp_fast: {path}") and said in line


def test_files_that_expand_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text("base: " + "x" * 1_000_001)
    with pytest.raises(UserError, match="more than 1,000,000 bytes"):
        words.read(path)
    values = ", ".join(map(str, range(100)))
    grid = "\n".join(f"  a{number}: [{values}]" for number in range(10))
    with pytest.raises(UserError, match="more than 10,000 runs"):
        read(tmp_path, f"grid:\n{grid}")


def test_the_papers_table_is_whole() -> None:
    found = plan.paper(tasks.PAPER_TASKS[:1])
    assert found[0].run.agent == "gtp" and found[0].run.preset == "paper"
    assert {c.run.agent for c in found} == set(agents.REGISTRY)
    assert {c.run.seeds for c in found} == {(0, 1, 2, 3, 4)}
    for one in found:
        task, config = agents.defaults(
            one.run.agent, one.task, preset="paper" if one.run.agent == "gtp" else "auto"
        )
        assert one.agent == config and one.rules == task.rules
