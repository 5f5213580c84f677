"""Facts of a small cluster for the tests of overview and decisions: one node, ann and others."""

from __future__ import annotations

from jupyter_gpu_jit.core import wire
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
    SessionStatus,
)
from jupyter_gpu_jit.core.overview import Facts, Viewer
from jupyter_gpu_jit.core.requirements import CapacityType

GIB = 1 << 30
T0 = 1_800_000_000.0
A100 = InstanceType(
    name="p4d.24xlarge",
    vcpu=96,
    memory_mib=1 << 20,
    allocatable=Resources(cpu_millicpu=95_000, memory_bytes=1100 * GIB, gpus=8, pods=110),
    gpu_model="A100",
)
BEST = Offering(
    instance_type="p4d.24xlarge",
    zone="us-east-1a",
    capacity_type=CapacityType.SPOT,
    usd_per_hour_micro=8_000_000,
)
ALL = Viewer(name="root", everything=True)
ANN = Viewer(name="ann", may=lambda user, server: user == "ann")


def session(user="ann", server="", *, gpus=1, **changes):
    size = Resources(cpu_millicpu=8000, memory_bytes=64 * GIB, gpus=gpus, pods=1)
    request = SessionRequest(
        uid=f"{user}-{server}", user=user, server=server, profile="a100", resources=size,
        created_at=changes.pop("created_at", T0),
    )  # fmt: skip
    known = {"name": f"pod-{user}", "namespace": "gpu-jit", "resource_version": "1"}
    return SessionPod(uid=f"{user}-{server}", request=request, **{**known, **changes})


def seated(user="ann", server="", **changes):
    place = {"node_name": "n1", "pinned_to": "c1", "claim": "c1", "phase": "Running"}
    return session(user, server, **{**place, "ready": True, "released_at": T0 + 30, **changes})


def told(stage, **changes):
    return SessionStatus(stage=stage, since=T0 + 5, **changes)


def claim(name="c1", *done, offerings=(BEST,), **changes):
    known = {"uid": name, "resource_version": "1", "created_at": T0, "cluster_id": "c"}
    conditions = tuple(
        Condition(type=kind, status=status, since=T0 + index)
        for index, (kind, status) in enumerate(done)
    )
    return NodeClaim(
        name=name,
        hub_id="h",
        batch=LaunchBatch(id="b", claims=(name,)),
        offerings=offerings,
        conditions=conditions,
        **{**known, **changes},
    )


STEPS = ((wire.LAUNCHED, True), (wire.REGISTERED, True), (wire.INITIALISED, True))
RUNNING = claim(
    "c1",
    *STEPS,
    node_name="n1",
    instance_type="p4d.24xlarge",
    zone="us-east-1a",
    capacity_type="spot",
    usd_per_hour_micro=8_000_000,
)
NODE = Node(
    name="n1",
    resource_version="1",
    provider_id="p",
    labels={},
    allocatable=A100.allocatable,
    ready=True,
    created_at=T0 + 10,
    claim="c1",
)


def facts(*sessions, **changes):
    known = {"nodes": (NODE,), "claims": (RUNNING,), "types": {A100.name: A100}}
    return Facts(sessions=sessions, **{**known, **changes})
