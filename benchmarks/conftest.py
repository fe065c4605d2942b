"""Options and the stage that all benchmarks share."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.stage import Stage

_STAGE = pytest.StashKey[Stage]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the knobs of a run."""
    group = parser.getgroup("gtp_fast benchmarks")
    group.addoption(
        "--row-seconds", type=float, default=0.2, help="time spent on a row in each of its turns"
    )
    group.addoption(
        "--transitions", type=int, default=200_000, help="size of the dataset that is loaded"
    )
    group.addoption(
        "--act-calls", type=int, default=1_000_000, help="calls of Policy.act for each precision"
    )


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest) -> Stage:
    """The stage of this run, on the GPU where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    made = Stage(device, request.config.getoption("--row-seconds"))
    request.config.stash[_STAGE] = made
    return made


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: list[Any], output_json: dict[str, Any]
) -> None:
    """Keep the reasons of skipped rows with the times, for the table."""
    made = config.stash.get(_STAGE, None)
    output_json["skipped"] = made.skipped if made else []
