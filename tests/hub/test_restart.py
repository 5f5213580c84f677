"""A hub that is killed while sessions wait: nobody's start is lost, and each can be cancelled."""

import json
import signal

import pytest
import pytest_asyncio
from hub_world import World, eventually

from jupyter_gpu_jit.core import wire

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def short_world(tmp_path_factory):
    """A hub that asks a server's URL only for three seconds, and waits 20 s for a start."""
    more = {
        "Spawner": {"http_timeout": 3},
        "GpuJitSpawner": {"start_deadline_seconds": 20},
        "JupyterHub": {"init_spawners_timeout": 1},
    }
    here = await World(tmp_path_factory.mktemp("hub"), more).start()
    yield here
    await here.stop()


async def waiting(world, count, body=None):
    users = [await world.new_user() for _ in range(count)]
    for user in users:
        status, text = await world.call("POST", f"users/{user}/server", body or {"profile": "l4"})
        assert status == 202, text
    return {user: await world.hand.has_pod(user) for user in users}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_gated_sessions_survive_the_hub_and_reach_ready_or_their_cancel(world, how):
    pods = await waiting(world, 5)
    await world.kill_hub(how)
    assert all(world.hand.pod_of(user) for user in pods)
    await world.start_hub()
    first, second, *others = pods
    for user in pods:
        assert (await world.server(user))["pending"] == "check"
    status, text = await world.call("POST", f"gpu-jit/users/{first}/server/cancel")
    assert status == 204, text
    assert world.hand.pod_of(first) is None
    for user in (second, *others):
        now = world.hand.pod_of(user)
        assert now["metadata"]["uid"] == pods[user]["metadata"]["uid"]
        await world.hand.run(now)
    for user in (second, *others):
        await world.until_ready(user)
    await world.until_stopped(first)


async def test_the_hubs_own_stop_ends_a_start_taken_up_again(world):
    (user, _), *_ = (await waiting(world, 1)).items()
    await world.kill_hub()
    await world.start_hub()
    assert (await world.server(user))["pending"] == "check"
    status, text = await world.call("DELETE", f"users/{user}/server")
    assert status in (202, 204), text
    await world.until_stopped(user)
    assert world.hand.pod_of(user) is None


async def test_a_start_taken_up_again_tells_its_progress(world):
    (user, pod), *_ = (await waiting(world, 1)).items()
    await world.kill_hub()
    await world.start_hub()
    await world.hand.tell(pod, "Booting", instance_type="g6.xlarge", eta_seconds=40)
    stages = []
    async for event in world.progress(user):
        assert "html_message" not in event
        stages.append(event.get("gpu_jit", {}).get("stage"))
        if stages[-1] == "Booting" and stages.count("Booting") == 1:
            await world.hand.run(pod)
        last = event
    assert "Booting" in stages
    assert last["ready"], last


async def test_a_pod_deleted_to_be_created_again_is_so_by_the_new_hub(world):
    (user, pod), *_ = (await waiting(world, 1)).items()
    await world.kill_hub()
    await world.start_hub()
    await world.hand.seat(pod)
    await world.hand.delete(world.hand.pod_of(user), again=True)
    other = await eventually(
        lambda: world.hand.pod_of(user),
        lambda p: p and p["metadata"]["uid"] != pod["metadata"]["uid"],
    )
    assert other["spec"]["schedulingGates"] == [{"name": wire.GATE}]
    assert not other["spec"].get("nodeName")
    same = wire.SESSION_ANNOTATION
    assert other["metadata"]["annotations"][same] == pod["metadata"]["annotations"][same]
    assert other["spec"]["containers"][0]["env"] == pod["spec"]["containers"][0]["env"]
    await world.hand.run(other)
    await world.until_ready(user)


async def test_a_pod_deleted_while_the_hub_was_down_is_a_server_that_stopped(world):
    (user, pod), *_ = (await waiting(world, 1)).items()
    await world.kill_hub()
    await world.hand.delete(pod)
    await world.start_hub()
    await world.until_stopped(user)
    status, _ = await world.call("POST", f"users/{user}/server", {})
    assert status in (201, 202)
    await world.hand.has_pod(user)


async def test_the_same_request_adopts_a_pod_that_the_hub_does_not_know(world):
    (user, pod), *_ = (await waiting(world, 1)).items()
    await world.kill_hub()
    (world.folder / "hub.sqlite").unlink()
    await world.start_hub()
    await world.new_user(user)
    status, _ = await world.call("POST", f"users/{user}/server", {"profile": "l4"})
    assert status == 202
    assert [p["metadata"]["uid"] for p in world.hand.pods() if _of(p, user)] == [
        pod["metadata"]["uid"]
    ]
    await world.hand.run(pod)
    await world.until_ready(user)
    env = {e["name"]: e.get("value") for e in pod["spec"]["containers"][0]["env"]}
    status, me = await world.call("GET", "user", token=env["JUPYTERHUB_API_TOKEN"])
    assert status == 200
    assert me["name"] == user


def _of(pod, user):
    return json.loads(pod["metadata"]["annotations"][wire.SESSION_ANNOTATION])["user"] == user


async def test_another_request_replaces_a_pod_that_the_hub_does_not_know(world):
    (user, pod), *_ = (await waiting(world, 1)).items()
    await world.kill_hub()
    (world.folder / "hub.sqlite").unlink()
    await world.start_hub()
    await world.new_user(user)
    await world.call("POST", f"users/{user}/server", {"profile": "cpu"})
    other = await eventually(
        lambda: world.hand.pod_of(user),
        lambda p: p and p["metadata"]["uid"] != pod["metadata"]["uid"],
    )
    assert wire.pod_resources(other["spec"]).gpus == 0


async def test_waiting_outlasts_the_time_a_server_has_to_answer(short_world):
    world = short_world
    (user, pod), *_ = (await waiting(world, 1)).items()
    await world.kill_hub()
    await world.start_hub()
    events = world.progress(user)
    seen = 0.0
    async for event in events:
        seen = event["gpu_jit"]["waited_seconds"]
        if seen > 8:
            break
    await events.aclose()
    assert world.hand.pod_of(user)["metadata"]["uid"] == pod["metadata"]["uid"]
    await world.hand.run(pod)
    await world.until_ready(user)


async def test_the_own_deadline_ends_a_start_with_a_sentence(short_world):
    world = short_world
    (user, pod), *_ = (await waiting(world, 1)).items()
    await world.hand.tell(pod, "Waiting", message="No L4 to be had.")
    last = None
    async for event in world.progress(user):
        last = event
    assert last["failed"]
    assert "could not start within 20 s" in last["message"]
    assert "No L4 to be had." in last["message"]
    await eventually(lambda: world.hand.pod_of(user), lambda p: p is None)
