"""From intent to gone: what happens to claims when things go right, slowly, or wrong."""

from __future__ import annotations

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.progress import ORDER as STAGES
from jupyter_gpu_jit.ports import CLAIMS, EVENTS, NODES, PODS
from jupyter_gpu_jit.sim.kubelet import Habits
from jupyter_gpu_jit.sim.users import Outcome
from jupyter_gpu_jit.sim.world import World


def claims(world: World):
    return [wire.read_claim(c) for c in world.cluster.peek(CLAIMS)]


def test_one_session_gets_a_node_and_the_node_is_given_back(in_world, l4):
    async def body(world: World):
        session = world.hub.start("ann", l4)
        await world.hub.ready(session)
        assert session.outcome is Outcome.READY
        (claim,) = claims(world)
        assert claim.is_true(wire.INITIALISED)
        (node,) = map(wire.read_node, world.cluster.peek(NODES))
        assert node.claim == claim.name
        assert {t.key for t in node.taints} == {wire.GPU_TAINT.key, wire.USER_TAINT.key}
        await world.hub.stop(session)
        await world.all_given_back()
        return session

    session = in_world(body)
    order = list(session.stages)
    assert order[-4:] == ["Launching", "Booting", "Registered", "Initialised"]


def test_a_second_user_joins_the_first_ones_node_without_a_launch(in_world, a100):
    async def body(world: World):
        first = world.hub.start("ann", a100)
        await world.hub.ready(first)
        second, third = world.hub.start("bob", a100), world.hub.start("cy", a100)
        await world.hub.ready(second, third)
        assert first.nodes == second.nodes == third.nodes
        assert len(world.cloud.ledger) == 1
        assert second.wait_seconds is not None
        assert second.wait_seconds < 10
        assert "Booting" not in second.stages

    in_world(body)


def test_a_stopped_session_frees_its_seat_within_two_seconds(in_world, l4):
    async def body(world: World):
        first = world.hub.start("ann", l4)
        await world.hub.ready(first)
        stopped = world.clock.now()
        await world.hub.stop(first)
        await world.hub.gone(first)
        second = world.hub.start("bob", l4)
        await world.hub.reached(second, "Initialised", seconds=30)
        assert second.stages["Initialised"] - stopped <= 2.0
        await world.hub.ready(second)
        assert len(world.cloud.ledger) == 1

    in_world(body)


def test_a_session_that_ignores_sigterm_holds_its_seat_for_its_grace(in_world, l4):
    async def body(world: World):
        first = world.hub.start("ann", l4)
        await world.hub.ready(first)
        stopped = world.clock.now()
        await world.hub.stop(first)
        await world.hub.gone(first)
        held = world.clock.now() - stopped
        second = world.hub.start("bob", l4)
        await world.hub.ready(second)
        assert second.nodes == first.nodes
        return held

    held = in_world(body, habits=lambda number: Habits(stubborn=True))
    assert 0.4 <= held <= 2.0, "deletion times are whole seconds"


def test_cancelled_while_booting_the_node_goes_again(in_world, a100):
    async def body(world: World):
        session = world.hub.start("ann", a100)
        await world.hub.reached(session, "Booting")
        await world.hub.stop(session)
        await world.all_given_back()
        assert len(world.cloud.ledger) == 1

    in_world(body)


def test_a_node_that_never_joins_is_replaced_and_not_asked_for_again(in_world, l4):
    async def body(world: World):
        session = world.hub.start("ann", l4)
        await world.hub.ready(session, seconds=2000)
        assert session.outcome is Outcome.READY
        offers = {
            (r.instance.instance_type, r.instance.zone, r.instance.capacity_type)
            for r in world.cloud.ledger.values()
        }
        assert len(offers) == len(world.cloud.ledger) == 2

    in_world(body, habits=lambda number: Habits(joins=number > 0))


def test_a_node_whose_gpus_never_appear_is_replaced(in_world, l4):
    async def body(world: World):
        session = world.hub.start("ann", l4)
        await world.hub.ready(session, seconds=2000)
        assert session.outcome is Outcome.READY
        assert len(world.cloud.ledger) == 2

    in_world(body, habits=lambda number: Habits(gpus=0 if number == 0 else None))


def test_a_pod_refused_by_the_kubelet_is_made_again_in_the_same_start(in_world, l4):
    async def body(world: World):
        session = world.hub.start("ann", l4)
        await world.hub.ready(session)
        assert session.outcome is Outcome.READY
        assert len(session.pods) == 2
        assert len(world.cloud.ledger) == 1

    in_world(body, habits=lambda number: Habits(admission_failures=1))


def test_an_ended_claim_waits_for_its_sessions(in_world, l4):
    """Somebody deletes the claim by hand: the session there is not evicted."""

    async def body(world: World):
        session = world.hub.start("ann", l4)
        await world.hub.ready(session)
        (claim,) = claims(world)
        world.truth.excuse(world.cloud.live()[0].id)
        await world.cluster.delete(CLAIMS, claim.name)
        await world.clock.sleep(300)
        assert session.outcome is Outcome.READY
        (node,) = map(wire.read_node, world.cluster.peek(NODES))
        assert node.unschedulable
        assert len(world.cloud.live()) == 1
        await world.hub.stop(session)
        await world.all_given_back()

    in_world(body)


