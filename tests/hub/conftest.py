"""One hub for a module of tests; what each test starts is its own user's."""

import pytest
import pytest_asyncio
from hub_world import World


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory):
    """A hub with the profiles of the corpus of options."""
    here = await World(tmp_path_factory.mktemp("hub")).start()
    yield here
    await here.stop()
