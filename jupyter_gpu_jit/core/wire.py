"""What is written on Kubernetes objects and read back: where hub and provisioner meet.

Names of gate, annotations, labels, taints and conditions, and pure translations between the
API server's JSON and the types of model.py. Schemas: docs/wire/*.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import Defect, UserError
from .annotations import WIRE_VERSION as WIRE_VERSION
from .annotations import canonical as canonical
from .annotations import decode_session as decode_session
from .annotations import decode_status as decode_status
from .annotations import encode_session as encode_session
from .annotations import encode_status as encode_status
from .model import (
    UNTOLD,
    BoundPod,
    Condition,
    LaunchBatch,
    LaunchTerms,
    Node,
    NodeClaim,
    Offering,
    Reservation,
    Resources,
    SessionPod,
)
from .quantity import format_time, parse_bytes, parse_count, parse_cpu, parse_time
from .requirements import (
    CapacityType,
    LabelRequirement,
    Requirements,
    Taint,
    Toleration,
)
from .volumes import claim_names, claims_of

Json = Mapping[str, Any]

GROUP = "gpu-jit.io"
VERSION = "v1alpha1"
GATE = "gpu-jit.io/plan"
SESSION_ANNOTATION = "gpu-jit.io/session"
STATUS_ANNOTATION = "gpu-jit.io/status"
CLAIM_ANNOTATION = "gpu-jit.io/claim"
RELEASED_ANNOTATION = "gpu-jit.io/released-at"
DRY_ANNOTATION = "gpu-jit.io/dry"
RECREATE_ANNOTATION = "gpu-jit.io/recreate"
SESSION_LABEL = "gpu-jit.io/session"
FINALIZER = "gpu-jit.io/termination"
CLUSTER_LABEL = "gpu-jit.io/cluster"
HUB_LABEL = "gpu-jit.io/hub"
PIN_LABEL = "node-restriction.kubernetes.io/gpu-jit-claim"
PURPOSE_LABEL = "hub.jupyter.org/node-purpose"
INSTANCE_TYPE_LABEL = "node.kubernetes.io/instance-type"
ZONE_LABEL = "topology.kubernetes.io/zone"
ARCH_LABEL = "kubernetes.io/arch"
CAPACITY_LABEL = "gpu-jit.io/capacity-type"
LAYOUT_LABEL = "gpu-jit.io/gpu-layout"
GPU_RESOURCE = "nvidia.com/gpu"
UNREGISTERED_TAINT = Taint(key="gpu-jit.io/unregistered", effect="NoExecute")
OUT_OF_SERVICE_TAINT = Taint(
    key="node.kubernetes.io/out-of-service", value="nodeshutdown", effect="NoExecute"
)
DEADLINE_ANNOTATION = "gpu-jit.io/deadline"
DEADLINE_TAINT_KEY = "gpu-jit.io/deadline"
NETWORK_NODE_LABELS = tuple(f"gpu-jit.io/network-node-{layer}" for layer in (1, 2, 3))
GPU_TAINT = Taint(key=GPU_RESOURCE, effect="NoSchedule")
USER_TAINT = Taint(key="hub.jupyter.org/dedicated", value="user", effect="NoSchedule")

CLUSTER_TAG, HUB_TAG, BATCH_TAG = "gpu-jit.io/cluster", "gpu-jit.io/hub", "gpu-jit.io/batch"
LAYOUT_TAG = "gpu-jit.io/gpu-layout"
DISCOVERY_TAG = "gpu-jit.io/discovery"

LAUNCHED, REGISTERED, INITIALISED, TERMINATING = (
    "Launched",
    "Registered",
    "Initialised",
    "Terminating",
)
# The cloud has said that it takes the instance back, or that it may soon.
INTERRUPTED, AT_RISK = "Interrupted", "AtRisk"


# --- what the pod itself asks for ------------------------------------------------------------


def pod_requirements(asked: Requirements, spec: Json) -> Requirements:
    """What the annotation asks for, with the pod's own selector, affinity and tolerations."""
    return replace(
        asked,
        node_labels=_own_selector(spec),
        node_terms=_affinity_terms(spec),
        tolerations=_tolerations(spec),
    )


def _own_selector(spec: Json) -> tuple[tuple[str, str], ...]:
    """The pod's node selector without our pin, sorted."""
    selector = spec.get("nodeSelector") or {}
    return tuple(sorted((k, v) for k, v in selector.items() if k != PIN_LABEL))


def scheduling_requirements(spec: Json) -> Requirements:
    """What a scheduler enforces of a pod's spec besides its size; the pin is included."""
    return Requirements(
        node_labels=tuple(sorted((spec.get("nodeSelector") or {}).items())),
        node_terms=_affinity_terms(spec),
        tolerations=_tolerations(spec),
    )


