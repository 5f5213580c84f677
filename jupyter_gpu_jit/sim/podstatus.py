"""The status a kubelet writes on a pod, stage by stage: plain JSON, no I/O.

Used by the simulated kubelet. Shapes as a 1.36 kubelet writes them, as far as anybody here
reads them: phase, conditions, podIP and the container statuses.
"""

from __future__ import annotations

from ..core.quantity import format_time
from ..ports import Json


def _conditions(pod: Json, now: float, **values: bool) -> list[Json]:
    """The pod's conditions with these set; the scheduler's own is kept as it is."""
    stamp = format_time(now)[:19] + "Z"
    old = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    for kind, value in values.items():
        text = "True" if value else "False"
        if old.get(kind, {}).get("status") != text:
            old[kind] = {"type": kind, "status": text, "lastTransitionTime": stamp}
    return list(old.values())


def _containers(pod: Json, state: Json, *, is_ready: bool, started: bool) -> list[Json]:
    return [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": is_ready,
            "started": started,
            "restartCount": 0,
            "state": state,
        }
        for container in pod["spec"]["containers"]
    ]


def waiting(pod: Json, *, now: float) -> Json:
    """Accepted, image not there yet."""
    state = {"waiting": {"reason": "ContainerCreating"}}
    return {
        "phase": "Pending",
        "startTime": format_time(now)[:19] + "Z",
        "conditions": _conditions(pod, now, Initialized=True, ContainersReady=False, Ready=False),
        "containerStatuses": _containers(pod, state, is_ready=False, started=False),
    }


def running(pod: Json, *, now: float, address: str) -> Json:
    """The process runs, but does not answer yet."""
    state = {"running": {"startedAt": format_time(now)[:19] + "Z"}}
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "containerStatuses": _containers(pod, state, is_ready=False, started=True),
    }


def ready(pod: Json, *, now: float) -> Json:
    """The process answers."""
    state = (pod.get("status") or {}).get("containerStatuses", [{}])[0].get("state") or {}
    return {
        "conditions": _conditions(pod, now, ContainersReady=True, Ready=True),
        "containerStatuses": _containers(pod, state, is_ready=True, started=True),
    }


def terminated(pod: Json, *, now: float) -> Json:
    """All containers have ended; what a kubelet writes last."""
    state = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    return {
        "phase": "Succeeded",
        "conditions": _conditions(pod, now, ContainersReady=False, Ready=False),
        "containerStatuses": _containers(pod, state, is_ready=False, started=False),
    }


def admission_failed() -> Json:
    """Refused by the device manager: the pod will never run."""
    return {
        "phase": "Failed",
        "reason": "UnexpectedAdmissionError",
        "message": (
            "Pod was rejected: Allocate failed due to requested number of devices unavailable"
            " for nvidia.com/gpu, which is unexpected"
        ),
    }
