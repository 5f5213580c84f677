"""Pods as the API server treats them: defaults, gates, what may change, binding, grace.

Used by ``sim.objects`` and ``sim.cluster``. Scheduling gates follow
https://kubernetes.io/docs/concepts/scheduling-eviction/pod-scheduling-readiness/
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from ..errors import Conflict, Rejected

Json = dict[str, Any]

FIELDS = (
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
)

_DEFAULTS: Json = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
    "priority": 0,
    "securityContext": {},
    "serviceAccount": "default",
    "serviceAccountName": "default",
}
_MUTABLE = ("schedulingGates", "activeDeadlineSeconds")
_MUTABLE_GATED = ("nodeSelector", "affinity")
_NODE_GONE_SECONDS = 300


def stamp(epoch_seconds: float) -> str:
    """Time in metadata: RFC 3339 in whole seconds."""
    return datetime.fromtimestamp(int(epoch_seconds), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def prepare(pod: Json) -> None:
    """Defaults and status of a new pod. Raises Rejected when the spec is not acceptable."""
    spec = pod.setdefault("spec", {})
    _check_containers(spec)
    if spec.get("schedulingGates") and spec.get("nodeName"):
        raise _invalid("spec.nodeName: cannot be set until all schedulingGates have been cleared")
    for key, value in _DEFAULTS.items():
        spec.setdefault(key, value)
    spec["serviceAccount"] = spec["serviceAccountName"]
    _default_tolerations(spec)
    for container in [*spec["containers"], *(spec.get("initContainers") or ())]:
        _default_container(container)
    pod["status"] = {"phase": "Pending", "qosClass": _quality(spec)}
    if spec.get("schedulingGates"):
        pod["status"]["conditions"] = [_gated_condition(pod["metadata"]["creationTimestamp"])]


def _check_containers(spec: Json) -> None:
    if not spec.get("containers"):
        raise _invalid("spec.containers: Required value")
    for container in spec["containers"]:
        for key in ("name", "image"):
            if not container.get(key):
                raise _invalid(f"spec.containers[].{key}: Required value")
        _check_extended(container.get("resources") or {})


def _check_extended(resources: Json) -> None:
    """Extended resources (a domain in the name) need equal request and limit."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name in sorted({*limits, *requests}):
        extended = "/" in name and not name.startswith("kubernetes.io/")
        if extended and str(requests.get(name, limits.get(name))) != str(limits.get(name)):
            raise _invalid(
                f"spec.containers[].resources: {name} needs a limit equal to its request"
            )


def _default_container(container: Json) -> None:
    container.setdefault("imagePullPolicy", "IfNotPresent")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    resources = container.setdefault("resources", {})
    limits = resources.get("limits")
    if limits:
        resources["requests"] = {**limits, **(resources.get("requests") or {})}


def _quality(spec: Json) -> str:
    """The QoS class: Guaranteed when all CPU and memory limits equal the requests."""
    amounts = [c["resources"] for c in (*spec["containers"], *(spec.get("initContainers") or ()))]
    if not any((a.get("requests") or {}).keys() & {"cpu", "memory"} for a in amounts):
        return "BestEffort"
    for name in ("cpu", "memory"):
        limits = [(a.get("limits") or {}).get(name) for a in amounts]
        if None in limits or limits != [a["requests"].get(name) for a in amounts]:
            return "Burstable"
    return "Guaranteed"


def _default_tolerations(spec: Json) -> None:
    """As admission plugin DefaultTolerationSeconds adds them, at create and at every update."""
    tolerations = spec.setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(_covers(toleration, key) for toleration in tolerations):
            row = {"key": key, "operator": "Exists", "effect": "NoExecute"}
            tolerations.append({**row, "tolerationSeconds": _NODE_GONE_SECONDS})


def _covers(toleration: Json, key: str) -> bool:
    same_key = toleration.get("key", key) == key
    return same_key and toleration.get("effect") in (None, "", "NoExecute")


