"""One hub for all tests of this folder, and a service over an in-memory cluster for each."""

from __future__ import annotations

import asyncio

import pytest
from hub_process import running_hub
from service_world import World, make_world


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    with running_hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
async def world(hub):
    world = await make_world(hub)
    yield world
    world.server.stop()
    await world.server.close_all_connections()
    # The hub client's own connections end with the loop's next turns.
    await asyncio.sleep(0)


__all__ = ["World"]
