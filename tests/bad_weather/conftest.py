"""The row of the table that a test covers."""

from __future__ import annotations

import pytest
from cases import Case


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """The row named by ``@covers``."""
    found: Case = request.function.case
    return found
