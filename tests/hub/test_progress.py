"""What a person who waits is told, on a real hub."""

import asyncio
import itertools

import pytest

from jupyter_gpu_jit.core import wire

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def begin(world):
    user = await world.new_user()
    status, text = await world.call("POST", f"users/{user}/server", {"profile": "l4"})
    assert status == 202, text
    return user, await world.hand.has_pod(user)


async def test_stages_follow_the_pod_and_end_in_ready(world):
    user, pod = await begin(world)
    where = {"instance_type": "g6.xlarge", "zone": "us-east-1a", "capacity_type": "spot"}
    steps = iter(
        [
            lambda: world.hand.tell(
                pod, "Launching", usd_per_hour_micro=321_000, eta_seconds=90, **where
            ),
            lambda: world.hand.tell(pod, "Booting", node="n1", eta_seconds=60, **where),
            lambda: world.hand.tell(pod, "Initialised", node="n1", **where),
            lambda: world.hand.seat(pod),
            lambda: world.hand.run(world.hand.pod_of(user), ready=False),
            lambda: world.hand.run(world.hand.pod_of(user)),
        ]
    )
    seen, percents, last = [], [], {}
    async for event in world.progress(user):
        assert event["message"] != last.get("message")
        last = event
        info = event.get("gpu_jit")
        if info is None:
            continue
        percents.append(event["progress"])
        if info["stage"] not in seen:
            seen.append(info["stage"])
            await next(steps)()
        if info["stage"] == "Launching":
            assert info["usd_per_hour"] == 0.321
            assert info["instance_type"] == "g6.xlarge"
            assert 80 <= info["eta_seconds"] <= 90
        if info["stage"] == "Booting":
            assert info["node"] == "n1"
            rows = {row["name"]: row["state"] for row in info["stages"]}
            assert (rows["Launching"], rows["Booting"], rows["Ready"]) == (
                "done",
                "current",
                "todo",
            )
    assert last["ready"]
    assert seen == ["Requested", "Launching", "Booting", "Initialised", "Pulling", "Starting"]
    assert percents == sorted(percents)


async def test_nobody_waits_in_silence_and_no_message_comes_twice(world):
    user, _ = await begin(world)
    loop = asyncio.get_running_loop()
    messages, at = [], [loop.time()]
    stream = world.progress(user)
    async for event in stream:
        messages.append(event["message"])
        at.append(loop.time())
        assert "html_message" not in event
        if len(messages) == 5:
            break
    await stream.aclose()
    assert len(set(messages)) == len(messages)
    assert max(b - a for a, b in itertools.pairwise(at)) < 10


async def test_the_hubs_own_stream_says_the_same(world):
    user, pod = await begin(world)
    stages, last = set(), None
    async for event in world.progress(user, path=f"users/{user}/server"):
        last = event
        if "gpu_jit" in event:
            stages.add(event["gpu_jit"]["stage"])
            if not pod["spec"].get("nodeName"):
                await world.hand.run(pod)
                pod = world.hand.pod_of(user)
    assert "Requested" in stages
    assert last["ready"]


async def test_whoever_comes_later_sees_where_it_stands(world):
    user, pod = await begin(world)
    await world.hand.tell(pod, "Booting", instance_type="g6.xlarge")
    for _ in range(2):
        stream = world.progress(user)
        async for event in stream:
            if event.get("gpu_jit", {}).get("stage") == "Booting":
                break
        await stream.aclose()


async def test_others_see_nothing(world):
    user, _ = await begin(world)
    other = await world.token_of(await world.new_user())
    status, _ = await world.call("GET", f"gpu-jit/users/{user}/server/progress", token=other)
    assert status in (403, 404)


async def test_quotes_are_those_of_the_service_for_the_users_own_profiles(world):
    user = await world.new_user()
    token = await world.token_of(user)
    world.quotes_answer = (200, {"quotes": {"l4": {"possible": True}}})
    status, body = await world.call("GET", "gpu-jit/quotes", token=token)
    assert (status, body) == (200, {"quotes": {"l4": {"possible": True}}})
    asked = world.quotes_asked[-1]
    assert asked["token"] == f"token {world.service_token}"
    assert [p["slug"] for p in asked["profiles"]] == ["cpu", "l4"]
    before = len(world.quotes_asked)
    await asyncio.gather(*(world.call("GET", "gpu-jit/quotes", token=token) for _ in range(5)))
    assert len(world.quotes_asked) <= before + 1


@pytest.mark.parametrize("answer", [(500, {}), (200, {"no": 1}), (200, []), (200, {"quotes": 1})])
async def test_without_the_service_prices_are_unknown_and_nothing_fails(world, answer):
    staff = await world.new_user(groups=("staff",))
    token = await world.token_of(staff)
    world.quotes_answer = answer
    await asyncio.sleep(1.1)  # the last answer is kept for a second
    status, body = await world.call("GET", "gpu-jit/quotes", token=token)
    assert (status, body) == (200, {"quotes": None})


async def test_quotes_are_for_users_who_are_logged_in(world):
    status, _ = await world.call("GET", "gpu-jit/quotes", token="nobody")
    assert status == 403
    status, _ = await world.call("GET", "gpu-jit/quotes")
    assert status == 403  # a service has no profiles


async def test_server_tokens_carry_the_scope_of_their_own_server_only(world):
    user, pod = await begin(world)
    env = {e["name"]: e.get("value") for e in pod["spec"]["containers"][0]["env"]}
    assert env["GPU_JIT_API_URL"].endswith("/services/gpu-jit/api/v1/")
    status, me = await world.call("GET", "user", token=env["JUPYTERHUB_API_TOKEN"])
    assert status == 200
    assert f"custom:gpu-jit:control!server={user}/" in me["scopes"]
    assert "access:services!service=gpu-jit" in me["scopes"]
    assert not any(s.startswith(("servers", "delete:servers", "admin")) for s in me["scopes"])
    status, _ = await world.call(
        "POST", f"gpu-jit/users/{user}/server/cancel", token=env["JUPYTERHUB_API_TOKEN"]
    )
    assert status == 403
    assert wire.SESSION_ANNOTATION in pod["metadata"]["annotations"]
