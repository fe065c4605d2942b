"""The instruction sets that the tests of native forms go through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from on_arrays import ISAS, limited_to


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    with limited_to(request.param):
        yield request.param
