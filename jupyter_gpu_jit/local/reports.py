"""What a process node writes about its pods beyond what the simulated kubelet writes.

Pure; called by ``pods``. The rest comes from ``sim.podstatus``.
"""

from __future__ import annotations

from typing import Any

from ..core.quantity import format_time
from ..sim import podstatus

Json = dict[str, Any]


def container_of(pod: Json) -> Json:
    """The container that is run: ``notebook``, else the first."""
    containers: list[Json] = pod["spec"]["containers"]
    return next((c for c in containers if c["name"] == "notebook"), containers[0])


def finished(pod: Json, *, exit_code: int, now: float) -> Json:
    """Status of a pod whose process has ended by itself."""
    status: Json = podstatus.terminated(pod, now=now)
    good = exit_code == 0
    ended = {
        "exitCode": exit_code,
        "reason": "Completed" if good else "Error",
        "finishedAt": _second(now),
    }
    for row in status["containerStatuses"]:
        row["state"] = {"terminated": ended}
    return {**status, "phase": "Succeeded" if good else "Failed"}


def cannot_start(message: str) -> Json:
    """Status of a pod whose program is not there."""
    return {"phase": "Failed", "reason": "StartError", "message": message}


def event(pod: Json, *, name: str, reason: str, message: str, now: float) -> Json:
    """A core/v1 Event on the pod. Both times are present: KubeSpawner reads either."""
    meta = pod["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": meta["namespace"]},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
            "fieldPath": f"spec.containers{{{container_of(pod)['name']}}}",
        },
        "reason": reason,
        "message": message,
        "type": "Warning" if reason == "Failed" else "Normal",
        "source": {"component": "kubelet", "host": pod["spec"].get("nodeName", "")},
        "firstTimestamp": _second(now),
        "lastTimestamp": _second(now),
        "eventTime": None,
        "count": 1,
    }


def _second(epoch_seconds: float) -> str:
    """Kubernetes' Time has whole seconds."""
    return format_time(epoch_seconds)[:19] + "Z"
