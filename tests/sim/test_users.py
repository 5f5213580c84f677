"""The model of hub and people: what it asks of the cluster, and what it makes of the answers."""

import asyncio

from simkit import NS, bind, get_pod, new_cluster, release, until, virtually

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.model import SessionStatus
from jupyter_gpu_jit.ports import PODS
from jupyter_gpu_jit.sim.loop import EPOCH, LoopClock
from jupyter_gpu_jit.sim.market import A100, CPU
from jupyter_gpu_jit.sim.users import Hub, Outcome, session_pod


def at_the_hub(test):
    """Run ``test(hub, cluster)`` in virtual time."""

    async def main():
        clock = LoopClock()
        cluster = new_cluster(clock)
        hub = Hub(cluster, clock)
        following = asyncio.create_task(hub.run())
        try:
            await test(hub, cluster)
        finally:
            await hub.close()
            following.cancel()
            await asyncio.wait([following])

    virtually(main)


async def started(hub, cluster, user="alice"):
    session = hub.start(user, A100)
    await until(lambda: len(session.pods) == 1)
    return session


async def make_ready(cluster, name="jupyter-alice"):
    await release(cluster, name, "gnc-1")
    await bind(cluster, name, "node-1")
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await cluster.patch(PODS, name, {"status": status}, namespace=NS, subresource="status")


def test_the_pod_is_what_the_wire_says_a_session_is():
    async def test(hub, cluster):
        await started(hub, cluster)
        pod = await get_pod(cluster)
        seen = wire.read_session_pod(pod)
        assert wire.is_session(pod)
        assert seen.gates == (wire.GATE,)
        assert seen.request.user == "alice"
        assert seen.request.profile == "a100"
        assert seen.request.resources == A100.resources
        assert seen.request.requirements.gpu_models == ("A100",)
        assert pod["metadata"]["labels"][wire.SESSION_LABEL] == "true"
        limits = pod["spec"]["containers"][0]["resources"]["limits"]
        assert limits == {"memory": "64Gi", "nvidia.com/gpu": "1"}

    at_the_hub(test)


def test_a_profile_without_gpus_asks_for_none():
    container = session_pod(CPU, user="alice", server="two")["spec"]["containers"][0]
    assert wire.GPU_RESOURCE not in container["resources"]["limits"]
    assert session_pod(CPU, user="alice", server="two")["metadata"]["name"] == "jupyter-alice--two"


def test_ready_is_seen_and_timed_and_stages_are_kept():
    async def test(hub, cluster):
        session = await started(hub, cluster)
        text = wire.encode_status(SessionStatus(stage="Planned", since=EPOCH, message="soon"))
        note = {"metadata": {"annotations": {wire.STATUS_ANNOTATION: text}}}
        await cluster.patch(PODS, "jupyter-alice", note, namespace=NS)
        await hub.reached(session, "Planned", seconds=5.0)
        assert session.message == "soon"
        await asyncio.sleep(30.0)
        await make_ready(cluster)
        await hub.ready(session, seconds=5.0)
        assert session.outcome is Outcome.READY
        assert 30.0 <= session.wait_seconds < 31.0
        assert session.nodes == ["node-1"]

    at_the_hub(test)


def test_a_start_is_cancelled_while_its_pod_is_gated():
    async def test(hub, cluster):
        session = await started(hub, cluster)
        await hub.stop(session)
        await hub.gone(session, seconds=5.0)
        assert session.outcome is Outcome.CANCELLED
        assert cluster.peek(PODS) == []

    at_the_hub(test)


def test_a_start_cancelled_before_its_pod_exists_leaves_none():
    async def test(hub, cluster):
        session = hub.start("alice", A100)
        await hub.stop(session)
        await asyncio.sleep(5.0)
        assert session.outcome is Outcome.CANCELLED
        assert cluster.peek(PODS) == []

    at_the_hub(test)


def test_a_start_waits_until_the_last_pod_of_that_name_is_gone():
    async def test(hub, cluster):
        first = await started(hub, cluster)
        await make_ready(cluster)
        await hub.ready(first, seconds=5.0)
        await hub.stop(first)
        again = hub.start("alice", A100)
        await asyncio.sleep(10.0)
        assert again.pods == []
        await cluster.delete(PODS, "jupyter-alice", namespace=NS, grace_seconds=0)
        await until(lambda: len(again.pods) == 1)

    at_the_hub(test)


def test_a_pod_deleted_with_the_recreate_mark_is_created_again():
    async def test(hub, cluster):
        session = await started(hub, cluster)
        mark = {"metadata": {"annotations": {wire.RECREATE_ANNOTATION: "true"}}}
        await cluster.patch(PODS, "jupyter-alice", mark, namespace=NS)
        await cluster.delete(PODS, "jupyter-alice", namespace=NS)
        await until(lambda: len(session.pods) == 2)
        assert session.outcome is Outcome.STARTING
        assert wire.read_session_pod(await get_pod(cluster)).gates == (wire.GATE,)

    at_the_hub(test)


def test_a_pod_that_goes_without_the_mark_is_lost():
    async def test(hub, cluster):
        session = await started(hub, cluster)
        await cluster.delete(PODS, "jupyter-alice", namespace=NS)
        await hub.gone(session, seconds=5.0)
        assert session.outcome is Outcome.LOST

    at_the_hub(test)


def test_what_was_missed_while_a_watch_was_too_old_is_found_by_listing():
    async def test(hub, cluster):
        session = await started(hub, cluster)
        cluster.compact()
        await cluster.delete(PODS, "jupyter-alice", namespace=NS)
        await hub.gone(session, seconds=4000.0)
        assert session.outcome is Outcome.LOST

    at_the_hub(test)
