"""What the in-memory cluster does beyond the contract: hooks, history, time, isolation."""

import asyncio

import pytest

from jupyter_gpu_jit.errors import Conflict, Expired, NotFound, Rejected, Unavailable
from jupyter_gpu_jit.ports import CLAIMS, LEASES, NODES, PODS, Kind
from jupyter_gpu_jit.sim.cluster import MemoryCluster, WatchLimits
from jupyter_gpu_jit.sim.loop import CountingIds, LoopClock, run
from jupyter_gpu_jit.sim.objects import Rules

WHERE = {"namespace": "gpu-jit"}


def cluster(**options):
    return MemoryCluster(LoopClock(), CountingIds(), **options)


def pod(name="p", **spec):
    container = {"name": "notebook", "image": "i"}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


def in_virtual_time(main, seed=0):
    return run(main, seed=seed)


def test_hooks_see_every_change_at_once_with_what_was_there_before():
    async def main():
        made, seen = cluster(), []
        made.on_change.append(lambda change: seen.append((change, made.peek(PODS))))
        await made.create(PODS, pod(), **WHERE)
        await made.patch(PODS, "p", {"metadata": {"labels": {"a": "1"}}}, **WHERE)
        await made.patch(PODS, "p", {"metadata": {"labels": {"a": "1"}}}, **WHERE)
        await made.delete(PODS, "p", **WHERE)
        return seen

    seen = in_virtual_time(main)
    kinds = [change.type for change, _ in seen]
    assert kinds == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
    assert [len(stored) for _, stored in seen] == [1, 1, 1, 0]
    versions = [change.version for change, _ in seen]
    assert versions == list(range(versions[0], versions[0] + 4))
    assert seen[0][0].old is None
    before, after = [c.object for c, _ in seen[:-1]], [c.old for c, _ in seen[1:]]
    assert after == before


def test_nobody_outside_can_change_what_is_stored():
    async def main():
        made, body = cluster(), pod()
        stored = await made.create(PODS, body, **WHERE)
        body["spec"]["containers"][0]["image"] = "changed"
        stored["spec"]["containers"][0]["image"] = "changed"
        patch = {"metadata": {"labels": {"a": "1"}}}
        (await made.patch(PODS, "p", patch, **WHERE))["metadata"]["labels"]["a"] = "2"
        patch["metadata"]["labels"]["a"] = "2"
        (await made.get(PODS, "p", **WHERE))["spec"].clear()
        (await made.list(PODS)).items[0]["spec"].clear()
        async for event in made.watch(PODS, resource_version="0"):
            event.object["spec"].clear()
            break
        got = await made.get(PODS, "p", **WHERE)
        return got["spec"]["containers"][0]["image"], got["metadata"]["labels"]

    assert in_virtual_time(main) == ("i", {"a": "1"})


def test_names_uids_and_times_repeat_with_the_seed():
    async def main():
        made = cluster(seed=4)
        await asyncio.sleep(1.9)
        return await made.create(LEASES, {"metadata": {"generateName": "x-"}}, **WHERE)

    first, second = in_virtual_time(main, seed=1), in_virtual_time(main, seed=2)
    assert first == second
    assert first["metadata"]["name"] == "x-00001"
    assert first["metadata"]["creationTimestamp"] == "2025-06-15T15:06:41Z"


def test_a_watch_that_falls_behind_the_history_is_expired():
    async def main():
        made = cluster(limits=WatchLimits(history=5))
        start = (await made.list(LEASES)).resource_version
        for n in range(20):
            await made.create(LEASES, {"metadata": {"name": f"l{n}"}}, **WHERE)
        with pytest.raises(Expired):
            await anext(made.watch(LEASES, resource_version=start))
        recent = str(int(start) + 18)
        event = await anext(made.watch(LEASES, resource_version=recent))
        assert event.object["metadata"]["name"] == "l18"

    in_virtual_time(main)


def test_compaction_ends_old_positions_but_not_a_watch_that_is_up_to_date():
    async def main():
        made = cluster()
        start = (await made.list(LEASES)).resource_version
        current = made.watch(LEASES, resource_version=start)
        waiting = asyncio.create_task(anext(current))
        await asyncio.sleep(1)
        await made.create(LEASES, {"metadata": {"name": "a"}}, **WHERE)
        assert (await waiting).object["metadata"]["name"] == "a"
        waiting = asyncio.create_task(anext(current))
        await asyncio.sleep(1)
        made.compact()
        await made.create(LEASES, {"metadata": {"name": "b"}}, **WHERE)
        assert (await waiting).object["metadata"]["name"] == "b"
        with pytest.raises(Expired):
            await anext(made.watch(LEASES, resource_version=start))

    in_virtual_time(main)


def test_what_happens_while_the_consumer_is_busy_is_not_missed():
    async def main():
        made = cluster()
        await made.create(LEASES, {"metadata": {"name": "0"}}, **WHERE)
        seen = []
        stream = made.watch(LEASES, resource_version="0", timeout_seconds=100)
        async for event in stream:
            if event.type == "BOOKMARK":
                continue
            seen.append(event.object["metadata"]["name"])
            if len(seen) < 4:
                await made.create(LEASES, {"metadata": {"name": str(len(seen))}}, **WHERE)
        return seen

    assert in_virtual_time(main) == ["0", "1", "2", "3"]