def _affinity_terms(spec: Json) -> tuple[tuple[LabelRequirement, ...], ...]:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    return tuple(
        tuple(
            LabelRequirement(
                key=row["key"], operator=row["operator"], values=tuple(row.get("values") or ())
            )
            for row in (*(term.get("matchExpressions") or ()), *_field_rows(term))
        )
        for term in required.get("nodeSelectorTerms") or ()
    )


def _field_rows(term: Json) -> tuple[Json, ...]:
    """Rows on fields (a node's name) as rows no label satisfies: such a node is never ours."""
    return tuple({**row, "operator": "Fields"} for row in term.get("matchFields") or ())


def _tolerations(spec: Json) -> tuple[Toleration, ...]:
    return tuple(
        Toleration(
            key=t.get("key") or "",
            operator=t.get("operator") or "Equal",
            value=t.get("value") or "",
            effect=t.get("effect") or "",
        )
        for t in spec.get("tolerations") or ()
    )


# --- sizes -----------------------------------------------------------------------------------


def pod_resources(spec: Json) -> Resources:
    """What an admitted pod takes from its node: as kube-scheduler counts it.

    Sum of containers and sidecars (init containers that keep running), or the largest init
    step beside the sidecars started before it when that is more; requests of the pod as a
    whole replace those of its containers; then the pod's overhead.
    (k8s.io/component-helpers/resource, PodRequests)
    """
    sidecars = peak = Resources()
    for container in spec.get("initContainers") or ():
        step = sidecars + _requests(container)
        peak = _largest(peak, step)
        if container.get("restartPolicy") == "Always":
            sidecars = step
    total = _largest(_sum_requests(spec.get("containers") or ()) + sidecars, peak)
    whole = _whole_pod(total, spec.get("resources") or {})
    # Each claim counts as one attachment, though a file system that many share (EFS) needs none.
    own = Resources(pods=1, volumes=len(claim_names(spec)))
    return whole + _amounts(spec.get("overhead") or {}) + own


def _whole_pod(total: Resources, resources: Json) -> Resources:
    """The total with what the pod as a whole requests (CPU and memory only) in its place."""
    stated = _stated(resources)
    own = _amounts(stated)
    return replace(
        total,
        cpu_millicpu=own.cpu_millicpu if "cpu" in stated else total.cpu_millicpu,
        memory_bytes=own.memory_bytes if "memory" in stated else total.memory_bytes,
    )


def _sum_requests(containers: Sequence[Json]) -> Resources:
    total = Resources()
    for container in containers:
        total = total + _requests(container)
    return total


def _requests(container: Json) -> Resources:
    return _amounts(_stated(container.get("resources") or {}))


def _stated(resources: Json) -> dict[str, Any]:
    """Requests; a limit without one is its request, as admission fills it in."""
    return {**(resources.get("limits") or {}), **(resources.get("requests") or {})}


def _amounts(amounts: Json) -> Resources:
    return Resources(
        cpu_millicpu=parse_cpu(amounts.get("cpu", 0)),
        memory_bytes=parse_bytes(amounts.get("memory", 0)),
        gpus=parse_count(amounts.get(GPU_RESOURCE, 0)),
    )


def _largest(a: Resources, b: Resources) -> Resources:
    return Resources(
        cpu_millicpu=max(a.cpu_millicpu, b.cpu_millicpu),
        memory_bytes=max(a.memory_bytes, b.memory_bytes),
        gpus=max(a.gpus, b.gpus),
        pods=max(a.pods, b.pods),
    )


# --- pods ------------------------------------------------------------------------------------


def is_session(pod: Json) -> bool:
    """Whether the pod asks us for a seat."""
    return SESSION_ANNOTATION in (pod["metadata"].get("annotations") or {})


def read_session_pod(pod: Json) -> SessionPod:
    """A session's pod. Raises UserError when its annotation cannot be read."""
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    annotations = meta.get("annotations") or {}
    asked = decode_session(annotations.get(SESSION_ANNOTATION, ""))
    released = annotations.get(RELEASED_ANNOTATION)
    claim = annotations.get(CLAIM_ANNOTATION, "")
    request = replace(
        asked,
        uid=meta["uid"],
        resources=replace(pod_resources(spec), local_disk_bytes=asked.resources.local_disk_bytes),
        requirements=pod_requirements(asked.requirements, spec),
        created_at=parse_time(meta["creationTimestamp"]),
        place=claim,
    )
    return SessionPod(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        request=request,
        gates=tuple(g["name"] for g in spec.get("schedulingGates") or ()),
        claim=claim,
        pinned_to=(spec.get("nodeSelector") or {}).get(PIN_LABEL, ""),
        released_at=parse_time(released) if released else None,
        node_name=spec.get("nodeName") or "",
        phase=status.get("phase") or "Pending",
        failure_reason=status.get("reason") or "",
        ready=_pod_ready(status),
        deleting="deletionTimestamp" in meta,
        status=decode_status(annotations.get(STATUS_ANNOTATION)),
        volume_claims=claims_of(pod),
    )


