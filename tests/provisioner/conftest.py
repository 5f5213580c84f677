"""Builders: a world in virtual time with the real provisioner, and the profiles used in it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from jupyter_gpu_jit.core.model import Profile
from jupyter_gpu_jit.sim.loop import run
from jupyter_gpu_jit.sim.world import World, WorldConfig, play

GIB = 1 << 30
T = TypeVar("T")
Body = Callable[[World], Coroutine[Any, Any, T]]


@pytest.fixture
def a100() -> Profile:
    return Profile(
        slug="a100", display_name="A100", gpus=1, gpu_models=("A100",),
        cpu_guarantee_millicpu=8000, memory_guarantee_bytes=64 * GIB,
    )  # fmt: skip


@pytest.fixture
def l4() -> Profile:
    return Profile(
        slug="l4", display_name="L4", gpus=1, gpu_models=("L4",),
        cpu_guarantee_millicpu=3000, memory_guarantee_bytes=12 * GIB,
    )  # fmt: skip


@pytest.fixture
def in_world() -> Callable[..., Any]:
    """Run a scenario's body in a new world; what it returns."""

    def go(body: Body[T], *, seed: int = 1, provisioner: bool = True, **config: Any) -> T:
        async def main() -> tuple[World, T]:
            return await play(
                body, seed=seed, config=WorldConfig(**config), provisioner=provisioner
            )

        return run(main, seed=seed)[1]

    return go
