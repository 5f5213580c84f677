"""Small worlds for the planner's tests: types, sessions and seats with few words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jupyter_gpu_jit.core.model import (
    InstanceType,
    Offering,
    Plan,
    Refusal,
    Resources,
    Seat,
    SessionRequest,
    Snapshot,
)
from jupyter_gpu_jit.core.nodes import NODE_TAINTS, SESSION_TOLERATIONS, node_labels
from jupyter_gpu_jit.core.quantity import GIB
from jupyter_gpu_jit.core.requirements import CapacityPolicy, CapacityType, Requirements

SPOT, ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND
ZONES = ("us-east-1a", "us-east-1b")


def amount(gpus: int = 0, cpu: float = 1, gib: float = 1, pods: int = 1) -> Resources:
    return Resources(
        gpus=gpus, cpu_millicpu=int(cpu * 1000), memory_bytes=int(gib * GIB), pods=pods
    )


def offering(
    name: str,
    usd: float,
    zone: str = ZONES[0],
    capacity: CapacityType = SPOT,
    available: bool = True,
) -> Offering:
    return Offering(
        instance_type=name,
        zone=zone,
        capacity_type=capacity,
        usd_per_hour_micro=round(usd * 1_000_000),
        available=available,
    )


def kind(
    name: str,
    usd: float,
    *,
    gpus: int = 0,
    cpu: float = 4,
    gib: float = 16,
    pods: int = 29,
    model: str = "",
    offerings: Sequence[Offering] | None = None,
    **more,
) -> InstanceType:
    """A type sold as Spot in one zone at ``usd``, on-demand at twice that, unless said."""
    if offerings is None:
        offerings = (offering(name, usd), offering(name, 2 * usd, capacity=ON_DEMAND))
    memory = {"T4": 16384, "L4": 22888, "A100": 40960}.get(model, 0)
    return InstanceType(
        name=name,
        vcpu=int(cpu),
        memory_mib=int(gib * 1024),
        allocatable=amount(gpus, cpu, gib, pods),
        gpu_model=model,
        gpu_memory_mib=memory,
        offerings=tuple(offerings),
        **more,
    )


def session(uid: str, gpus: int = 0, cpu: float = 1, gib: float = 1, **more) -> SessionRequest:
    """``place`` and ``created_at`` are the request's; all else are requirements."""
    own = {name: more.pop(name) for name in ("place", "created_at") if name in more}
    more.setdefault("tolerations", SESSION_TOLERATIONS)
    return SessionRequest(
        uid=uid,
        user=uid,
        resources=amount(gpus, cpu, gib),
        requirements=Requirements(**more),
        **own,
    )


def seat(
    place: str,
    of: InstanceType,
    *,
    ready: bool = True,
    taken: Resources | None = None,
    sold: Offering | None = None,
    **more,
) -> Seat:
    sold = sold or of.offerings[0]
    fields = {
        "place": place,
        "ready": ready,
        "residual": of.allocatable - (taken or Resources()),
        "total": of.allocatable,
        "labels": node_labels(of, sold),
        "taints": NODE_TAINTS,
        "instance_type": of.name,
        "zone": sold.zone,
        "capacity_type": sold.capacity_type,
        "gpu_model": of.gpu_model,
        "gpu_memory_mib": of.gpu_memory_mib,
        "architecture": of.architecture,
        "usd_per_hour_micro": sold.usd_per_hour_micro,
    }
    return Seat(**{**fields, **more})


def snapshot(
    waiting: Iterable[SessionRequest] = (),
    types: Iterable[InstanceType] = (),
    seats: Iterable[Seat] = (),
    cap_usd: float | None = None,
) -> Snapshot:
    return Snapshot(
        now=0.0,
        waiting=tuple(waiting),
        seats=tuple(seats),
        instance_types=tuple(types),
        max_usd_per_hour_micro=None if cap_usd is None else round(cap_usd * 1_000_000),
    )


def places(plan: Plan) -> dict[str, str]:
    return {p.session: p.place for p in plan.placements}


def launched(plan: Plan) -> list[tuple[str, int]]:
    """Cheapest type of each new node and how many sessions share it, sorted."""
    return sorted((c.offerings[0].instance_type, len(c.sessions)) for c in plan.claims)


def refusal(plan: Plan, uid: str) -> Refusal:
    return next(r for r in plan.refused if r.session == uid)


ANY_CAPACITY = CapacityPolicy.SPOT_THEN_ON_DEMAND
