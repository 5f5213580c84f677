"""What a newcomer does, on the control plane in memory."""

import pytest
from newcomer import (  # noqa: F401
    test_a_freed_seat_can_be_planned_again_within_two_seconds,
    test_cancel_while_it_boots_leaves_nothing,
    test_choose_wait_work_share_and_give_back,
)


@pytest.fixture(scope="module")
def plane() -> str:
    return "memory"
