"""A user's session as the notebook side sees it: a pure translation of pod and claim to JSON.

Called by the session handler; the fields are those of ``openapi.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core import wire
from ..core.layouts import room_of, room_on
from ..core.model import InstanceType, NodeClaim, Resources, SessionPod
from ..core.overview import session_stage
from ..core.pricing import session_share_micro, spent_micro
from ..core.quantity import MICRO_USD, format_time, parse_time
from ..core.snapshot import split_pods

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """A session's pod, read and as it came."""

    pod: SessionPod
    raw: Json


def find(pods: Iterable[Json], *, user: str, server: str) -> Found | None:
    """The session of that user and server, by its annotation: pod names are escaped, and may clash.

    Of several (one ending, its successor starting) the one that stays.
    """
    mine = [found for raw in pods for found in _read(raw) if _is_of(found.pod, user, server)]
    return max(mine, key=_staying, default=None)


def _read(raw: Json) -> list[Found]:
    sessions, _ = split_pods([raw])
    return [Found(pod, raw) for pod in sessions]


def _is_of(pod: SessionPod, user: str, server: str) -> bool:
    return (pod.request.user, pod.request.server) == (user, server) and not pod.finished


def _staying(found: Found) -> tuple[bool, float, str]:
    return (not found.pod.deleting, found.pod.request.created_at, found.pod.uid)


def describe(
    found: Found,
    *,
    claims: Iterable[Json],
    nodes: Iterable[Json],
    instance_types: Sequence[InstanceType],
    now: float,
) -> dict[str, Any]:
    """Everything the panel shows; ``now`` in epoch seconds, money in USD."""
    pod = found.pod
    claim = _claim(claims, pod.pinned_to or pod.claim)
    kind = _type(instance_types, claim)
    started_at = _started_at(found)
    seconds = 0.0 if started_at is None else max(0.0, now - started_at)
    price = 0 if claim is None else claim.usd_per_hour_micro
    size = _size(nodes, pod.node_name, kind, claim.layout if claim else "")
    own = session_share_micro(price, pod.request.resources, size)
    return {
        "user": pod.request.user,
        "server": pod.request.server,
        "profile": pod.request.profile,
        "stage": session_stage(pod).value,
        "message": pod.status.message if pod.status else "",
        "gpus": pod.request.resources.gpus,
        "gpu_model": kind.gpu_model if kind and pod.request.resources.gpus else "",
        "node": pod.node_name,
        "instance_type": claim.instance_type if claim else "",
        "zone": claim.zone if claim else "",
        "capacity_type": claim.capacity_type if claim else "",
        "usd_per_hour": _usd(own),
        "node_usd_per_hour": _usd(price),
        "started_at": None if started_at is None else format_time(started_at),
        "running_seconds": round(seconds, 3),
        "spent_usd": _usd(spent_micro(own, seconds)),
    }


def _claim(claims: Iterable[Json], name: str) -> NodeClaim | None:
    raw = next((body for body in claims if name and body["metadata"]["name"] == name), None)
    return None if raw is None else wire.read_claim(raw)


def _type(types: Sequence[InstanceType], claim: NodeClaim | None) -> InstanceType | None:
    name = claim.instance_type if claim else ""
    return next((kind for kind in types if kind.name == name), None)


def _size(nodes: Iterable[Json], name: str, kind: InstanceType | None, layout: str) -> Resources:
    raw = next((body for body in nodes if name and body["metadata"]["name"] == name), None)
    if raw is not None:
        return room_on(wire.read_node(raw), kind, layout)
    return room_of(kind, layout) if kind else Resources()


def _started_at(found: Found) -> float | None:
    """Since when it has its seat: the kubelet's word, before that the moment of release."""
    text = (found.raw.get("status") or {}).get("startTime")
    if found.pod.node_name and text:
        return parse_time(text)
    return found.pod.released_at


def _usd(micro: int) -> float:
    return round(micro / MICRO_USD, 6)
