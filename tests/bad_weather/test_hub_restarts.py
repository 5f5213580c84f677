"""A real hub that dies while ten users wait, and profiles that are broken under its hands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from cases import Case, covers
from hub_world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROFILE = {"profile": "l4"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    here = await World(tmp_path_factory.mktemp("hub")).start()
    yield here
    await here.stop()


@covers("hub-restarts")
async def test_ten_users_wait_on_and_are_told_why(case: Case, hub: World) -> None:
    users = [await hub.new_user() for _ in range(10)]
    for user in users:
        assert (await hub.call("POST", f"users/{user}/server", PROFILE))[0] == 202
    pods = {user: await hub.hand.has_pod(user) for user in users}
    for pod in pods.values():
        await hub.hand.tell(pod, "Waiting", message=case.says())
    assert hub.process is not None
    await hub.kill_hub()
    await hub.start_hub()
    assert hub.process.returncode is case.exit_code, "the new one runs"

    told = await asyncio.gather(*(first_word(hub, user) for user in users))
    assert all(text.startswith(case.says()) for text in told), told
    for pod in pods.values():
        await hub.hand.run(pod)
    for user in users:
        await hub.until_ready(user)
        now = hub.hand.pod_of(user)
        assert now is not None
        assert now["metadata"]["uid"] == pods[user]["metadata"]["uid"], "the same pod"


async def first_word(hub: World, user: str) -> str:
    """What the pending page says first."""
    async with asyncio.timeout(15):
        events = hub.progress(user)
        async for event in events:
            await events.aclose()
            return str(event["message"])
    pytest.fail("nothing was said")


@covers("profiles-broken-while-running")
async def test_profiles_broken_under_a_running_hub(case: Case, hub: World) -> None:
    file = hub.folder / "profiles.yaml"
    good = file.read_text()
    broken = json.loads(good)
    broken["profiles"][0]["memry"] = "1Gi"
    file.write_text(json.dumps(broken))
    user = await hub.new_user()
    assert (await hub.call("POST", f"users/{user}/server", PROFILE))[0] == 202
    await hub.hand.run(await hub.hand.has_pod(user))
    await hub.until_ready(user)
    assert case.says() in hub.log()
    file.write_text(good)
