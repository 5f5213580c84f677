"""What a notice does, step by step: to the claim, the node, the people, and to itself."""

from __future__ import annotations

from dataclasses import replace

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.interruption import Rules
from jupyter_gpu_jit.core.quantity import parse_time
from jupyter_gpu_jit.ports import CLAIMS, EVENTS, NODES, PODS, NoticeKind
from jupyter_gpu_jit.provisioner import metrics
from jupyter_gpu_jit.sim.notices import NoticeFaults
from jupyter_gpu_jit.sim.users import Outcome
from jupyter_gpu_jit.sim.world import SIM_SETTINGS, World

PROMPT = NoticeFaults(transit_seconds=0.0)


def claims(world: World):
    return [wire.read_claim(c) for c in world.cluster.peek(CLAIMS)]


def interrupted(world: World):
    return [c for c in claims(world) if c.is_true(wire.INTERRUPTED)]


async def at_work(world: World, profile):
    """Ann's session, Ready, and the instance she is on."""
    ann = world.hub.start("ann", profile)
    await world.hub.ready(ann)
    (instance,) = world.cloud.live()
    return ann, instance


def test_within_five_seconds_the_node_is_marked_ann_is_told_and_another_is_asked_for(in_world, l4):
    async def body(world: World):
        ann, instance = await at_work(world, l4)
        world.interrupt(instance.id)
        ends = world.clock.now() + 120
        await world.clock.sleep(5)
        (claim,) = interrupted(world)
        assert claim.deadline == ends
        body = next(n for n in world.cluster.peek(NODES) if n["metadata"]["name"] == ann.nodes[0])
        node = wire.read_node(body)
        assert node.unschedulable
        assert wire.deadline_taint(ends) in node.taints
        assert parse_time(body["metadata"]["annotations"][wire.DEADLINE_ANNOTATION]) == ends
        (pod,) = map(wire.read_session_pod, world.cluster.peek(PODS))
        assert pod.status.reason == "Interrupted"
        assert "Another node is being launched for you" in pod.status.message
        events = [e for e in world.cluster.peek(EVENTS) if e["reason"] == "Interrupted"]
        assert "takes this node back at" in events[-1]["message"]
        assert events[-1]["type"] == "Warning"
        (_, new) = world.cloud.live()
        assert (new.zone, new.capacity_type) != (instance.zone, instance.capacity_type)

    in_world(body, notices=PROMPT)


def test_room_is_kept_for_her_and_for_nobody_else_and_not_for_ever(in_world, l4):
    async def body(world: World):
        ann, instance = await at_work(world, l4)
        world.interrupt(instance.id)
        await world.hub.gone(ann)
        (kept,) = [c for c in claims(world) if c.reservations]
        bob = world.hub.start("bob", l4)
        await world.hub.ready(bob)
        assert bob.nodes != [kept.node_name]
        assert len(world.cloud.ledger) == 3
        await world.clock.sleep(300)
        assert kept.name in {c.name for c in claims(world)}
        await world.clock.sleep(600)
        assert kept.name not in {c.name for c in claims(world)}

    in_world(body, notices=PROMPT)


def test_a_second_source_and_a_second_time_change_nothing(in_world, l4):
    async def body(world: World):
        _, instance = await at_work(world, l4)
        world.interrupt(instance.id)
        await world.clock.sleep(4)
        (before,) = interrupted(world)
        world.notices.say_of(NoticeKind.INTERRUPTION, instance.id, in_seconds=119)
        await world.clock.sleep(4)
        (after,) = interrupted(world)
        assert after.deadline == before.deadline
        assert world.meter.counted(metrics.INTERRUPTIONS, kind="interruption") == 1
        assert world.meter.counted(metrics.NOTICES_DROPPED, reason="duplicate") == 1
        assert len(world.cloud.ledger) == 2

    in_world(body, notices=PROMPT)


