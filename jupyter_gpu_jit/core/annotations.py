"""The JSON annotations on a session's pod: the hub's request, the provisioner's status.

wire.py hands these on under its own name; both sides read and write them only here. Schemas:
docs/wire/session.json and status.json. Readers take keys they do not know (a later writer of
the same version may add some), but what they know must have the right type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import UserError
from .model import GroupPolicy, Resources, SessionRequest, SessionStatus, Together
from .quantity import format_time, parse_time
from .requirements import NVIDIA, CapacityPolicy, GpuShare, Requirements
from .texts import quote

Json = Mapping[str, Any]
WIRE_VERSION = 1
_MOST_NUMBER = 2**63 - 1


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def encode_session(request: SessionRequest) -> str:
    """Text of the session annotation, as the spawner writes it."""
    needs = request.requirements
    return canonical(
        {
            "v": WIRE_VERSION,
            "user": request.user,
            "server": request.server,
            "profile": request.profile,
            "resources": {
                "cpu_millicpu": request.resources.cpu_millicpu,
                "memory_bytes": request.resources.memory_bytes,
                "gpus": request.resources.gpus,
                "local_disk_bytes": request.resources.local_disk_bytes,
            },
            "requirements": {
                "gpu_models": list(needs.gpu_models),
                "gpu_memory_gib": needs.gpu_memory_gib,
                "min_compute_capability_tenths": needs.min_compute_capability_tenths,
                "nvlink": needs.nvlink,
                "efa": needs.efa,
                "share": _share_body(needs.share),
                "driver_families": list(needs.driver_families),
                "capacity": needs.capacity.value,
                "zones": list(needs.zones),
                "architectures": list(needs.architectures),
                "max_usd_per_hour_micro": needs.max_usd_per_hour_micro,
                "max_interruptions_per_hour": needs.max_interruptions_per_hour,
            },
            "group": request.group,
            "group_policy": {
                "together": request.group_policy.together.value,
                "all_or_none": request.group_policy.all_or_none,
                "size": request.group_policy.size,
            },
        }
    )


def decode_session(text: str) -> SessionRequest:
    """What the session annotation asks for, as the spawner meant it.

    ``uid`` is empty; sizes, labels and tolerations that count are those of the admitted pod
    (wire.py). Raises UserError.
    """
    body = _Reader("", _versioned(text))
    sizes, needs = body.mapping("resources"), body.mapping("requirements")
    return SessionRequest(
        uid="",
        user=body.text("user"),
        server=body.text("server"),
        profile=body.text("profile"),
        group=body.text("group"),
        group_policy=body.mapping("group_policy").group_policy(),
        resources=Resources(
            cpu_millicpu=sizes.number("cpu_millicpu") or 0,
            memory_bytes=sizes.number("memory_bytes") or 0,
            gpus=sizes.number("gpus") or 0,
            local_disk_bytes=sizes.number("local_disk_bytes") or 0,
            pods=1,
        ),
        requirements=Requirements(
            gpu_models=needs.texts("gpu_models"),
            gpu_memory_gib=needs.number("gpu_memory_gib") or 0,
            min_compute_capability_tenths=needs.number("min_compute_capability_tenths") or 0,
            nvlink=needs.flag("nvlink"),
            efa=needs.flag("efa"),
            share=needs.share(),
            driver_families=needs.texts("driver_families") or (NVIDIA,),
            capacity=needs.capacity(),
            zones=needs.texts("zones"),
            architectures=needs.texts("architectures") or ("amd64",),
            max_usd_per_hour_micro=needs.number("max_usd_per_hour_micro"),
            max_interruptions_per_hour=needs.rate("max_interruptions_per_hour"),
        ),
    )


def _share_body(share: GpuShare | None) -> dict[str, Any] | None:
    if share is None:
        return None
    return {"memory_gib": share.memory_gib, "time_sliced": share.time_sliced}


def _versioned(text: str) -> Json:
    try:
        body = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise _bad_session("is not JSON") from None
    if not isinstance(body, dict) or body.get("v") != WIRE_VERSION:
        raise _bad_session(f"is not of version {WIRE_VERSION}")
    return body


def _bad_session(what: str) -> UserError:
    return UserError(f"The session annotation {what}.", reason="BadSession")


class _Reader:
    """A mapping of the session annotation; a missing key or null gives the empty value."""

    def __init__(self, path: str, body: Json) -> None:
        self._path, self._body = path, body

    def _fail(self, key: str, wanted: str) -> UserError:
        found = quote(self._body[key])
        return _bad_session(f"has {found} at {self._path}{key}, where {wanted} belongs")

    def text(self, key: str) -> str:
        value = self._body.get(key)
        if value is not None and not isinstance(value, str):
            raise self._fail(key, "a text")
        return value or ""

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._body.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._fail(key, "a list of texts")
        return tuple(value)

    def number(self, key: str) -> int | None:
        value = self._body.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_NUMBER:
            raise self._fail(key, "a whole number that is not negative")
        return value

    def flag(self, key: str) -> bool:
        value = self._body.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._fail(key, "true or false")
        return bool(value)

    def rate(self, key: str) -> float | None:
        value = self._body.get(key)
        if value is None:
            return None
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= _MOST_NUMBER:
            raise self._fail(key, "a number that is not negative")
        return float(value)

    def share(self) -> GpuShare | None:
        if self._body.get("share") is None:
            return None
        body = self.mapping("share")
        memory_gib = body.number("memory_gib") or 0
        return GpuShare(memory_gib=memory_gib, time_sliced=body.flag("time_sliced"))

    def mapping(self, key: str) -> _Reader:
        value = self._body.get(key)
        if value is not None and not isinstance(value, dict):
            raise self._fail(key, "a mapping")
        return _Reader(f"{self._path}{key}.", value or {})

    def group_policy(self) -> GroupPolicy:
        try:
            together = Together(self.text("together") or Together.ZONE)
        except ValueError:
            raise self._fail("together", "node, zone, rack or placement-group") from None
        return GroupPolicy(
            together=together,
            all_or_none=self.flag("all_or_none"),
            size=self.number("size") or 0,
        )

    def capacity(self) -> CapacityPolicy:
        try:
            return CapacityPolicy(self.text("capacity") or CapacityPolicy.SPOT)
        except ValueError:
            raise self._fail("capacity", "a capacity policy") from None


def encode_status(status: SessionStatus) -> str:
    """Text of the status annotation, as the provisioner writes it."""
    return canonical(
        {
            "v": WIRE_VERSION,
            "stage": status.stage,
            "since": format_time(status.since),
            "reason": status.reason,
            "node": status.node,
            "instance_type": status.instance_type,
            "zone": status.zone,
            "capacity_type": status.capacity_type,
            "usd_per_hour_micro": status.usd_per_hour_micro,
            "eta_seconds": status.eta_seconds,
            "message": status.message,
        }
    )


def decode_status(text: str | None) -> SessionStatus | None:
    """The status record, or None when there is none that can be read."""
    try:
        body = json.loads(text or "null")
        if not isinstance(body, dict) or body.get("v") != WIRE_VERSION:
            return None
        eta = body.get("eta_seconds")
        return SessionStatus(
            stage=str(body["stage"]),
            since=parse_time(body["since"]),
            reason=str(body.get("reason") or ""),
            node=str(body.get("node") or ""),
            instance_type=str(body.get("instance_type") or ""),
            zone=str(body.get("zone") or ""),
            capacity_type=str(body.get("capacity_type") or ""),
            usd_per_hour_micro=int(body.get("usd_per_hour_micro") or 0),
            eta_seconds=None if eta is None else int(eta),
            message=str(body.get("message") or ""),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, UserError):
        return None
