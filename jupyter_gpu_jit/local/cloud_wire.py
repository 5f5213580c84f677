"""What travels between ``cloud_api`` and ``cloud_client``: the port's values as JSON and back.

Called by these two only. Reading is strict: a field that is missing or of no known kind is a
``ValueError``, ``KeyError`` or ``TypeError`` for the caller to put into words.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..core.model import InstanceType, Offering, Resources
from ..core.requirements import CapacityType
from ..ports import Instance, LaunchFailure, LaunchRequest, LaunchResult, PlacementGroup

Json = dict[str, Any]
TYPES, INSTANCES = "/v1/instance-types", "/v1/instances"
LAUNCHES, TERMINATIONS = "/v1/launches", "/v1/terminations"
NETWORK_NODES = "/v1/network-nodes"


def body_of(value: InstanceType | Instance | LaunchRequest | LaunchResult) -> Json:
    """Any of the port's values as JSON."""
    return asdict(value)


def instance_type(body: Json) -> InstanceType:
    """The type that ``body_of`` wrote."""
    offerings = tuple(offering(row) for row in body["offerings"])
    room = Resources(**body["allocatable"])
    return InstanceType(**{**body, "allocatable": room, "offerings": offerings})


def offering(body: Json) -> Offering:
    """The offering inside a type, a request or a failure."""
    return Offering(**{**body, "capacity_type": CapacityType(body["capacity_type"])})


def instance(body: Json) -> Instance:
    """The instance that ``body_of`` wrote."""
    return Instance(**body)


def launch_request(body: Json) -> LaunchRequest:
    """The request that ``body_of`` wrote."""
    offerings = tuple(offering(row) for row in body["offerings"])
    asked = body["placement_group"]
    group = PlacementGroup(**asked) if asked is not None else None
    return LaunchRequest(**{**body, "offerings": offerings, "placement_group": group})


def launch_result(body: Json) -> LaunchResult:
    """The result that ``body_of`` wrote."""
    failures = tuple(
        LaunchFailure(**{**row, "offering": offering(row["offering"])}) for row in body["failures"]
    )
    instances = tuple(instance(row) for row in body["instances"])
    return LaunchResult(instances=instances, failures=failures)
