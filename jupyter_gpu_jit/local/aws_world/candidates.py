"""From a fleet request's overrides to pools: where each leads, and what is wrong with it.

Called by ``launch``. A problem is a code of AWS's; the fleet goes on with the other overrides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from . import store
from .fleet import Candidate
from .machines import image_of
from .market import NO_CAPACITY, PoolKey, explain
from .placement import members

if TYPE_CHECKING:
    from .world import World

Json = dict[str, Any]
UNSUPPORTED = "Unsupported"
NO_SPOT_ROLE = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
# Taken from the override as they are, over the template's.
_OVERRIDDEN = ("InstanceType", "ImageId", "Placement", "BlockDeviceMappings", "SubnetId")


@dataclass(slots=True)
class Resolver:
    """Looks up pools for one request; subnets are read once, for that costs."""

    world: World
    region: str
    subnets: Mapping[str, tuple[str, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.subnets = store.subnets(self.region)

    def room(self, candidate: Candidate) -> int:
        """Free addresses of the candidate's subnet when the request came."""
        return self.subnets.get(candidate.subnet_id, ("", 0))[1]

    def candidates(self, params: Json, capacity_type: str) -> Iterable[Candidate]:
        """One for each override, in order. Raises AwsError when a template is not there."""
        order = 0
        for config in params.get("LaunchTemplateConfigs") or ():
            spec = config.get("LaunchTemplateSpecification") or {}
            template_id, version, data = store.template(self.region, spec)
            used = {"LaunchTemplateId": template_id, "Version": str(version)}
            for override in config.get("Overrides") or [{}]:
                launch = {**_merge(data, override), "_template": used}
                found = self.resolve(launch, capacity_type, order)
                yield _refine(found, override, used)
                order += 1

    def resolve(self, launch: Json, capacity_type: str, order: int = 0) -> Candidate:
        """The pool and subnet that settings lead to, with what is wrong with them."""
        subnet_id, zone = self._place(launch)
        key: PoolKey = (zone, str(launch.get("InstanceType") or "m1.small"), capacity_type)
        problem, explanation = self._problem(launch, key)
        return Candidate(
            order=order,
            pool=key,
            subnet_id=subnet_id,
            price_micro=self.world.prices.now_micro(key, self.world.now()),
            launch=launch,
            echo={},
            problem=problem,
            explanation=explanation,
        )

    def _place(self, launch: Json) -> tuple[str, str]:
        """Subnet and zone: the subnet decides, else the zone's first, else the first of all."""
        interfaces = launch.get("NetworkInterfaces") or ()
        named = launch.get("SubnetId") or next(
            (nic["SubnetId"] for nic in interfaces if nic.get("SubnetId")), ""
        )
        if named:
            return str(named), self.subnets[named][0] if named in self.subnets else ""
        wanted = (launch.get("Placement") or {}).get("AvailabilityZone")
        known = self.subnets.items()
        fitting = ((s, zone) for s, (zone, _) in known if wanted in (None, "", zone))
        return next(fitting, ("", str(wanted or "")))

    def _problem(self, launch: Json, key: PoolKey) -> tuple[str, str]:
        zone, instance_type, capacity_type = key
        if not zone:
            what = launch.get("SubnetId")
            return "InvalidSubnetID.NotFound", f"The subnet ID '{what}' does not exist"
        facts = store.instance_type(instance_type)
        if not facts:
            return "InvalidParameterValue", f"The instance type '{instance_type}' does not exist."
        sold = (zone, instance_type) in self.world.offered(self.region)
        if not sold or capacity_type not in facts.get("SupportedUsageClasses", ()):
            return UNSUPPORTED, explain(UNSUPPORTED, key)
        if capacity_type == "spot" and not self.world.parameters.spot_role:
            return (
                NO_SPOT_ROLE,
                "The provided credentials do not have permission to create the service-linked "
                "role for EC2 Spot Instances.",
            )
        return (
            _problem_of_group(self.world, launch, zone)
            or _problem_of_interfaces(launch, facts)
            or _problem_of_settings(self.world, launch)
        )


def _problem_of_group(world: World, launch: Json, zone: str) -> tuple[str, str] | None:
    name = (launch.get("Placement") or {}).get("GroupName")
    if not name:
        return None
    group = world.placement_groups.get(name)
    if group is None:
        return "InvalidPlacementGroup.Unknown", f"The placement group '{name}' is unknown."
    elsewhere = any(life.pool[0] != zone for life in members(world, name))
    if group["Strategy"] == "cluster" and elsewhere:
        # A cluster group is in one zone; what AWS answers then is not published [assumed].
        return NO_CAPACITY, f"The cluster placement group '{name}' is in another zone than {zone}."
    return None


def _problem_of_interfaces(launch: Json, facts: Mapping[str, Any]) -> tuple[str, str] | None:
    kinds = [nic.get("InterfaceType") for nic in launch.get("NetworkInterfaces") or ()]
    most = (facts["NetworkInfo"].get("EfaInfo") or {}).get("MaximumEfaInterfaces", 0)
    if sum(kind in ("efa", "efa-only") for kind in kinds) > most:
        text = f"{facts['InstanceType']} takes at most {most} EFA interfaces."
        return "AttachmentLimitExceeded", text
    return None


def _problem_of_settings(world: World, launch: Json) -> tuple[str, str]:
    profile = launch.get("IamInstanceProfile") or {}
    if profile and not store.profile_exists(profile):
        name = profile.get("Name") or profile.get("Arn")
        text = f"Value ({name}) for parameter iamInstanceProfile is invalid."
        return "InvalidParameterValue", text
    if not launch.get("ImageId"):
        return "MissingParameter", "The request must contain the parameter ImageId"
    if not image_of(world, launch):
        return "InvalidParameterValue", f"There is no image {launch['ImageId']}."
    return "", ""


def _merge(data: Json, override: Json) -> Json:
    over = {key: override[key] for key in _OVERRIDDEN if override.get(key)}
    merged = {**data, **over}
    zone = {k: override[k] for k in ("AvailabilityZone",) if override.get(k)}
    placement = {**(data.get("Placement") or {}), **(override.get("Placement") or {}), **zone}
    return {**merged, "Placement": placement}


def _refine(found: Candidate, override: Json, used: Json) -> Candidate:
    """With weight, priority and price limit, and the echo: always with type and zone name."""
    zone, instance_type, capacity_type = found.pool
    echo = {**override, "InstanceType": instance_type, "AvailabilityZone": zone}
    most = float(override.get("MaxPrice") or math.inf) * 1e6
    too_dear = capacity_type == "spot" and most < found.price_micro
    return replace(
        found,
        echo={"LaunchTemplateSpecification": used, "Overrides": echo},
        weight=float(override.get("WeightedCapacity") or 1.0),
        priority=_number(override.get("Priority")),
        problem=found.problem or ("SpotMaxPriceTooLow" if too_dear else ""),
    )


def _number(value: Any) -> float:
    return math.inf if value is None else float(value)