def _gated_condition(since: str) -> Json:
    return {
        "type": "PodScheduled",
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
        "lastProbeTime": None,
        "lastTransitionTime": since,
    }


def check(old: Json, new: Json) -> None:
    """What a patch of a pod's spec may change. Raises Rejected."""
    before, after = old["spec"], new.setdefault("spec", {})
    _default_tolerations(after)
    gated = bool(before.get("schedulingGates"))
    _check_gates(before, after)
    _check_images(before, after)
    _check_tolerations(before, after)
    if gated:
        _check_selector(before, after)
        _check_affinity(before, after)
    free = (*_MUTABLE, *(_MUTABLE_GATED if gated else ()), "containers", "tolerations")
    for key in sorted({*before, *after}):
        if key not in free and before.get(key) != after.get(key):
            raise _invalid(f"spec.{key}: Forbidden: pod updates may not change this field")


def _check_gates(before: Json, after: Json) -> None:
    old = [gate["name"] for gate in before.get("schedulingGates") or ()]
    for gate in after.get("schedulingGates") or ():
        if gate["name"] not in old:
            raise _invalid(
                "spec.schedulingGates: Forbidden: only deletion is allowed, "
                f"but found new scheduling gate '{gate['name']}'"
            )


def _check_images(before: Json, after: Json) -> None:
    """Of a container only its image may change."""
    strip = [{**c, "image": ""} for c in before["containers"]]
    if strip != [{**c, "image": ""} for c in after.get("containers") or ()]:
        raise _invalid("spec.containers: Forbidden: pod updates may change only the image")


def _check_tolerations(before: Json, after: Json) -> None:
    now = after.get("tolerations") or []
    if any(toleration not in now for toleration in before.get("tolerations") or ()):
        raise _invalid("spec.tolerations: Forbidden: existing tolerations can not be modified")


def _check_selector(before: Json, after: Json) -> None:
    now = after.get("nodeSelector") or {}
    if any(now.get(key) != value for key, value in (before.get("nodeSelector") or {}).items()):
        raise _invalid(
            "spec.nodeSelector: Invalid value: only additions are allowed "
            "(no mutations or deletions)"
        )


def _check_affinity(before: Json, after: Json) -> None:
    """The real rules allow narrowing an affinity; nobody here needs more than adding one."""
    old = before.get("affinity")
    if old and old != after.get("affinity"):
        raise _invalid("spec.affinity: Invalid value: no changes are allowed once it is set")


def bind(pod: Json, binding: Json, now: float) -> Json:
    """The pod after ``pods/NAME/binding``. Raises Conflict or Rejected as the server does."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    target = (binding.get("target") or {}).get("name")
    if not target:
        raise _invalid("target.name: Required value")
    if "deletionTimestamp" in pod["metadata"]:
        raise Conflict(f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise Conflict(f"pod {name} is already assigned to node {spec['nodeName']!r}")
    if spec.get("schedulingGates"):
        raise Conflict(f"pod {name} has non-empty .spec.schedulingGates")
    return {
        **pod,
        "spec": {**spec, "nodeName": target},
        "status": _scheduled(pod.get("status") or {}, now),
    }


def _scheduled(status: Json, now: float) -> Json:
    row = {"type": "PodScheduled", "status": "True", "lastProbeTime": None}
    kept = [c for c in status.get("conditions") or () if c["type"] != "PodScheduled"]
    return {**status, "conditions": [*kept, {**row, "lastTransitionTime": stamp(now)}]}


def grace(pod: Json, asked_seconds: int | None) -> int:
    """Seconds a deleted pod stays for its kubelet; 0 when no kubelet has to do anything."""
    spec, status = pod["spec"], pod.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    if asked_seconds is None:
        asked_seconds = int(spec.get("terminationGracePeriodSeconds", 30))
    return 1 if asked_seconds < 0 else asked_seconds


def _invalid(message: str) -> Rejected:
    return Rejected(message, reason="Invalid")