def test_a_reclaimed_instance_is_noticed_and_its_claim_let_go(in_world, l4):
    async def body(world: World):
        session = world.hub.start("ann", l4)
        await world.hub.ready(session)
        (instance,) = world.cloud.live()
        world.reclaim(instance.id)
        await world.all_given_back()

    in_world(body)


def test_shortage_waits_with_a_reason_and_ends_when_capacity_is_back(in_world, a100):
    async def body(world: World):
        offers = [
            o.key
            for kind in world.config.types
            if kind.gpu_model == "A100"
            for o in kind.offerings
            if o.capacity_type == "spot"
        ]
        for key in offers:
            world.cloud.dry(key)
        session = world.hub.start("ann", a100)
        await world.hub.reached(session, "Waiting", seconds=120)
        assert session.message
        for key in offers:
            world.cloud.stock(key, None)
        await world.hub.ready(session, seconds=900)
        assert session.outcome is Outcome.READY

    in_world(body)


def test_an_unreadable_request_is_refused_with_a_reason(in_world, l4):
    async def body(world: World):
        session = world.hub.start("ann", l4)
        await world.hub.ready(session)
        (pod,) = world.cluster.peek(PODS)
        bad = {
            "metadata": {"name": "bad", "annotations": {wire.SESSION_ANNOTATION: "{"}},
            "spec": {
                "schedulingGates": [{"name": wire.GATE}],
                "containers": pod["spec"]["containers"],
            },
        }
        await world.cluster.create(PODS, bad, namespace="gpu-jit")

        def told() -> bool:
            pod = next(p for p in world.cluster.peek(PODS) if p["metadata"]["name"] == "bad")
            return wire.STATUS_ANNOTATION in pod["metadata"]["annotations"]

        await world.until(told, seconds=10)
        status = wire.decode_status(
            next(p for p in world.cluster.peek(PODS) if p["metadata"]["name"] == "bad")["metadata"][
                "annotations"
            ][wire.STATUS_ANNOTATION]
        )
        assert status is not None
        assert (status.stage, status.reason) == ("Refused", "BadSession")
        await world.cluster.delete(PODS, "bad", namespace="gpu-jit")

    in_world(body)


async def _taint(world: World, key: str) -> None:
    """As the node controller does at its next round; it takes its time to take it off again."""
    (node,) = world.cluster.peek(NODES)
    late = {"key": key, "effect": "NoExecute"}
    patch = {"spec": {"taints": [*node["spec"]["taints"], late]}}
    await world.cluster.patch(NODES, node["metadata"]["name"], patch)


def test_a_ready_node_does_not_wait_for_a_slow_node_controller(in_world, l4):
    async def body(world: World):
        session = world.hub.start("ann", l4)
        await world.hub.reached(session, "Registered")
        await _taint(world, "node.kubernetes.io/not-ready")
        await world.hub.ready(session, seconds=120)
        assert session.outcome is Outcome.READY
        assert len(world.cloud.ledger) == 1
        (node,) = map(wire.read_node, world.cluster.peek(NODES))
        assert not any(map(wire.is_passing, node.taints))

    in_world(body)


def test_a_node_with_another_trouble_keeps_its_taint_and_gets_nobody(in_world, l4):
    async def body(world: World):
        session = world.hub.start("ann", l4)
        await world.hub.reached(session, "Registered")
        await _taint(world, "node.kubernetes.io/disk-pressure")
        while not any(wire.read_node(n).allocatable.gpus for n in world.cluster.peek(NODES)):
            await world.clock.sleep(0.5)
        await world.clock.sleep(4)
        assert session.outcome is Outcome.STARTING
        (claim,) = claims(world)
        assert not claim.is_true(wire.INITIALISED)

    in_world(body)


def _told(world: World) -> list[str]:
    """The stages that the provisioner's Events tell, in the order of writing."""
    ours = [e for e in world.cluster.peek(EVENTS) if e["source"]["component"] == "gpu-jit"]
    return [e["reason"] for e in sorted(ours, key=lambda e: int(e["metadata"]["resourceVersion"]))]


def test_nobody_waits_for_what_is_told_and_it_is_told_in_order(in_world, l4):
    async def body(world: World):
        create = world.cluster.create

        async def slow(kind, body, **where):
            if kind == EVENTS and body["source"]["component"] == "gpu-jit":
                await world.clock.sleep(50)
            return await create(kind, body, **where)

        world.cluster.create = slow
        session = world.hub.start("ann", l4)
        await world.hub.ready(session)
        told = len(_told(world))
        await world.clock.sleep(600)
        order = _told(world)
        assert told < len(order), "it was Ready before all was told"
        assert order == sorted(order, key=list(STAGES).index)
        assert order[-1] == "Initialised"

    in_world(body)
