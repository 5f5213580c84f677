"""Services that moto lacks or answers uselessly, all of them JSON. Called by ``front``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .call import Call

if TYPE_CHECKING:
    from .world import World

Own = tuple[int, dict[str, Any]]
"""HTTP status and body."""


def answer(world: World, call: Call) -> Own | None:
    """The answer of one of our own services; None leaves it to moto."""
    del world, call
    return None
