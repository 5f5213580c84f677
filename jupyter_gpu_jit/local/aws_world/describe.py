"""DescribeInstances and DescribeInstanceStatus: by id, by filter, in pages, and behind the times.

The states are those of the world's ledger as they were a little while ago; what an instance is
made of comes from moto's store.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import store, views
from .errors import AwsError
from .instances import Life
from .notices import stamp
from .parameters import ACCOUNT

if TYPE_CHECKING:
    from .world import World

Json = dict[str, Any]
Seen = tuple[Life, str]
"""An instance and the state it is shown in."""
PAGE = 1000
"""Most instances in one answer [published]."""


def instances(world: World, region: str, params: Json) -> Json:
    """The answer of DescribeInstances. Raises AwsError."""
    ids = params.get("InstanceIds") or ()
    if ids and params.get("MaxResults"):
        raise AwsError(
            "InvalidParameterCombination",
            "The parameter instancesSet cannot be used with the parameter maxResults",
        )
    found = list(_matching(world, region, ids, params.get("Filters") or ()))
    page, token = _page(found, params)
    reservations: dict[str, Json] = {}
    for life, seen in page:
        row = reservations.setdefault(
            life.reservation_id,
            {"ReservationId": life.reservation_id, "OwnerId": ACCOUNT, "Instances": []},
        )
        row["Instances"].append(views.instance(life, seen))
    return {"Reservations": list(reservations.values()), "NextToken": token}


def statuses(world: World, region: str, params: Json) -> Json:
    """The answer of DescribeInstanceStatus."""
    ids = params.get("InstanceIds") or ()
    found = list(_matching(world, region, ids, params.get("Filters") or ()))
    if not params.get("IncludeAllInstances"):
        found = [(life, seen) for life, seen in found if seen == "running"]
    page, token = _page(found, params)
    return {"InstanceStatuses": [_status(*one) for one in page], "NextToken": token}


def _status(life: Life, seen: str) -> Json:
    checks = "not-applicable" if seen != "running" else "impaired" if life.impaired else "ok"
    passed = {"ok": "passed", "impaired": "failed"}
    details = [{"Name": "reachability", "Status": passed[checks]}] if checks in passed else []
    return {
        "InstanceId": life.id,
        "AvailabilityZone": life.pool[0],
        "InstanceState": views.state(seen),
        "InstanceStatus": {"Status": checks, "Details": details},
        "SystemStatus": {"Status": checks, "Details": details},
        "Events": list(_events(life)),
    }


def _events(life: Life) -> Iterator[Json]:
    if life.scheduled is not None:
        yield {
            "InstanceEventId": f"instance-event-{life.id[2:]}",
            "Code": "instance-retirement",
            "Description": "The instance is running on degraded hardware",
            "NotBefore": stamp(life.scheduled),
        }


def _page(found: Sequence[Seen], params: Json) -> tuple[Sequence[Seen], str | None]:
    begin = int(params.get("NextToken") or 0)
    end = begin + min(int(params.get("MaxResults") or PAGE), PAGE)
    return found[begin:end], str(end) if end < len(found) else None


def _matching(
    world: World, region: str, ids: Sequence[str], filters: Sequence[Json]
) -> Iterator[Seen]:
    lives = world.instances.find(ids) if ids else list(world.instances.lives.values())
    wanted = [(f["Name"], tuple(map(str, f.get("Values") or ()))) for f in filters]
    for life in lives:
        seen = world.instances.seen_state(life)
        if seen is None or life.region != region:
            continue
        if all(_fits(life, seen, name, patterns) for name, patterns in wanted):
            yield life, seen


def _fits(life: Life, seen: str, name: str, patterns: Sequence[str]) -> bool:
    if name.startswith("tag:"):
        values = [store.tags_of(life.stored).get(name[4:])]
    elif name == "tag-key":
        values = [*store.tags_of(life.stored)]
    elif name in _FACTS:
        values = [_FACTS[name](life, seen)]
    else:
        raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")
    return any(fnmatch.fnmatchcase(v, p) for v in values if v is not None for p in patterns)


_FACTS: Mapping[str, Callable[[Life, str], str]] = {
    "instance-state-name": lambda _, seen: seen,
    "instance-state-code": lambda _, seen: str(store.STATE_CODES[seen]),
    "instance-id": lambda life, _: life.id,
    "instance-type": lambda life, _: life.pool[1],
    "availability-zone": lambda life, _: life.pool[0],
    "instance-lifecycle": lambda life, _: "spot" if life.pool[2] == "spot" else "",
    "client-token": lambda life, _: life.client_token,
    "spot-instance-request-id": lambda life, _: life.spot_request_id,
    "image-id": lambda life, _: life.machine.image_id,
    "subnet-id": lambda life, _: life.machine.subnet_id,
    "vpc-id": lambda life, _: str(life.stored.vpc_id),
    "private-dns-name": lambda life, _: str(life.stored.private_dns_name),
    "private-ip-address": lambda life, _: str(life.stored.private_ip),
    "reservation-id": lambda life, _: life.reservation_id,
    "placement-group-name": lambda life, _: str(life.machine.placement.get("GroupName") or ""),
}
