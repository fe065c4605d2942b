"""The run and its policy that the tests of acting share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gtp_fast.policy import Policy
    from gtp_fast.runs import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    # A run's data package needs gymnasium, without which these tests are skipped.
    from fake_runs import make_run

    return make_run(tmp_path_factory.mktemp("policy") / "run")


@pytest.fixture(scope="module")
def loaded(run: Run) -> Policy:
    from gtp_fast import policy

    return policy.load(run)
