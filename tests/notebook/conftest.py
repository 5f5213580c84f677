"""The hub and the service of tests/service, for the notebook side to talk to."""

from __future__ import annotations

import pytest
from hub_process import running_hub
from service_world import make_world


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
