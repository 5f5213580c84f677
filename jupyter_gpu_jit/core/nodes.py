"""What a new node will look like: to a scheduler its labels and taints, to the planner a seat.

The planner checks sessions against these before a node exists; whatever makes nodes (simulated
kubelet, local agent, launch template) registers them with the same labels and taints.
"""

from __future__ import annotations

from .model import InstanceType, Offering, Resources, Seat
from .requirements import Taint, Toleration
from .wire import (
    ARCH_LABEL,
    CAPACITY_LABEL,
    GPU_TAINT,
    INSTANCE_TYPE_LABEL,
    LAYOUT_LABEL,
    PURPOSE_LABEL,
    USER_TAINT,
    ZONE_LABEL,
)

OS_LABEL = "kubernetes.io/os"

SESSION_TOLERATIONS = (
    Toleration(key=GPU_TAINT.key, operator="Exists", effect=GPU_TAINT.effect),
    Toleration(key=USER_TAINT.key, value=USER_TAINT.value, effect=USER_TAINT.effect),
)
"""What every session pod tolerates, so that it may sit on any of our nodes."""

NODE_TAINTS = (GPU_TAINT, USER_TAINT)
"""Permanent taints of each of our nodes, with or without GPUs (design.md section 4, step 5)."""


def node_labels(
    instance_type: InstanceType, offering: Offering, layout: str = ""
) -> dict[str, str]:
    """Labels of a node launched from ``offering``, except its host name and its claim.

    The layout of its GPUs is told where they are divided.
    """
    divided = {LAYOUT_LABEL: layout} if layout else {}
    return {
        **divided,
        ARCH_LABEL: instance_type.architecture,
        CAPACITY_LABEL: offering.capacity_type.value,
        INSTANCE_TYPE_LABEL: instance_type.name,
        OS_LABEL: "linux",
        PURPOSE_LABEL: "user",
        ZONE_LABEL: offering.zone,
    }


def node_taints() -> tuple[Taint, ...]:
    """Permanent taints of a new node."""
    return NODE_TAINTS


def seat_of(
    kind: InstanceType,
    sold: Offering,
    layout: str = "",
    *,
    place: str,
    ready: bool,
    total: Resources,
    residual: Resources,
) -> Seat:
    """A node of that type and layout, bought as ``sold``, with the labels and taints of a new one.

    All that a seat has of its type is put there here, so that nobody forgets a part of it.
    """
    return Seat(
        place=place,
        ready=ready,
        total=total,
        residual=residual,
        labels=node_labels(kind, sold, layout),
        taints=node_taints(),
        instance_type=kind.name,
        zone=sold.zone,
        capacity_type=sold.capacity_type,
        gpu_model=kind.gpu_model,
        gpu_memory_mib=kind.gpu_memory_mib,
        gpu_interconnect=kind.gpu_interconnect,
        layout=layout,
        driver_family=kind.driver_family,
        efa_interfaces=kind.efa_interfaces,
        architecture=kind.architecture,
        usd_per_hour_micro=sold.usd_per_hour_micro,
        interruptions_per_hour=sold.interruptions_per_hour,
    )
