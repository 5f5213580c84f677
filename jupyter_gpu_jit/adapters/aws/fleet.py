"""A fleet request as AWS wants it, and its answer as we want it. Pure; called by ec2.py.

Every parameter follows from the LaunchRequest, the admin's settings and the cluster's facts, so
that whoever repeats a launch after a crash sends the same bytes under the same token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...core.model import Offering
from ...core.requirements import CapacityType
from ...ports import Instance, LaunchFailure, LaunchRequest
from .calls import Json
from .errors import THROTTLED, sentence
from .settings import AwsSettings
from .templates import tag_list

MOST_OVERRIDES = 60
TOKEN_LIMIT = 64
GONE = ("InvalidLaunchTemplate", "InvalidPlacementGroup.Unknown")
"""How codes begin that say that something a request refers to was removed."""
LAUNCH_TAG = "gpu-jit.io/launch"
"""The client token, on every instance: how what it launched is found when nobody recorded it."""


@dataclass(frozen=True, slots=True)
class Seatable:
    """An offering that can be asked for: where, and by which template."""

    offering: Offering
    subnet_id: str
    template: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetAnswer:
    """What one fleet gave. ``again``: it says nothing of what is sold, so ask once more.

    AWS had no time, or a template was removed meanwhile (``gone``).
    """

    instances: tuple[Instance, ...]
    failures: tuple[LaunchFailure, ...]
    again: bool = False
    gone: bool = False


def capacity_order(offerings: Iterable[Offering]) -> list[CapacityType]:
    """Capacity types in the order in which they are wanted."""
    return list(dict.fromkeys(offering.capacity_type for offering in offerings))


def token_of(client_token: str, number: int, retry: int = 0) -> str:
    """The token of the ``number``-th fleet of a launch; the first has the launch's own.

    With a dot, which no launch has, so that it is never the token of another launch.
    """
    token = client_token + (f".{number}" if number else "") + (f".r{retry}" if retry else "")
    if len(token) <= TOKEN_LIMIT:
        return token
    return hashlib.sha256(token.encode()).hexdigest()


def fleet_request(
    request: LaunchRequest,
    rows: Sequence[Seatable],
    settings: AwsSettings,
    *,
    token: str,
    count: int,
    at_least: int,
) -> Json:
    """The parameters of CreateFleet for rows of one capacity type, best first."""
    rows = rows[:MOST_OVERRIDES]
    sold = rows[0].offering.capacity_type
    return {
        "Type": "instant",
        "ClientToken": token,
        "LaunchTemplateConfigs": _configs(request, rows),
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": count,
            "DefaultTargetCapacityType": sold.value,
        },
        **_options(request, sold, at_least),
        "TagSpecifications": _tags(request, settings, token),
    }


def _configs(request: LaunchRequest, rows: Sequence[Seatable]) -> list[Json]:
    """One for each template; the overrides of each keep their order."""
    by_template: dict[str, list[Json]] = {}
    for row in rows:
        by_template.setdefault(row.template, []).append(_override(request, row))
    return [
        {
            "LaunchTemplateSpecification": {"LaunchTemplateName": name, "Version": "$Latest"},
            "Overrides": overrides,
        }
        for name, overrides in by_template.items()
    ]


def _override(request: LaunchRequest, row: Seatable) -> Json:
    override: Json = {"InstanceType": row.offering.instance_type, "SubnetId": row.subnet_id}
    if request.placement_group is not None:
        override["Placement"] = {"GroupName": request.placement_group.name}
    return override


def _options(request: LaunchRequest, sold: CapacityType, at_least: int) -> Json:
    """How AWS is to choose. A least number is only understood within one zone."""
    spot = sold is CapacityType.SPOT
    options: Json = {"AllocationStrategy": "price-capacity-optimized" if spot else "lowest-price"}
    if at_least > 1:
        options |= {"MinTargetCapacity": at_least, "SingleAvailabilityZone": True}
    if request.placement_group is not None:
        options |= {"SingleAvailabilityZone": True, "SingleInstanceType": True}
    return {"SpotOptions" if spot else "OnDemandOptions": options}


def _tags(request: LaunchRequest, settings: AwsSettings, token: str) -> list[Json]:
    """At launch, in the same call. ``fleet`` itself is tagged so that its making can be limited."""
    standing = settings.standing_tags
    name = {"Name": f"gpu-jit {settings.cluster_id}"}
    node = {**name, **standing, **request.tags, LAUNCH_TAG: token}
    return [
        {"ResourceType": "fleet", "Tags": tag_list(standing)},
        {"ResourceType": "instance", "Tags": tag_list(node)},
        {"ResourceType": "volume", "Tags": tag_list({**name, **standing, **request.tags})},
    ]


# --- the answer -----------------------------------------------------------------------------------


def read_answer(
    body: Json, rows: Sequence[Seatable], request: LaunchRequest, *, now: float, wanted: int
) -> FleetAnswer:
    """Instances and failures of a CreateFleet answer, in the order of the offerings asked."""
    sold = {(row.offering.instance_type, row.subnet_id): row.offering for row in rows}
    instances = [
        _instance(instance_id, offering, request, now)
        for given in body.get("Instances") or ()
        if (offering := _offering_of(given, sold)) is not None
        for instance_id in given.get("InstanceIds") or ()
    ]
    errors = body.get("Errors") or ()
    codes = {str(error.get("ErrorCode") or "") for error in errors}
    gone = any(code.startswith(GONE) for code in codes)
    return FleetAnswer(
        instances=tuple(sorted(instances, key=lambda i: i.id)),
        failures=_failures(errors, sold),
        again=len(instances) < wanted and (gone or not THROTTLED.isdisjoint(codes)),
        gone=gone,
    )


def _offering_of(body: Json, sold: dict[tuple[str, str], Offering]) -> Offering | None:
    """Whose answer that is, by type and subnet, or by type and zone when AWS names the zone."""
    override = (body.get("LaunchTemplateAndOverrides") or {}).get("Overrides") or {}
    kind = body.get("InstanceType") or override.get("InstanceType") or ""
    found = sold.get((kind, override.get("SubnetId", "")))
    zone = override.get("AvailabilityZone")
    if found is None:
        alike = (o for o in sold.values() if o.instance_type == kind and o.zone == zone)
        found = next(alike, None)
    return found


def _instance(instance_id: str, offering: Offering, request: LaunchRequest, now: float) -> Instance:
    return Instance(
        id=instance_id,
        provider_id=provider_id(offering.zone, instance_id),
        instance_type=offering.instance_type,
        zone=offering.zone,
        capacity_type=offering.capacity_type.value,
        state="pending",
        launched_at=now,
        usd_per_hour_micro=offering.usd_per_hour_micro,
        tags=dict(request.tags),
    )


def provider_id(zone: str, instance_id: str) -> str:
    """What the node of that instance will have in ``spec.providerID``."""
    return f"aws:///{zone}/{instance_id}"


def _failures(
    errors: Sequence[Json], sold: dict[tuple[str, str], Offering]
) -> tuple[LaunchFailure, ...]:
    """One for each offering that was refused, the first reason; a throttle is no refusal."""
    found: dict[tuple[str, str, str], LaunchFailure] = {}
    for error in errors:
        code, said = str(error.get("ErrorCode") or ""), str(error.get("ErrorMessage") or "")
        if code in THROTTLED or code.startswith(GONE):
            continue
        override = (error.get("LaunchTemplateAndOverrides") or {}).get("Overrides") or {}
        one = _offering_of(error, sold)
        # An error that names no offering is about all of them.
        for offering in [one] if one is not None else [] if override else list(sold.values()):
            found.setdefault(offering.key, failure(offering, code, said))
    order = [offering.key for offering in sold.values()]
    return tuple(found[key] for key in order if key in found)


def failure(offering: Offering, code: str, said: str = "") -> LaunchFailure:
    """Why an offering gave nothing."""
    return LaunchFailure(offering=offering, code=code, message=sentence(code, said, offering))
