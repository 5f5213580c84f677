"""Starts on a real hub: what becomes of the pod, and of those who wait for it."""

import asyncio
import json

import pytest
from hub_world import container, eventually

from jupyter_gpu_jit.core import wire

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def begin(world, body=None, *, user="", server=""):
    """A start that waits: its user and pod."""
    user = user or await world.new_user()
    path = f"users/{user}/servers/{server}" if server else f"users/{user}/server"
    status, text = await world.call("POST", path, body or {})
    assert status in (201, 202), text
    return user, await world.hand.has_pod(user, server)


async def failure(world, user, server=""):
    """The sentence of the last event of a start that ended badly."""
    last = None
    async for event in world.progress(user, server):
        last = event
    assert last is not None
    assert last.get("failed"), last
    return last["message"]


async def test_a_start_without_options_gives_the_first_profile_and_waits_for_its_pod(world):
    user, pod = await begin(world)
    request = json.loads(pod["metadata"]["annotations"][wire.SESSION_ANNOTATION])
    assert request["profile"] == "cpu"
    assert pod["spec"]["schedulingGates"] == [{"name": wire.GATE}]
    await world.hand.run(pod)
    await world.until_ready(user)
    status, _ = await world.call("DELETE", f"users/{user}/server")
    assert status in (202, 204)
    await world.until_stopped(user)
    assert world.hand.pod_of(user) is None


async def test_a_running_pod_is_noticed_at_once(world):
    user, pod = await begin(world, {"profile": "l4"})
    began = asyncio.get_running_loop().time()
    await world.hand.run(pod)
    await world.until_ready(user)
    # Upstream would look again only after up to several seconds.
    assert asyncio.get_running_loop().time() - began < 1.5


async def test_two_servers_of_one_user_are_two_sessions(world):
    user, first = await begin(world)
    _, second = await begin(world, {"profile": "l4"}, user=user, server="gpu")
    assert first["metadata"]["name"] != second["metadata"]["name"]
    for pod in (first, second):
        await world.hand.run(pod)
    await world.until_ready(user)
    await world.until_ready(user, "gpu")


async def test_a_pod_deleted_to_be_created_again_is_within_the_same_start(world):
    user, pod = await begin(world, {"profile": "l4"})
    await world.hand.delete(pod, again=True)
    other = await eventually(
        lambda: world.hand.pod_of(user),
        lambda p: p and p["metadata"]["uid"] != pod["metadata"]["uid"],
    )
    assert other["spec"]["schedulingGates"] == [{"name": wire.GATE}]
    assert wire.RECREATE_ANNOTATION not in other["metadata"]["annotations"]
    await world.hand.run(other)
    await world.until_ready(user)


async def test_a_pod_deleted_without_a_word_ends_the_start_with_a_sentence(world):
    user, pod = await begin(world)
    await world.hand.delete(pod)
    await world.until_stopped(user)
    assert "was deleted while it waited" in await failure(world, user)
    assert world.hand.pod_of(user) is None


async def test_a_refusal_ends_the_start_with_the_planners_sentence(world):
    user, pod = await begin(world)
    await world.hand.tell(pod, "Refused", message="No zone sells 100 % of that.")
    await world.until_stopped(user)
    assert "No zone sells 100 % of that." in await failure(world, user)
    assert await eventually(lambda: world.hand.pod_of(user), lambda p: p is None) is None


async def test_a_server_that_ends_before_it_is_ready_ends_the_start(world):
    user, pod = await begin(world)
    await world.hand.seat(pod)
    ended = {"terminated": {"exitCode": 3, "reason": "Error"}}
    status = {"phase": "Failed", "containerStatuses": [container(state=ended)]}
    await world.hand.patch(pod, {"status": status}, "status")
    await world.until_stopped(user)
    assert "exit code 3" in await failure(world, user)


