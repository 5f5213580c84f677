"""What a plan sees: who waits, which seats exist, and how much room is left on each."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from jupyter_gpu_jit.core import snapshot, wire
from jupyter_gpu_jit.core.model import (
    BoundPod,
    Condition,
    InstanceType,
    LaunchBatch,
    Node,
    NodeClaim,
    Offering,
    Resources,
    Seat,
    SessionPod,
    SessionRequest,
    Snapshot,
)
from jupyter_gpu_jit.core.nodes import OS_LABEL, SESSION_TOLERATIONS
from jupyter_gpu_jit.core.packing import solve
from jupyter_gpu_jit.core.requirements import CapacityPolicy, CapacityType, Requirements, Taint
from jupyter_gpu_jit.core.volumes import Storage

GIB = 1 << 30
SPOT, ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND


def room(cpu=8, gib=32, gpus=1, pods=58):
    return Resources(cpu_millicpu=cpu * 1000, memory_bytes=gib * GIB, gpus=gpus, pods=pods)


def offering(kind="g6.2xlarge", zone="us-east-1a", capacity=SPOT, price=400_000):
    return Offering(instance_type=kind, zone=zone, capacity_type=capacity, usd_per_hour_micro=price)


CHEAP = (offering(),)
L4 = InstanceType(
    name="g6.2xlarge",
    vcpu=8,
    memory_mib=32 * 1024,
    allocatable=room(),
    gpu_model="L4",
    gpu_memory_mib=22888,
    offerings=(offering(), offering(capacity=ON_DEMAND, price=1_000_000)),
)
A10G = replace(
    L4,
    name="g5.4xlarge",
    allocatable=room(cpu=16, gib=30),
    gpu_model="A10G",
    gpu_memory_mib=24576,
    offerings=(offering("g5.4xlarge"),),
)
TYPES = (L4, A10G)
NEED = Resources(cpu_millicpu=3000, memory_bytes=12 * GIB, gpus=1, pods=1)


def session(uid="s1", **changes):
    gates = changes.pop("gates", (wire.GATE,))
    created = changes.pop("created_at", 0.0)
    claim = changes.get("claim", "")
    request = SessionRequest(uid=uid, user=uid, resources=NEED, created_at=created, place=claim)
    return SessionPod(
        name=uid,
        namespace="gpu-jit",
        uid=uid,
        resource_version="1",
        request=request,
        gates=gates,
        **changes,
    )


def claim(name="c1", *, offerings=CHEAP, initialised=False, **changes):
    conditions = (Condition(type=wire.INITIALISED, status=True, since=0.0),) if initialised else ()
    return NodeClaim(
        name=name,
        uid=name,
        resource_version="1",
        created_at=0.0,
        cluster_id="c",
        hub_id="h",
        batch=LaunchBatch(id="b", claims=(name,)),
        offerings=offerings,
        conditions=conditions,
        **changes,
    )


LAUNCHED = {
    "instance_type": "g6.2xlarge",
    "zone": "us-east-1a",
    "capacity_type": "spot",
    "usd_per_hour_micro": 350_000,
    "provider_id": "aws:///us-east-1a/i-1",
}


def node(name="n1", **changes):
    known = {
        "resource_version": "1",
        "provider_id": "aws:///us-east-1a/i-1",
        "labels": {"some": "label"},
        "allocatable": room(cpu=7, gib=30),
        "ready": True,
        "claim": "c1",
    }
    return Node(name=name, **{**known, **changes})


def look(**objects) -> Snapshot:
    known = {"sessions": (), "others": (), "nodes": (), "claims": (), "instance_types": TYPES}
    return snapshot.from_objects(**{**known, "now": 100.0, **objects})


def only_seat(**objects) -> Seat:
    (seat,) = look(**objects).seats
    return seat


READY = claim(initialised=True, **LAUNCHED)


def test_a_session_held_by_our_gate_alone_waits_with_its_earlier_place():
    (request,) = look(sessions=[session(claim="c1")]).waiting
    assert (request.uid, request.place) == ("s1", "c1")


@pytest.mark.parametrize(
    "state",
    [
        {"gates": ()},
        {"gates": (wire.GATE, "example.org/quota")},
        {"gates": ("example.org/quota",)},
        {"pinned_to": "c1"},
        {"deleting": True},
        {"phase": "Failed"},
        {"phase": "Succeeded"},
    ],
    ids=str,
)
def test_a_session_that_cannot_or_need_not_be_placed_does_not_wait(state):
    assert look(sessions=[session(**state)]).waiting == ()


def test_the_waiting_come_in_order_of_creation_whatever_order_they_are_given_in():
    pods = [session("b", created_at=2.0), session("c", created_at=1.0), session("a", created_at=2)]
    assert [r.uid for r in look(sessions=pods).waiting] == ["c", "a", "b"]
    assert look(sessions=pods) == look(sessions=reversed(pods))


def test_an_initialised_claim_is_a_ready_seat_with_what_its_node_says():
    seat = only_seat(claims=[READY], nodes=[node(taints=(wire.GPU_TAINT,))])
    assert seat.ready
    assert seat.total == seat.residual == room(cpu=7, gib=30)
    assert (seat.labels, seat.taints) == ({"some": "label"}, (wire.GPU_TAINT,))
    assert (seat.node_name, seat.instance_type, seat.gpu_model) == ("n1", "g6.2xlarge", "L4")
    assert (seat.usd_per_hour_micro, seat.capacity_type) == (350_000, SPOT)


@pytest.mark.parametrize(
    "state",
    [
        {"ready": False},
        {"unschedulable": True},
        {"deleting": True},
        {"taints": (wire.UNREGISTERED_TAINT,)},
    ],
    ids=str,
)
def test_a_node_that_takes_no_sessions_leaves_a_seat_without_room(state):
    seat = only_seat(claims=[READY], nodes=[node(**state)])
    assert not seat.ready
    assert seat.residual == Resources()


def test_a_node_is_not_believed_to_have_more_gpus_than_its_type():
    boastful = node(allocatable=room(cpu=7, gib=30, gpus=64))
    seat = only_seat(claims=[READY], nodes=[boastful])
    assert seat.residual == seat.total == room(cpu=7, gib=30, gpus=1)


A100 = replace(
    L4, name="p4d.24xlarge", gpu_model="A100", gpu_memory_mib=40960, driver_family="nvidia",
    gpu_interconnect="nvswitch", efa_interfaces=4, offerings=(offering("p4d.24xlarge"),),
)  # fmt: skip


def test_a_claim_of_a_divided_node_promises_the_parts_and_its_node_has_no_more():
    offered = (offering("p4d.24xlarge"),)
    coming = claim(offerings=offered, layout="mig-1g.5gb")
    promised = only_seat(claims=[coming], instance_types=[A100])
    assert (promised.layout, promised.total.gpus, promised.residual.gpus) == ("mig-1g.5gb", 7, 7)
    assert (promised.gpu_interconnect, promised.efa_interfaces) == ("nvswitch", 4)
    assert promised.driver_family == "nvidia"
    there = claim(offerings=offered, layout="mig-1g.5gb", initialised=True)
    boastful = node(allocatable=room(cpu=7, gib=30, gpus=64))
    seat = only_seat(claims=[there], nodes=[boastful], instance_types=[A100])
    assert (seat.layout, seat.residual.gpus) == ("mig-1g.5gb", 7)


def test_a_layout_that_its_type_cannot_have_offers_no_room():
    odd = claim(layout="mig-1g.5gb")
    assert only_seat(claims=[odd]).residual == Resources()
    unknown = claim(offerings=(offering("x.large"),), layout="mig-1g.5gb")
    assert only_seat(claims=[unknown]).layout == "mig-1g.5gb"


def test_an_initialised_claim_whose_node_is_gone_leaves_a_seat_without_room():
    seat = only_seat(claims=[READY], nodes=[node(claim="other", provider_id="")])
    assert (seat.ready, seat.residual) == (False, Resources())


def test_a_foreign_taint_on_the_node_is_kept_for_the_planner_to_judge():
    odd = Taint(key="example.org/maintenance")
    assert only_seat(claims=[READY], nodes=[node(taints=(odd,))]).taints == (odd,)


def test_everybody_bound_to_the_node_takes_room_also_while_terminating():
    daemon = Resources(cpu_millicpu=500, memory_bytes=GIB, pods=1)
    seat = only_seat(
        claims=[READY],
        nodes=[node()],
        sessions=[session(gates=(), node_name="n1", deleting=True, pinned_to="c1")],
        others=[
            BoundPod(name="d", namespace="k", uid="d", node_name="n1", resources=daemon),
            BoundPod(name="e", namespace="k", uid="e", node_name="", resources=room()),
            BoundPod(name="f", namespace="k", uid="f", node_name="n2", resources=room()),
            BoundPod(
                name="g", namespace="k", uid="g", node_name="n1", resources=room(), finished=True
            ),
        ],
    )
    assert seat.residual == room(cpu=7, gib=30) - NEED - daemon


def test_a_finished_session_gives_its_room_back():
    over = session(gates=(), node_name="n1", phase="Succeeded")
    assert only_seat(claims=[READY], nodes=[node()], sessions=[over]).residual.gpus == 1


def test_a_released_session_takes_room_before_it_is_bound_and_only_once_after():
    released = session(gates=(), pinned_to="c1")
    bound = replace(released, node_name="n1")
    before = only_seat(claims=[READY], nodes=[node()], sessions=[released])
    after = only_seat(claims=[READY], nodes=[node()], sessions=[bound])
    assert before.residual == after.residual == before.total - NEED


def test_a_session_that_is_only_planned_takes_no_room():
    assert only_seat(claims=[claim()], sessions=[session(claim="c1")]).residual == room()


def test_a_launched_claim_promises_its_type_and_the_taints_nodes_always_carry():
    seat = only_seat(claims=[claim(node_name="n1", **LAUNCHED)])
    assert (seat.ready, seat.residual, seat.node_name) == (False, room(), "n1")
    assert seat.taints == (wire.GPU_TAINT, wire.USER_TAINT)
    assert seat.labels == {
        wire.PIN_LABEL: "c1",
        wire.PURPOSE_LABEL: "user",
        wire.INSTANCE_TYPE_LABEL: "g6.2xlarge",
        wire.ZONE_LABEL: "us-east-1a",
        wire.ARCH_LABEL: "amd64",
        wire.CAPACITY_LABEL: "spot",
        OS_LABEL: "linux",
    }
    assert seat.usd_per_hour_micro == 350_000


def test_a_launch_result_without_capacity_type_is_not_taken_for_spot():
    seat = only_seat(claims=[claim(**{**LAUNCHED, "capacity_type": ""})])
    assert seat.capacity_type is ON_DEMAND


def test_daemons_on_a_node_that_has_joined_already_take_room_of_a_seat_in_flight():
    daemon = Resources(cpu_millicpu=500, memory_bytes=GIB, pods=1)
    load = BoundPod(name="d", namespace="k", uid="d", node_name="n1", resources=daemon)
    joined = node(claim="", allocatable=room(gpus=0), ready=False)
    seat = only_seat(claims=[claim(**LAUNCHED)], nodes=[joined], others=[load])
    assert (seat.ready, seat.residual) == (False, room() - daemon)


@pytest.mark.parametrize("state", [{"unschedulable": True}, {"deleting": True}], ids=str)
def test_a_node_cordoned_before_it_was_initialised_offers_nothing(state):
    assert only_seat(claims=[claim(**LAUNCHED)], nodes=[node(**state)]).residual == Resources()


def test_a_claim_not_launched_is_expected_to_be_its_first_choice_with_room_for_any_choice():
    several = (
        offering(price=400_000),
        offering("g5.4xlarge", "us-east-1b", ON_DEMAND, 1_600_000),
    )
    seat = only_seat(claims=[claim(offerings=several)])
    assert (seat.total, seat.residual) == (room(cpu=8, gib=32), room(cpu=8, gib=30))
    assert (seat.instance_type, seat.zone, seat.gpu_model) == ("g6.2xlarge", "us-east-1a", "L4")
    assert (seat.capacity_type, seat.usd_per_hour_micro) == (SPOT, 400_000)
    assert seat.labels[wire.ZONE_LABEL] == "us-east-1a"


def test_sessions_keep_their_place_on_a_claim_whose_launch_is_not_decided():
    needs = Requirements(
        gpu_models=("L4", "A10G"),
        zones=("us-east-1a", "us-east-1b"),
        capacity=CapacityPolicy.SPOT_THEN_ON_DEMAND,
        max_usd_per_hour_micro=1_000_000,
        tolerations=SESSION_TOLERATIONS,
    )
    pod = session(claim="c1")
    pod = replace(pod, request=replace(pod.request, requirements=needs))
    several = (offering(), offering("g5.4xlarge", "us-east-1b", ON_DEMAND, 900_000))
    plan = solve(look(sessions=[pod], claims=[claim(offerings=several)]))
    assert [(p.session, p.place) for p in plan.placements] == [("s1", "c1")]
    assert plan.claims == ()


def test_a_node_of_a_type_nobody_knows_is_a_seat_as_its_node_describes_it():
    odd = claim(initialised=True, **{**LAUNCHED, "instance_type": "g9.new"})
    seat = only_seat(claims=[odd], nodes=[node()])
    assert (seat.ready, seat.residual) == (True, room(cpu=7, gib=30))
    assert (seat.instance_type, seat.zone, seat.gpu_model) == ("g9.new", "us-east-1a", "")


@pytest.mark.parametrize("offerings", [(), (offering(), offering("g9.unknown"))], ids=len)
def test_a_claim_for_types_nobody_knows_offers_no_room(offerings):
    seat = only_seat(claims=[claim(offerings=offerings)])
    assert (seat.total, seat.residual) == (Resources(), Resources())


def test_a_claim_being_deleted_is_no_seat_and_neither_is_a_node_without_claim():
    assert look(claims=[replace(READY, deleting=True)], nodes=[node()]).seats == ()


def test_seats_come_in_order_of_name():
    claims = [claim("c2"), claim("c1")]
    assert [seat.place for seat in look(claims=claims).seats] == ["c1", "c2"]


def test_an_offering_without_capacity_is_marked_and_no_other():
    seen = look(excluded={offering().key}).instance_types
    assert [[o.available for o in kind.offerings] for kind in seen] == [[False, True], [True]]
    assert seen[1] is A10G


def test_time_and_cap_are_handed_on():
    seen = look(max_usd_per_hour_micro=5)
    assert (seen.now, seen.max_usd_per_hour_micro) == (100.0, 5)


POD = {
    "metadata": {
        "name": "jupyter-ann",
        "namespace": "gpu-jit",
        "uid": "u1",
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "annotations": {
            wire.SESSION_ANNOTATION: wire.encode_session(
                SessionRequest(uid="", user="ann", profile="l4")
            )
        },
    },
    "spec": {
        "schedulingGates": [{"name": wire.GATE}],
        "containers": [{"resources": {"requests": {"cpu": "3", "memory": "12Gi"}}}],
    },
}
NODE = {
    "metadata": {
        "name": "n1",
        "resourceVersion": "3",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {wire.PIN_LABEL: "c1"},
    },
    "spec": {"providerID": "aws:///us-east-1a/i-1"},
    "status": {
        "allocatable": {"cpu": "7", "memory": "30Gi", wire.GPU_RESOURCE: "1", "pods": "58"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


def claim_json():
    body = wire.encode_claim(claim())
    meta = {"uid": "c", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    condition = wire.encode_condition(Condition(type=wire.INITIALISED, status=True, since=0.0))
    status = {"instanceType": "g6.2xlarge", "capacityType": "spot", "conditions": [condition]}
    return {**body, "metadata": {**body["metadata"], **meta}, "status": status}


def test_lists_of_json_give_the_same_as_typed_objects():
    stranger = json.loads(json.dumps(POD))
    stranger["metadata"] |= {"name": "ds", "uid": "u2", "annotations": {}}
    stranger["spec"] |= {"nodeName": "n1", "schedulingGates": []}
    seen = snapshot.build(
        pods=[POD, stranger], nodes=[NODE], claims=[claim_json()], instance_types=TYPES, now=1.0
    )
    assert [r.user for r in seen.waiting] == ["ann"]
    assert seen.seats[0].ready
    assert seen.seats[0].residual == Resources(
        cpu_millicpu=4000, memory_bytes=18 * GIB, gpus=1, pods=57
    )


def test_a_session_nobody_can_read_does_not_wait_but_takes_its_room():
    broken = json.loads(json.dumps(POD))
    broken["metadata"]["annotations"][wire.SESSION_ANNOTATION] = "not JSON"
    broken["spec"]["nodeName"] = "n1"
    seen = snapshot.build(
        pods=[broken], nodes=[NODE], claims=[claim_json()], instance_types=TYPES, now=1.0
    )
    assert seen.waiting == ()
    assert seen.seats[0].residual.cpu_millicpu == 4000


# --- what limits the next plan -----------------------------------------------------------------


def test_a_seat_is_taken_back_as_often_as_its_pool_is():
    rated = replace(offering(), interruptions_per_hour=0.25)
    types = (replace(L4, offerings=(L4.offerings[1], rated)),)
    seen = look(claims=[claim(**LAUNCHED)], instance_types=types).seats[0]
    assert seen.interruptions_per_hour == 0.25
    elsewhere = {**LAUNCHED, "zone": "us-east-1z"}
    gone = look(claims=[claim(**elsewhere)], instance_types=types).seats[0]
    assert gone.interruptions_per_hour is None


def test_members_of_a_group_that_have_their_place_are_known():
    def member(uid, **changes):
        pod = session(uid, **changes)
        return replace(pod, request=replace(pod.request, group="g"))

    sessions = [
        member("b", gates=(), pinned_to="c2"),
        member("a", gates=(), pinned_to="c1"),
        member("waits"),
        member("over", gates=(), pinned_to="c1", phase="Succeeded"),
        member("ends", gates=(), pinned_to="c1", deleting=True),
        session("alone", gates=(), pinned_to="c1"),
    ]
    assert look(sessions=sessions).groups == (("g", "c1"), ("g", "c2"))


def test_all_that_runs_or_is_asked_for_is_taken_from_the_quota():
    failed = Condition(type=wire.LAUNCHED, status=False, since=0.0)
    claims = [
        claim("c1", **LAUNCHED),
        claim("c2", offerings=(offering("g5.4xlarge"), offering())),
        claim("c3", deleting=True, **LAUNCHED),
        replace(claim("c4"), conditions=(failed,)),
        claim("c5", offerings=()),
        claim("c6", offerings=(offering(capacity=ON_DEMAND),)),
    ]
    seen = look(claims=claims, quotas={("g-vt", SPOT): 30, ("p", SPOT): 8})
    assert [(q.vcpu_class, q.free_vcpus) for q in seen.quotas] == [("g-vt", 6), ("p", 8)]
    assert look(claims=claims).quotas == ()


def test_a_type_is_as_large_as_its_node_says_in_what_is_made_of_lists():
    body = json.loads(json.dumps(NODE))
    body["metadata"]["labels"][wire.INSTANCE_TYPE_LABEL] = "g6.2xlarge"
    seen = snapshot.build(pods=[], nodes=[body], claims=[], instance_types=TYPES, now=1.0)
    assert seen.instance_types[0].allocatable == room(cpu=7, gib=30)
    assert seen.instance_types[1] is A10G


# --- volumes -----------------------------------------------------------------------------------

HOME = ("gpu-jit", "home")
ZONE_A = {"key": wire.ZONE_LABEL, "operator": "In", "values": ["us-east-1a"]}
A_HOME = Storage.of(
    claims=[
        {
            "metadata": {"name": "home", "namespace": "gpu-jit"},
            "spec": {"volumeName": "pv", "accessModes": ["ReadWriteOnce"]},
            "status": {"phase": "Bound"},
        }
    ],
    volumes=[
        {
            "metadata": {"name": "pv"},
            "spec": {
                "nodeAffinity": {
                    "required": {"nodeSelectorTerms": [{"matchExpressions": [ZONE_A]}]}
                }
            },
        }
    ],
)


def asked(storage, *sessions, others=()):
    """Zones, node and what is waited for, of each session that waits."""
    seen = look(sessions=sessions, others=others, storage=storage)
    return [(r.requirements.zones, r.requirements.node, r.waits_for) for r in seen.waiting]


def test_a_session_is_planned_where_its_volume_is():
    home = session("a", volume_claims=(HOME,))
    assert asked(A_HOME, home, session("b")) == [(("us-east-1a",), "", ""), ((), "", "")]
    [(_, _, waits)] = asked(Storage(), home)
    assert waits == "its volume claim home does not exist yet"


def test_who_knows_nothing_of_storage_plans_sessions_by_what_they_say():
    assert asked(None, session("a", volume_claims=(HOME,))) == [((), "", "")]


def test_a_volume_somebody_uses_means_that_node():
    user = BoundPod(
        name="other", namespace="gpu-jit", uid="o", node_name="n7", resources=NEED,
        volume_claims=(HOME,),
    )  # fmt: skip
    seen = asked(A_HOME, session("a", volume_claims=(HOME,)), others=[user])
    assert seen == [(("us-east-1a",), "n7", "")]


@pytest.mark.parametrize(
    ("state", "waits"),
    [
        ({"pinned_to": "c1", "gates": ()}, "its volume claim home goes to a first"),
        ({"pinned_to": "c1", "gates": (), "deleting": True}, ""),
        ({"pinned_to": "c1", "gates": (), "phase": "Failed"}, ""),
        ({}, "its volume claim home goes to a first"),
        ({"gates": (wire.GATE, "other.io/gate")}, ""),
    ],
)
def test_of_sessions_that_share_a_volume_one_is_seated_at_a_time(state, waits):
    first = session("a", volume_claims=(HOME,), **state)
    seen = look(sessions=[session("b", volume_claims=(HOME,)), first], storage=A_HOME)
    assert {r.uid: r.waits_for for r in seen.waiting}["b"] == waits


def test_a_seat_knows_who_is_there_bound_released_or_ending():
    pods = [
        session("a", node_name="n1", pinned_to="c1", gates=()),
        session("b", pinned_to="c1", gates=()),
        session("c", node_name="n1", pinned_to="c1", gates=(), deleting=True),
        session("d", node_name="n1", pinned_to="c1", gates=(), phase="Succeeded"),
        session("e", claim="c1"),
        session("f", node_name="n2", gates=()),
    ]
    seen = only_seat(sessions=pods, nodes=[node()], claims=[READY])
    assert [each.uid for each in seen.sessions] == ["b", "a", "c"]
    coming = only_seat(sessions=pods, claims=[claim()])
    assert [each.uid for each in coming.sessions] == ["b"]
