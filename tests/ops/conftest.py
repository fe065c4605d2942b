"""The instruction sets that the tests of native forms go through."""

from __future__ import annotations

import pytest
from on_arrays import ISAS


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GTP_FAST_ISA", request.param)
    name: str = request.param
    return name