def read_bound_pod(pod: Json) -> BoundPod:
    """Anybody's pod as a load on its node."""
    meta, spec = pod["metadata"], pod.get("spec") or {}
    owners = meta.get("ownerReferences") or ()
    return BoundPod(
        name=meta["name"],
        namespace=meta.get("namespace", ""),
        uid=meta["uid"],
        node_name=spec.get("nodeName") or "",
        resources=pod_resources(spec),
        daemon=any(o.get("kind") == "DaemonSet" for o in owners),
        finished=(pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"),
        deleting="deletionTimestamp" in meta,
        volume_claims=claims_of(pod),
    )


def _pod_ready(status: Json) -> bool:
    conditions = status.get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


# --- nodes -----------------------------------------------------------------------------------


def read_node(node: Json) -> Node:
    """A node; its claim is the pin label, which only the provisioner can have set."""
    meta, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    labels = dict(meta.get("labels") or {})
    allocatable = status.get("allocatable") or {}
    return Node(
        name=meta["name"],
        resource_version=meta["resourceVersion"],
        provider_id=spec.get("providerID") or "",
        labels=labels,
        taints=read_taints(spec.get("taints") or ()),
        allocatable=replace(
            _amounts(allocatable),
            pods=parse_count(allocatable.get("pods", 0)),
            volumes=UNTOLD,
            local_disk_bytes=UNTOLD,
        ),
        ready=_pod_ready(status),
        unschedulable=bool(spec.get("unschedulable")),
        deleting="deletionTimestamp" in meta,
        created_at=parse_time(meta["creationTimestamp"]),
        claim=labels.get(PIN_LABEL, ""),
    )


def read_taints(taints: Sequence[Json]) -> tuple[Taint, ...]:
    """Taints of a node's spec."""
    return tuple(
        Taint(key=t["key"], value=t.get("value") or "", effect=t["effect"]) for t in taints
    )


def is_passing(taint: Taint) -> bool:
    """Whether a node that is coming up loses this taint by itself.

    Kubernetes puts them on and takes them off again a moment after the node is Ready.
    """
    return taint.key.startswith(("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/"))


def taint_json(taint: Taint) -> dict[str, str]:
    """A taint as Kubernetes writes it."""
    body = {"key": taint.key, "effect": taint.effect}
    return {**body, "value": taint.value} if taint.value else body


# --- claims ----------------------------------------------------------------------------------


def encode_claim(claim: NodeClaim) -> dict[str, Any]:
    """A GpuNodeClaim as it is created: intent only, no status."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "GpuNodeClaim",
        "metadata": {
            "name": claim.name,
            "labels": {CLUSTER_LABEL: claim.cluster_id, HUB_LABEL: claim.hub_id},
            "finalizers": [FINALIZER],
        },
        "spec": {
            "clusterID": claim.cluster_id,
            "hubID": claim.hub_id,
            "batch": {
                "id": claim.batch.id,
                "claims": list(claim.batch.claims),
                "attempt": claim.batch.attempt,
            },
            "offerings": [_encode_offering(o) for o in claim.offerings],
            "layout": claim.layout,
            "terms": _encode_terms(claim.terms),
            "sessions": list(claim.sessions),
        },
    }


def _encode_offering(offering: Offering) -> dict[str, Any]:
    return {
        "instanceType": offering.instance_type,
        "zone": offering.zone,
        "capacityType": offering.capacity_type.value,
        "microUSDPerHour": offering.usd_per_hour_micro,
    }


def _decode_offering(body: Json) -> Offering:
    return Offering(
        instance_type=body["instanceType"],
        zone=body["zone"],
        capacity_type=CapacityType(body["capacityType"]),
        usd_per_hour_micro=int(body["microUSDPerHour"]),
    )


def _encode_terms(terms: LaunchTerms) -> dict[str, Any]:
    """What is asked alone; nothing for nearly all claims."""
    body: dict[str, Any] = {}
    if terms.placement_group:
        body["placementGroup"] = {
            "name": terms.placement_group,
            "strategy": terms.placement_strategy,
        }
    if terms.efa:
        body["efa"] = True
    if terms.together:
        body["together"] = terms.together
    return body


def _decode_terms(body: Json) -> LaunchTerms:
    group = body.get("placementGroup") or {}
    return LaunchTerms(
        placement_group=group.get("name") or "",
        placement_strategy=group.get("strategy") or "cluster",
        efa=bool(body.get("efa")),
        together=body.get("together") or "",
    )


def read_claim(body: Json) -> NodeClaim:
    """A GpuNodeClaim. Raises Defect when it is not one we could have written."""
    try:
        return _read_claim(body)
    except (KeyError, ValueError, TypeError, AttributeError, UserError) as error:
        name = _name_of(body)
        raise Defect(f"GpuNodeClaim {name} cannot be read: {error!r}.") from error


def _name_of(body: Json) -> str:
    meta = body.get("metadata")
    return str(meta.get("name", "?")) if isinstance(meta, Mapping) else "?"


def encode_reservation(reservation: Reservation) -> dict[str, Any]:
    """A reservation as it stands in a claim's status."""
    room = reservation.resources
    return {
        "session": reservation.session,
        "user": reservation.user,
        "server": reservation.server,
        "until": format_time(reservation.until),
        "cpuMillicores": room.cpu_millicpu,
        "memoryBytes": room.memory_bytes,
        "gpus": room.gpus,
        "volumes": room.volumes,
        "localDiskBytes": room.local_disk_bytes,
    }


def _decode_reservation(body: Json) -> Reservation:
    room = Resources(
        cpu_millicpu=int(body["cpuMillicores"]),
        memory_bytes=int(body["memoryBytes"]),
        gpus=int(body["gpus"]),
        volumes=int(body["volumes"]),
        local_disk_bytes=int(body["localDiskBytes"]),
        pods=1,
    )
    return Reservation(
        session=body["session"],
        user=body["user"],
        server=body["server"],
        resources=room,
        until=parse_time(body["until"]),
    )


def deadline_taint(deadline: float | None) -> Taint:
    """What marks a node that the cloud takes back: nobody new, and until when, in epoch seconds.

    Without a value when nobody knows.
    """
    value = "" if deadline is None else str(round(deadline))
    return Taint(key=DEADLINE_TAINT_KEY, value=value, effect="NoSchedule")


def _read_claim(body: Json) -> NodeClaim:
    meta, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    batch = spec["batch"]
    empty_since, deadline = status.get("emptySince"), status.get("deadline")
    return NodeClaim(
        name=meta["name"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        created_at=parse_time(meta["creationTimestamp"]),
        cluster_id=spec["clusterID"],
        hub_id=spec["hubID"],
        batch=LaunchBatch(
            id=batch["id"], claims=tuple(batch["claims"]), attempt=int(batch["attempt"])
        ),
        offerings=tuple(_decode_offering(o) for o in spec["offerings"]),
        layout=spec.get("layout") or "",
        terms=_decode_terms(spec.get("terms") or {}),
        sessions=tuple(spec.get("sessions") or ()),
        provider_id=status.get("providerID") or "",
        node_name=status.get("nodeName") or "",
        instance_type=status.get("instanceType") or "",
        zone=status.get("zone") or "",
        capacity_type=status.get("capacityType") or "",
        usd_per_hour_micro=int(status.get("microUSDPerHour") or 0),
        empty_since=parse_time(empty_since) if empty_since else None,
        deadline=parse_time(deadline) if deadline else None,
        reservations=tuple(_decode_reservation(r) for r in status.get("reservations") or ()),
        conditions=tuple(_decode_condition(c) for c in status.get("conditions") or ()),
        deleting="deletionTimestamp" in meta,
    )


def _decode_condition(body: Json) -> Condition:
    return Condition(
        type=body["type"],
        status={"True": True, "False": False}.get(body["status"]),
        since=parse_time(body["lastTransitionTime"]),
        reason=body.get("reason") or "",
        message=body.get("message") or "",
    )


def encode_condition(condition: Condition) -> dict[str, Any]:
    """A condition as Kubernetes writes it."""
    text = {True: "True", False: "False", None: "Unknown"}[condition.status]
    return {
        "type": condition.type,
        "status": text,
        "reason": condition.reason or condition.type,
        "message": condition.message,
        "lastTransitionTime": format_time(condition.since),
    }


def with_condition(conditions: Sequence[Condition], new: Condition) -> tuple[Condition, ...]:
    """The conditions with ``new`` in place; ``since`` is kept while the status stays the same."""
    kept = [c for c in conditions if c.type != new.type]
    old = next((c for c in conditions if c.type == new.type), None)
    if old is not None and old.status == new.status:
        new = replace(new, since=old.since)
    return (*kept, new)
