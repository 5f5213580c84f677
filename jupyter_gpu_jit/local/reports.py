"""What a process node writes to the API server about its pods: status patches and Events.

Pure; called by ``agent``. Phase, address and container status go in one patch, because
KubeSpawner reads them together. Lists are replaced whole by a merge patch, so each patch
carries every condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.quantity import format_time

Json = dict[str, Any]
_CONDITIONS = (
    "PodScheduled",
    "Initialized",
    "PodReadyToStartContainers",
    "ContainersReady",
    "Ready",
)
_NEEDS_READY = ("ContainersReady", "Ready")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A pod with its address and when its container started; time in seconds since the epoch."""

    pod: Mapping[str, Any]
    address: str
    started_at: float

    @property
    def container(self) -> Mapping[str, Any]:
        """The container that is run: ``notebook``, else the first."""
        return container_of(self.pod)


def container_of(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """The container that is run: ``notebook``, else the first."""
    containers: list[Json] = pod["spec"]["containers"]
    return next((c for c in containers if c["name"] == "notebook"), containers[0])


def running(placed: Placed, *, ready: bool, now: float) -> Json:
    """Status of a pod whose process runs; ``ready`` once it answers."""
    state = {"running": {"startedAt": _second(placed.started_at)}}
    status = _status(placed, phase="Running", state=state, ready=ready, now=now)
    return {"status": status}


def finished(placed: Placed, *, exit_code: int, now: float) -> Json:
    """Status of a pod whose process has ended."""
    good = exit_code == 0
    ended = {
        "exitCode": exit_code,
        "reason": "Completed" if good else "Error",
        "startedAt": _second(placed.started_at),
        "finishedAt": _second(now),
    }
    phase = "Succeeded" if good else "Failed"
    return {
        "status": _status(placed, phase=phase, state={"terminated": ended}, ready=False, now=now)
    }


def refused(reason: str, message: str) -> Json:
    """Status of a pod that the node will not run, as the kubelet's admission writes it."""
    return {"status": {"phase": "Failed", "reason": reason, "message": message}}


def _status(placed: Placed, *, phase: str, state: Json, ready: bool, now: float) -> Json:
    container = placed.container
    uid = placed.pod["metadata"]["uid"]
    return {
        "phase": phase,
        "podIP": placed.address,
        "podIPs": [{"ip": placed.address}],
        "hostIP": "127.0.0.1",
        "startTime": _second(placed.started_at),
        "conditions": [_condition(kind, ready, now) for kind in _CONDITIONS],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container.get("image") or "",
                "imageID": container.get("image") or "",
                "containerID": f"process://{uid}",
                "ready": ready,
                "started": phase == "Running",
                "restartCount": 0,
                "state": state,
            }
        ],
    }


def _condition(kind: str, ready: bool, now: float) -> Json:
    good = ready or kind not in _NEEDS_READY
    return {"type": kind, "status": str(good), "lastTransitionTime": _second(now)}


def event(pod: Mapping[str, Any], *, name: str, reason: str, message: str, now: float) -> Json:
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
        "type": "Normal" if reason not in ("Failed", "Unhealthy") else "Warning",
        "source": {"component": "kubelet", "host": pod["spec"].get("nodeName", "")},
        "firstTimestamp": _second(now),
        "lastTimestamp": _second(now),
        "eventTime": None,
        "count": 1,
    }


def _second(epoch_seconds: float) -> str:
    """Kubernetes' Time has whole seconds."""
    return format_time(int(epoch_seconds))[:19] + "Z"
