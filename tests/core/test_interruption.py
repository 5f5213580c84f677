"""A node that is taken back: who has to leave, what is kept for them, and for how long."""

from dataclasses import replace

import pytest

from jupyter_gpu_jit.core import wire
from jupyter_gpu_jit.core.interruption import (
    Rules,
    asked_again,
    farewell,
    place_kept,
    reservation,
    still_kept,
    with_promises,
)
from jupyter_gpu_jit.core.model import (
    Condition,
    InstanceType,
    LaunchBatch,
    Node,
    NodeClaim,
    Offering,
    Resources,
    SessionPod,
    SessionRequest,
)
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.core.snapshot import from_objects, is_waiting

ONE = Resources(cpu_millicpu=1000, memory_bytes=1 << 30, gpus=1, pods=1)
SPOT = Offering(
    instance_type="t", zone="a", capacity_type=CapacityType.SPOT, usd_per_hour_micro=100
)
KIND = InstanceType(
    name="t",
    vcpu=4,
    memory_mib=4096,
    allocatable=Resources(cpu_millicpu=4000, memory_bytes=4 << 30, gpus=2, pods=10),
    offerings=(SPOT,),
)
RULES = Rules(lead_seconds=900.0, hold_seconds=600.0)
NOW, DEADLINE = 1000.0, 1120.0


def condition(kind, since=NOW, status=True):
    return Condition(type=kind, status=status, since=since)


def claim(name, *conditions, deadline=None, sessions=(), created_at=0.0, **more):
    return NodeClaim(
        name=name,
        uid=name,
        resource_version="1",
        created_at=created_at,
        cluster_id="c",
        hub_id="h",
        batch=LaunchBatch(id=f"batch-{name}", claims=(name,)),
        offerings=(SPOT,),
        sessions=tuple(sessions),
        provider_id=f"aws:///a/{name}",
        node_name=f"node-{name}",
        deadline=deadline,
        conditions=conditions,
        **more,
    )


def pod(user, node="node-old", **more):
    request = SessionRequest(uid=f"uid-{user}", user=user, resources=ONE, place="old")
    fields = {"claim": "old", "pinned_to": "old", "node_name": node, "ready": True, **more}
    return SessionPod(
        name=user, namespace="n", uid=f"uid-{user}", resource_version="1", request=request, **fields
    )


TAKEN = claim("old", condition(wire.INTERRUPTED), deadline=DEADLINE)
ALICE = pod("alice")


def waiting(sessions, *claims, rules=RULES, now=NOW):
    return [s.uid for s in asked_again(sessions, claims, rules, now=now) if is_waiting(s)]


def test_who_sits_on_a_node_that_is_taken_is_planned_again_as_if_waiting():
    (again,) = asked_again([ALICE], [TAKEN], RULES, now=NOW)
    assert is_waiting(again)
    assert (again.uid, again.node_name, again.request.place) == (ALICE.uid, "", "")
    assert again.request.resources == ONE


@pytest.mark.parametrize(
    "other",
    [
        pod("alice", node="node-elsewhere"),
        pod("alice", ready=False),
        pod("alice", deleting=True),
        pod("alice", phase="Failed"),
    ],
)
def test_nobody_else_is(other):
    assert asked_again([other], [TAKEN], RULES, now=NOW) == [other]


def test_maintenance_weeks_ahead_asks_for_a_replacement_only_when_it_is_near():
    far = replace(TAKEN, deadline=NOW + 5000.0)
    assert waiting([ALICE], far) == []
    assert waiting([ALICE], far, now=far.deadline - RULES.lead_seconds) == [ALICE.uid]
    assert waiting([ALICE], replace(far, deadline=None)) == [ALICE.uid]


def test_a_node_at_risk_is_left_only_where_the_policy_says_so():
    risky = claim("old", condition(wire.AT_RISK))
    assert waiting([ALICE], risky) == []
    assert waiting([ALICE], risky, rules=replace(RULES, at_risk_too=True)) == [ALICE.uid]