def test_notices_of_others_instances_are_dropped_and_counted(in_world, l4):
    async def body(world: World):
        ann, _ = await at_work(world, l4)
        for number in range(25):
            world.notices.say_of(NoticeKind.INTERRUPTION, f"i-foreign{number}", in_seconds=120)
        await world.clock.sleep(60)
        assert world.meter.counted(metrics.NOTICES_DROPPED, reason="unknown") == 25
        assert not interrupted(world)
        assert ann.outcome is Outcome.READY
        assert not world.notices._messages

    in_world(body, notices=PROMPT)


def test_an_instance_that_has_ended_takes_its_claim_with_it_at_once(in_world, l4):
    async def body(world: World):
        _, instance = await at_work(world, l4)
        world.reclaim(instance.id)
        await world.until(lambda: all(c.deleting for c in claims(world)), seconds=3)

    in_world(body, notices=PROMPT)


def test_of_a_risk_people_are_told_and_nothing_else_is_done(in_world, l4):
    async def body(world: World):
        ann, instance = await at_work(world, l4)
        world.notices.say_of(NoticeKind.REBALANCE, instance.id)
        await world.clock.sleep(10)
        assert "may take this node back soon" in ann.message
        assert len(world.cloud.ledger) == 1
        assert not any(n["spec"].get("unschedulable") for n in world.cluster.peek(NODES))
        await world.clock.sleep(300)
        assert ann.outcome is Outcome.READY

    in_world(body, notices=PROMPT)


def test_by_policy_a_node_at_risk_is_replaced_early_and_nobody_is_ended(in_world, l4):
    async def body(world: World):
        ann, instance = await at_work(world, l4)
        world.truth.excuse(instance.id)
        world.notices.say_of(NoticeKind.REBALANCE, instance.id)
        await world.until(lambda: len(world.cloud.ledger) == 2, seconds=6)
        await world.clock.sleep(300)
        assert ann.outcome is Outcome.READY
        assert [c for c in claims(world) if c.reservations]

    settings = replace(SIM_SETTINGS, interruption=Rules(at_risk_too=True))
    in_world(body, notices=PROMPT, settings=settings)


def test_maintenance_days_ahead_cordons_at_once_and_replaces_when_it_is_near(in_world, l4):
    async def body(world: World):
        ann, instance = await at_work(world, l4)
        world.truth.excuse(instance.id)
        world.notices.say_of(NoticeKind.SCHEDULED, instance.id, in_seconds=3600)
        await world.clock.sleep(5)
        assert all(n["spec"].get("unschedulable") for n in world.cluster.peek(NODES))
        assert "takes this node back at" in ann.message
        bob = world.hub.start("bob", l4)
        await world.hub.ready(bob)
        # The pool is as good as ever: only this machine is mended.
        assert world.meter.last(metrics.OFFERINGS, state="dry") == 0
        await world.clock.sleep(2000)
        assert len(world.cloud.ledger) == 2
        await world.clock.sleep(1000)
        assert len(world.cloud.ledger) == 3
        assert ann.outcome is Outcome.READY
        await world.hub.gone(ann)

    in_world(body, notices=PROMPT)


def test_who_has_no_other_place_is_told_why(in_world, l4):
    async def body(world: World):
        ann, instance = await at_work(world, l4)
        for kind in world.config.types:
            for offering in kind.offerings:
                world.cloud.dry(offering.key)
        world.interrupt(instance.id)
        await world.until(lambda: "There is no other place yet" in ann.message, seconds=60)
        assert "0 of" in ann.message
        await world.hub.gone(ann)

    in_world(body, notices=PROMPT)


def test_the_admin_may_have_sessions_ended_as_soon_as_their_replacement_is_ready(in_world, l4):
    async def body(world: World):
        ann, instance = await at_work(world, l4)
        # Ended before the last moment on purpose, which the rule about that cannot know.
        world.invariants._ends.check = lambda truth, what: iter(())
        began = world.clock.now()
        world.interrupt(instance.id)
        await world.hub.gone(ann)
        assert world.clock.now() - began < 95
        again = world.hub.start("ann", l4)
        await world.hub.ready(again)
        assert again.wait_seconds < 30

    settings = replace(SIM_SETTINGS, drain_once_replaced=True)
    in_world(body, notices=PROMPT, settings=settings)
