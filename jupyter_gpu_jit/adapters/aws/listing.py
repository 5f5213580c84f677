"""Our instances as AWS lists them. Called by ec2.py and launching.py."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ...core.requirements import CapacityType
from ...ports import Instance
from .calls import AwsCalls, Json
from .fleet import provider_id

# A stopped instance of ours is on its way out: what stops them is told to terminate them.
_STATES = {"stopping": "shutting-down", "stopped": "shutting-down"}
_PAGE = 1000


async def read_instances(calls: AwsCalls, filters: list[Json]) -> list[Instance]:
    """All that match, whatever their state, sorted by id. Raises Rejected, Unavailable."""
    pages = await calls.pages(
        "ec2", "DescribeInstances", "Reservations", Filters=filters, MaxResults=_PAGE
    )
    rows = (row for reservation in pages for row in reservation.get("Instances") or ())
    return sorted((read_instance(row) for row in rows), key=lambda instance: instance.id)


def read_instance(row: Json) -> Instance:
    """One instance of a DescribeInstances answer."""
    zone = str((row.get("Placement") or {}).get("AvailabilityZone", ""))
    spot = row.get("InstanceLifecycle") == "spot"
    state = str((row.get("State") or {}).get("Name", "pending"))
    return Instance(
        id=row["InstanceId"],
        provider_id=provider_id(zone, row["InstanceId"]),
        instance_type=str(row.get("InstanceType", "")),
        zone=zone,
        capacity_type=(CapacityType.SPOT if spot else CapacityType.ON_DEMAND).value,
        state=_STATES.get(state, state),
        launched_at=_epoch(row.get("LaunchTime")),
        tags={tag["Key"]: tag["Value"] for tag in row.get("Tags") or ()},
    )


def _epoch(when: Any) -> float:
    return when.timestamp() if isinstance(when, datetime) else 0.0