def test_a_quiet_watch_gets_bookmarks_and_ends_within_the_hour():
    async def main():
        made, clock = cluster(), LoopClock()
        other = await made.create(LEASES, {"metadata": {"name": "a"}}, **WHERE)
        start, events = clock.now(), []
        position = str(int(other["metadata"]["resourceVersion"]) - 1)
        async for event in made.watch(PODS, resource_version=position):
            events.append(event)
        return clock.now() - start, events, other["metadata"]["resourceVersion"]

    seconds, events, version = in_virtual_time(main)
    assert 1800 <= seconds <= 3600
    assert {event.type for event in events} == {"BOOKMARK"}
    # One a minute, and one more before it ends.
    assert len(events) == int(seconds // 60) + 1
    # A bookmark moves the position past changes of other kinds.
    assert {event.object["metadata"]["resourceVersion"] for event in events} == {version}


def test_a_watch_ends_after_its_own_timeout():
    async def main():
        clock = LoopClock()
        start = clock.now()
        stream = cluster().watch(PODS, resource_version="0", timeout_seconds=7)
        return [event.type async for event in stream], clock.now() - start

    assert in_virtual_time(main) == (["BOOKMARK"], 7)


def test_a_version_of_the_future_is_unavailable():
    async def main():
        with pytest.raises(Unavailable) as caught:
            await anext(cluster().watch(PODS, resource_version="99999"))
        assert caught.value.retry_after_seconds == 1
        with pytest.raises(Rejected):
            await anext(cluster().watch(PODS, resource_version="soon"))

    in_virtual_time(main)


def test_closed_watches_leave_nothing_behind():
    async def main():
        made = cluster()
        streams = [made.watch(PODS, resource_version="") for _ in range(3)]
        tasks = [asyncio.create_task(anext(stream)) for stream in streams]
        await asyncio.sleep(1)
        assert len(made._wakers) == 3
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert made._wakers == {}

    in_virtual_time(main)


def test_another_kind_can_be_registered_with_its_own_rules():
    thing = Kind("example.io", "v1", "things", "Thing", False)

    async def main():
        made = cluster()
        with pytest.raises(NotFound):
            await made.list(thing)
        made.register(Rules(kind=thing, has_status=True, custom=True))
        await made.create(thing, {"metadata": {"name": "a"}, "status": {"x": 1}})
        return (await made.list(thing)).items[0]

    stored = in_virtual_time(main)
    assert (stored["kind"], stored["apiVersion"]) == ("Thing", "example.io/v1")
    assert "status" not in stored


def test_a_namespaced_object_needs_a_namespace():
    async def main():
        with pytest.raises(Rejected):
            await cluster().create(PODS, pod())
        with pytest.raises(NotFound):
            await cluster(namespaces=()).create(PODS, pod(), **WHERE)

    in_virtual_time(main)


@pytest.mark.parametrize("subresource", ["scale", "binding", "log"])
def test_doors_that_do_not_exist_are_not_found(subresource):
    async def main():
        made = cluster()
        await made.create(NODES, {"metadata": {"name": "n"}})
        with pytest.raises(NotFound):
            await made.patch(NODES, "n", {}, subresource=subresource)
        with pytest.raises(NotFound):
            await made.create(NODES, {}, name="n", subresource=subresource)

    in_virtual_time(main)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_order_one_of_two_conditional_writers_wins(seed):
    async def main():
        made = cluster()
        first = await made.create(LEASES, {"metadata": {"name": "l"}}, **WHERE)
        meta = {"resourceVersion": first["metadata"]["resourceVersion"]}

        async def take(who):
            try:
                patch = {"metadata": meta, "spec": {"holderIdentity": who}}
                await made.patch(LEASES, "l", patch, **WHERE)
            except Conflict:
                return None
            return who

        won = [who for who in await asyncio.gather(*map(take, "abc")) if who]
        stored = await made.get(LEASES, "l", **WHERE)
        assert won == [stored["spec"]["holderIdentity"]]
        return won[0]

    assert in_virtual_time(main, seed) == in_virtual_time(main, seed)


def test_claims_are_served():
    async def main():
        return await cluster().list(CLAIMS)

    assert in_virtual_time(main).items == ()


@pytest.mark.parametrize(
    ("requests", "limits", "quality"),
    [
        ({}, {}, "BestEffort"),
        ({"cpu": "1"}, {}, "Burstable"),
        ({}, {"cpu": "1", "memory": "1Gi"}, "Guaranteed"),
        ({"cpu": "500m"}, {"cpu": "1", "memory": "1Gi"}, "Burstable"),
    ],
)
def test_a_pods_quality_of_service_follows_its_amounts(requests, limits, quality):
    async def main():
        body = pod()
        body["spec"]["containers"][0]["resources"] = {"requests": requests, "limits": limits}
        return (await cluster().create(PODS, body, **WHERE))["status"]["qosClass"]

    assert in_virtual_time(main) == quality