async def test_waiting_for_capacity_is_not_a_failure(world):
    user, pod = await begin(world)
    await world.hand.tell(pod, "Waiting", reason="NoCapacity", message="No L4 to be had.")
    stream = world.progress(user)
    async for event in stream:
        if event.get("gpu_jit", {}).get("stage") == "Waiting":
            assert "No L4 to be had." in event["message"]
            break
    await stream.aclose()
    assert (await world.server(user))["pending"] == "spawn"
    await world.hand.run(pod)
    await world.until_ready(user)


async def test_after_a_failed_start_the_next_one_works(world):
    user, pod = await begin(world)
    await world.hand.delete(pod)
    await world.until_stopped(user)
    _, pod = await begin(world, user=user)
    await world.hand.run(pod)
    await world.until_ready(user)


# --- cancel ------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["", "two"])
@pytest.mark.parametrize("verb", ["POST", "DELETE"])
async def test_a_gated_start_can_be_cancelled_and_leaves_no_pod(world, verb, server):
    user, _ = await begin(world, server=server)
    where = f"servers/{server}" if server else "server"
    token = await world.token_of(user)
    status, text = await world.call(verb, f"gpu-jit/users/{user}/{where}/cancel", token=token)
    assert status == 204, text
    assert world.hand.pod_of(user, server) is None
    assert "cancelled" in await failure(world, user, server)


async def test_a_seated_start_can_be_cancelled(world):
    user, pod = await begin(world)
    await world.hand.seat(pod)
    status, _ = await world.call("POST", f"gpu-jit/users/{user}/server/cancel")
    assert status == 204
    assert world.hand.pod_of(user) is None


async def test_a_start_whose_server_does_not_answer_yet_can_be_cancelled(world):
    user, pod = await begin(world)
    await world.hand.run(pod, address="127.0.0.9")
    async for event in world.progress(user):
        if event.get("gpu_jit", {}).get("stage") == "Starting":
            break
    status, text = await world.call("POST", f"gpu-jit/users/{user}/server/cancel")
    assert status in (202, 204), text
    await world.until_stopped(user)
    assert world.hand.pod_of(user) is None


async def test_an_api_server_that_is_away_for_a_moment_ends_no_start(world):
    user, pod = await begin(world)
    port = int(world.api_url.rpartition(":")[2])
    await world.api.stop()
    stream = world.progress(user)
    waited = 0
    async for event in stream:
        waited = event["gpu_jit"]["waited_seconds"] if "gpu_jit" in event else waited
        if waited > 4:
            break
    await stream.aclose()
    await world.api.start(port=port)
    await world.hand.run(pod)
    await world.until_ready(user)


async def test_the_hubs_own_stop_also_ends_a_gated_start(world):
    user, _ = await begin(world)
    status, text = await world.call("DELETE", f"users/{user}/server")
    assert status in (202, 204), text
    await world.until_stopped(user)
    assert world.hand.pod_of(user) is None


async def test_nobody_else_can_cancel(world):
    user, pod = await begin(world)
    other = await world.token_of(await world.new_user())
    status, _ = await world.call("POST", f"gpu-jit/users/{user}/server/cancel", token=other)
    assert status in (403, 404)
    assert world.hand.pod_of(user)["metadata"]["uid"] == pod["metadata"]["uid"]
    status, _ = await world.call("POST", "gpu-jit/users/nobody/server/cancel")
    assert status == 404


async def test_cancelling_what_is_not_starting_says_so(world):
    user, pod = await begin(world)
    await world.hand.run(pod)
    await world.until_ready(user)
    status, body = await world.call("POST", f"gpu-jit/users/{user}/server/cancel")
    assert status == 409
    assert "nothing to cancel" in body["message"]


async def test_a_browser_needs_the_hubs_token_against_forgery_to_cancel(world):
    user, _ = await begin(world)
    browser = await world.browser(user)
    url = f"{world.url}api/gpu-jit/users/{user}/server/cancel"
    headers = {"Content-Type": "application/json"}
    async with browser.http.post(url, headers=headers) as answer:
        assert answer.status == 403
    assert world.hand.pod_of(user)
    headers["X-XSRFToken"] = browser.xsrf()
    async with browser.http.post(url, headers=headers) as answer:
        assert answer.status == 204, await answer.text()
    await browser.close()
