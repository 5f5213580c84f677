"""DescribeInstances and DescribeInstanceStatus: by id, by filter, in pages, and behind the times.

The states are those of the world's ledger as they were a little while ago; what an instance is
made of comes from moto's store.
"""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import store
from .errors import AwsError
from .instances import Life

if TYPE_CHECKING:
    from .world import World

Json = dict[str, Any]
PAGE = 1000
"""Most instances in one answer [published]."""


def state(name: str) -> Json:
    """A state as answers carry it."""
    return {"Code": store.STATE_CODES[name], "Name": name}


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
    for life, view in page:
        row = reservations.setdefault(
            life.reservation_id,
            {"ReservationId": life.reservation_id, "OwnerId": view.owner_id, "Instances": []},
        )
        row["Instances"].append(view)
    return {"Reservations": list(reservations.values()), "NextToken": token}


def statuses(world: World, region: str, params: Json) -> Json:
    """The answer of DescribeInstanceStatus."""
    ids = params.get("InstanceIds") or ()
    found = list(_matching(world, region, ids, params.get("Filters") or ()))
    if not params.get("IncludeAllInstances"):
        found = [(life, view) for life, view in found if view.state == "running"]
    page, token = _page(found, params)
    return {"InstanceStatuses": [view for _, view in page], "NextToken": token}


def _page(found: Sequence[tuple[Life, Any]], params: Json) -> tuple[Sequence[Any], str | None]:
    begin = int(params.get("NextToken") or 0)
    end = begin + min(int(params.get("MaxResults") or PAGE), PAGE)
    return found[begin:end], str(end) if end < len(found) else None


def _matching(
    world: World, region: str, ids: Sequence[str], filters: Sequence[Json]
) -> Iterator[tuple[Life, Any]]:
    lives = world.instances.find(ids) if ids else list(world.instances.lives.values())
    wanted = [(f["Name"], tuple(map(str, f.get("Values") or ()))) for f in filters]
    for life in lives:
        seen = world.instances.seen_state(life)
        if seen is not None and life.region == region:
            found = store.instance(region, life.id)
            if found is not None and all(_fits(life, found, seen, f) for f in wanted):
                yield life, _as_seen(found, seen)


def _as_seen(found: Any, seen: str) -> Any:
    if found.state == seen:
        return found
    view = copy.copy(found)
    store.set_state(view, seen)
    return view


def _fits(life: Life, found: Any, seen: str, wanted: tuple[str, tuple[str, ...]]) -> bool:
    name, patterns = wanted
    if name.startswith("tag:"):
        values = {store.tags_of(found).get(name[4:])} - {None}
    elif name == "tag-key":
        values = set(store.tags_of(found))
    else:
        values = {_facts(life, found, seen).get(name)}
        if values == {None}:
            raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")
    return any(fnmatch.fnmatchcase(str(v), p) for v in values for p in patterns)


def _facts(life: Life, found: Any, seen: str) -> Mapping[str, str]:
    zone, instance_type, capacity_type = life.pool
    return {
        "instance-state-name": seen,
        "instance-state-code": str(store.STATE_CODES[seen]),
        "instance-id": life.id,
        "instance-type": instance_type,
        "availability-zone": zone,
        "instance-lifecycle": "spot" if capacity_type == "spot" else "scheduled",
        "client-token": life.client_token,
        "spot-instance-request-id": life.spot_request_id,
        "image-id": str(found.image_id),
        "subnet-id": str(found.subnet_id),
        "vpc-id": str(found.vpc_id),
        "private-dns-name": str(found.private_dns_name),
        "private-ip-address": str(found.private_ip),
        "reservation-id": life.reservation_id,
        "placement-group-name": str(found.placement.group_name),
    }
