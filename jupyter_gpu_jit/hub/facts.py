"""Reading a pod as the hub's reflector holds it: raw JSON into what core decides on.

Called by waiting.py (may the start end?) and progress.py (what is shown?). Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core import wire
from ..core.model import SessionStatus
from ..core.progress import PodFacts
from ..core.quantity import parse_time

Json = Mapping[str, Any]

# What a kubelet says while it simply works; anything else in a waiting container is trouble.
_ON_ITS_WAY = frozenset({"", "ContainerCreating", "PodInitializing"})


def created_at(pod: Json) -> float:
    """When the pod was created, in epoch seconds."""
    return parse_time(pod["metadata"]["creationTimestamp"])


def phase(pod: Json) -> str:
    """The pod's phase; Pending before anybody wrote one."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def status_of(pod: Json | None) -> SessionStatus | None:
    """The provisioner's record on the pod."""
    annotations = (pod["metadata"].get("annotations") or {}) if pod else {}
    return wire.decode_status(annotations.get(wire.STATUS_ANNOTATION))


def facts_of(pod: Json | None) -> PodFacts | None:
    """What the pod says about its start by itself."""
    if pod is None:
        return None
    container, trouble = _container(pod)
    return PodFacts(
        created_at=created_at(pod),
        node_name=(pod.get("spec") or {}).get("nodeName") or "",
        container=container,
        trouble=trouble,
    )


def _container(pod: Json) -> tuple[str, str]:
    """State of the notebook container, and what keeps it or an init container from going on."""
    notebook, trouble = "", ""
    for status in _statuses(pod):
        state = status.get("state") or {}
        kind = next(iter(state), "")
        if status.get("name") == "notebook":
            notebook = kind
        reason = (state.get("waiting") or {}).get("reason") or ""
        if reason not in _ON_ITS_WAY:
            trouble = str(reason)
    return notebook, trouble


def _statuses(pod: Json) -> Iterator[Json]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def is_running(pod: Json | None) -> bool:
    """Whether the server in the pod can be asked: running, ready, with an address, not leaving."""
    if pod is None or phase(pod) != "Running" or "deletionTimestamp" in pod["metadata"]:
        return False
    status = pod["status"]
    containers = status.get("containerStatuses") or ()
    return bool(status.get("podIP") and containers and all(c.get("ready") for c in containers))


def why_ended(pod: Json) -> str:
    """A sentence on a container that ended before the server was ready; "" while none did."""
    for status in _statuses(pod):
        ended = (status.get("state") or {}).get("terminated")
        is_step = status in ((pod.get("status") or {}).get("initContainerStatuses") or ())
        if not ended or (is_step and ended.get("exitCode") == 0):
            continue
        if ended.get("reason") == "OOMKilled":
            return "The server ran out of memory while it started; choose a profile with more."
        code = ended.get("exitCode")
        return f"The server ended with exit code {code} before it was ready; see its log."
    return ""


def wants_again(pod: Json) -> bool:
    """Whether whoever deleted this pod asked for it to be created again."""
    return wire.RECREATE_ANNOTATION in (pod["metadata"].get("annotations") or {})


def session_text(pod: Json) -> str:
    """The request as the pod carries it."""
    return str((pod["metadata"].get("annotations") or {}).get(wire.SESSION_ANNOTATION, ""))


def environment(pod: Json, name: str) -> str:
    """A variable of the notebook container as written in the pod; "" when it has none."""
    for container in pod["spec"].get("containers") or ():
        if container.get("name") == "notebook":
            for variable in container.get("env") or ():
                if variable.get("name") == name:
                    return str(variable.get("value") or "")
    return ""