def test_the_claim_planned_for_it_promises_it_room_before_that_is_written_down():
    new = claim("new", sessions=[ALICE.uid, "uid-nobody"], created_at=NOW)
    kept = reservation(ALICE, TAKEN, RULES, now=NOW)
    assert kept.until == DEADLINE + 600.0
    promised = with_promises([TAKEN, new], [ALICE], RULES)
    assert promised == [TAKEN, replace(new, reservations=(kept,))]
    assert with_promises(promised, [ALICE], RULES) == promised
    assert waiting([ALICE], *promised) == []
    assert place_kept(promised, RULES) == {("alice", ""): "new"}


def test_a_claim_older_than_the_notice_was_planned_before_it_and_promises_nothing():
    old_plan = claim("new", sessions=[ALICE.uid], created_at=NOW - 60.0)
    assert with_promises([TAKEN, old_plan], [ALICE], RULES) == [TAKEN, old_plan]
    own = replace(TAKEN, sessions=(ALICE.uid,), created_at=NOW)
    assert with_promises([own], [ALICE], RULES) == [own]


def test_without_any_notice_nothing_is_promised():
    claims = [claim("new", sessions=[ALICE.uid])]
    assert with_promises(claims, [ALICE], RULES) == claims


def test_at_risk_without_a_deadline_room_is_kept_from_now_on():
    risky = claim("old", condition(wire.AT_RISK))
    assert reservation(ALICE, risky, RULES, now=NOW).until == NOW + 120.0 + 600.0


@pytest.mark.parametrize(
    "lost",
    [
        {"deleting": True},
        {"conditions": (condition(wire.LAUNCHED, status=False),)},
        {"conditions": (condition(wire.INTERRUPTED),)},
    ],
)
def test_a_replacement_that_is_lost_itself_is_replaced(lost):
    kept = reservation(ALICE, TAKEN, RULES, now=NOW)
    new = replace(claim("new", reservations=(kept,)), **lost)
    assert waiting([ALICE], TAKEN, new) == [ALICE.uid]
    assert place_kept([new], RULES) == {}


def test_room_is_kept_until_the_users_next_pod_has_its_seat_or_time_is_up():
    kept = reservation(ALICE, TAKEN, RULES, now=NOW)
    new = claim("new", reservations=(kept,))
    back = replace(ALICE, uid="uid-2", pinned_to="new", node_name="")
    gated = replace(back, pinned_to="", node_name="")
    for sessions in ([], [ALICE], [gated], [pod("bob")]):
        assert still_kept(new, sessions, now=NOW) == (kept,)
    assert still_kept(new, [back], now=NOW) == ()
    assert still_kept(new, [], now=kept.until) == ()
    assert still_kept(claim("new"), [], now=NOW) == ()


def residual(place, *, claims, sessions):
    made = from_objects(
        sessions=sessions,
        others=[],
        nodes=[node(c) for c in claims],
        claims=claims,
        instance_types=[KIND],
        now=NOW,
    )
    return next(seat.residual.gpus for seat in made.seats if seat.place == place)


def node(owner):
    return Node(
        name=owner.node_name,
        resource_version="1",
        provider_id=owner.provider_id,
        labels={wire.INSTANCE_TYPE_LABEL: "t"},
        allocatable=KIND.allocatable,
        ready=True,
        claim=owner.name,
    )


def test_a_node_that_is_taken_has_no_seats_and_kept_room_is_nobody_elses():
    up = (condition(wire.LAUNCHED), condition(wire.INITIALISED))
    kept = reservation(ALICE, TAKEN, RULES, now=NOW)
    old = replace(TAKEN, conditions=(*up, *TAKEN.conditions), instance_type="t", zone="a")
    new = claim("new", *up, instance_type="t", zone="a", reservations=(kept,))
    booting = replace(new, conditions=up[:1])
    for replacement in (new, booting):
        claims = [old, replacement]
        assert residual("old", claims=claims, sessions=[ALICE]) == 0
        assert residual("new", claims=claims, sessions=[ALICE]) == 1
        back = replace(ALICE, uid="uid-2", pinned_to="", node_name="", gates=(wire.GATE,))
        assert residual("new", claims=claims, sessions=[back]) == 2


def test_people_are_told_when_and_where_to_go_on():
    text = farewell(1_700_000_000.0, "Another is on its way.")
    assert "takes this node back at 2023-11-14 22:13:20 UTC: save your work" in text
    assert text.endswith("Another is on its way.")
    assert "may take this node back soon" in farewell(None, "")
