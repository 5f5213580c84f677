"""CreateFleet and RunInstances: from a request to instances. Called by ``actions``.

Templates are truly inherited here: profile, disks, metadata options, groups, placement, user
data and tags come from the template unless the override or the request says otherwise. A client
token is remembered with its whole request for the life of the world.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import store
from .errors import AwsError
from .fleet import Candidate, Outcome, Wish, fulfil
from .market import NO_CAPACITY, PoolKey, explain

if TYPE_CHECKING:
    from .world import World

Json = dict[str, Any]
MOST_OVERRIDES = 300
UNSUPPORTED = "Unsupported"
STRATEGY_NAMES = {"lowestPrice": "lowest-price", "capacityOptimized": "capacity-optimized"}
# Taken from the override as they are, over the template's.
_OVERRIDDEN = ("InstanceType", "ImageId", "Placement", "BlockDeviceMappings", "SubnetId")


def create_fleet(world: World, region: str, params: Json) -> Json:
    """The answer of CreateFleet; only instant fleets are sold here. Raises AwsError."""
    return _once(world, region, "CreateFleet", params, lambda: _fleet(world, region, params))


def run_instances(world: World, region: str, params: Json) -> Json:
    """The answer of RunInstances: one pool or nothing. Raises AwsError."""
    return _once(world, region, "RunInstances", params, lambda: _run(world, region, params))


def _once(world: World, region: str, action: str, params: Json, answer: Any) -> Json:
    """First use of a token acts, every other use repeats its answer."""
    token = str(params.get("ClientToken") or "")
    asked = json.dumps(
        {k: v for k, v in params.items() if k != "ClientToken"}, sort_keys=True, default=str
    )
    known = world.tokens.get((region, action, token)) if token else None
    if known is not None and known[0] != asked:
        raise AwsError(
            "IdempotentParameterMismatch",
            "The request uses the same client token as a previous, but non-identical request.",
        )
    if known is not None:
        return known[1]
    made: Json = answer()
    if token:
        world.tokens[(region, action, token)] = (asked, made)
    return made


def _fleet(world: World, region: str, params: Json) -> Json:
    _check_fleet(params)
    fleet_id = world.new_id("fleet")
    instances: list[Json] = []
    errors: list[Json] = []
    for wish in _wishes(params):
        outcome = _fulfil(world, region, params, wish)
        instances += _launched(world, region, params, outcome, fleet_id)
        errors += [_error(candidate, code) for candidate, code in outcome.refused]
    answer: Json = {"FleetId": fleet_id, "Instances": instances}
    return {**answer, "Errors": errors} if errors else answer


def _check_fleet(params: Json) -> None:
    if params.get("Type", "maintain") != "instant":
        raise AwsError("InvalidParameterValue", "This world sells fleets of type instant only.")
    configs = params.get("LaunchTemplateConfigs") or ()
    overrides = [o for config in configs for o in config.get("Overrides") or ()]
    if len(overrides) > MOST_OVERRIDES:
        raise AwsError(
            "InvalidParameterValue", f"Fleets can have at most {MOST_OVERRIDES} overrides."
        )
    if any("InstanceRequirements" in override for override in overrides):
        raise AwsError(
            "InvalidParameterValue", "This world does not choose by InstanceRequirements."
        )
    _check_tags(params)


def _check_tags(params: Json) -> None:
    spot_only = "spot-instances-request"
    kinds = {spec.get("ResourceType") for spec in params.get("TagSpecifications") or ()}
    default = _capacity(params).get("DefaultTargetCapacityType", "on-demand")
    if spot_only in kinds and default != "spot":
        raise AwsError(
            "InvalidParameterValue",
            f"'{spot_only}' is not a valid taggable resource type for an on-demand fleet.",
        )


def _capacity(params: Json) -> Json:
    found: Json = params.get("TargetCapacitySpecification") or {}
    return found


def _wishes(params: Json) -> list[Wish]:
    capacity = _capacity(params)
    total = int(capacity.get("TotalTargetCapacity") or 0)
    if total < 1:
        raise AwsError("InvalidParameterValue", "TotalTargetCapacity must be at least 1.")
    spot = int(capacity.get("SpotTargetCapacity") or 0)
    on_demand = int(capacity.get("OnDemandTargetCapacity") or 0)
    rest = max(total - spot - on_demand, 0)
    if capacity.get("DefaultTargetCapacityType", "on-demand") == "spot":
        spot += rest
    else:
        on_demand += rest
    units = {"on-demand": on_demand, "spot": spot}
    return [_wish(params, kind, count) for kind, count in units.items() if count > 0]


def _wish(params: Json, capacity_type: str, units: int) -> Wish:
    options = params.get("SpotOptions" if capacity_type == "spot" else "OnDemandOptions") or {}
    least = int(options.get("MinTargetCapacity") or 0)
    single_type = bool(options.get("SingleInstanceType"))
    single_zone = bool(options.get("SingleAvailabilityZone"))
    if least and not (single_type or single_zone):
        raise AwsError(
            "InvalidParameterValue",
            "MinTargetCapacity needs SingleInstanceType or SingleAvailabilityZone.",
        )
    strategy = str(options.get("AllocationStrategy") or "lowest-price")
    return Wish(
        capacity_type=capacity_type,
        units=units,
        strategy=STRATEGY_NAMES.get(strategy, strategy),
        least=least,
        single_type=single_type,
        single_zone=single_zone,
    )


def _fulfil(world: World, region: str, params: Json, wish: Wish) -> Outcome:
    free = {subnet: left for subnet, (_, left) in store.subnets(region).items()}
    candidates = list(_candidates(world, region, params, wish.capacity_type))
    return fulfil(wish, candidates, world.market, lambda c: free.get(c.subnet_id, 0))


def _candidates(world: World, region: str, params: Json, capacity_type: str) -> Iterable[Candidate]:
    order = 0
    for config in params.get("LaunchTemplateConfigs") or ():
        spec = config.get("LaunchTemplateSpecification") or {}
        template_id, version, data = store.template(region, spec)
        used = {"LaunchTemplateId": template_id, "Version": str(version)}
        for override in config.get("Overrides") or [{}]:
            launch = {**_merge(data, override), "_template": used}
            found = resolve(world, region, launch, capacity_type, order)
            echo = {"LaunchTemplateSpecification": used, "Overrides": _echo(override, found)}
            yield _refine(found, override, echo)
            order += 1


def _merge(data: Json, override: Json) -> Json:
    over = {key: override[key] for key in _OVERRIDDEN if override.get(key)}
    merged = {**data, **over}
    if override.get("AvailabilityZone"):
        placement = {**(merged.get("Placement") or {})}
        merged["Placement"] = {**placement, "AvailabilityZone": override["AvailabilityZone"]}
    return merged


def _echo(override: Json, found: Candidate) -> Json:
    """The override as AWS repeats it, always with type and zone name."""
    zone, instance_type, _ = found.pool
    return {**override, "InstanceType": instance_type, "AvailabilityZone": zone}


def _refine(found: Candidate, override: Json, echo: Json) -> Candidate:
    problem = found.problem
    most = override.get("MaxPrice")
    if most and found.pool[2] == "spot" and float(most) * 1e6 < found.price_micro:
        problem = problem or "SpotMaxPriceTooLow"
    return Candidate(
        order=found.order,
        pool=found.pool,
        subnet_id=found.subnet_id,
        price_micro=found.price_micro,
        launch=found.launch,
        echo=echo,
        weight=float(override.get("WeightedCapacity") or 1.0),
        priority=_number(override.get("Priority")),
        problem=problem,
        explanation=found.explanation,
    )


def _number(value: Any) -> float:
    return math.inf if value is None else float(value)


def resolve(
    world: World, region: str, launch: Json, capacity_type: str, order: int = 0
) -> Candidate:
    """The pool and subnet that settings lead to, with what is wrong with them."""
    instance_type = str(launch.get("InstanceType") or "m1.small")
    subnet_id, zone = _place(region, launch)
    key: PoolKey = (zone, instance_type, capacity_type)
    problem, explanation = _problem(world, region, launch, key)
    return Candidate(
        order=order,
        pool=key,
        subnet_id=subnet_id,
        price_micro=world.prices.now_micro(key, world.now()),
        launch=launch,
        echo={},
        problem=problem,
        explanation=explanation,
    )


def _place(region: str, launch: Json) -> tuple[str, str]:
    """Subnet and zone: the subnet decides, else the zone's first, else the first of all."""
    known = store.subnets(region)
    interfaces = launch.get("NetworkInterfaces") or ()
    named = launch.get("SubnetId") or next(
        (nic["SubnetId"] for nic in interfaces if nic.get("SubnetId")), ""
    )
    if named:
        return str(named), known[named][0] if named in known else ""
    wanted = (launch.get("Placement") or {}).get("AvailabilityZone")
    fitting = ((s, zone) for s, (zone, _) in known.items() if wanted in (None, "", zone))
    return next(fitting, ("", str(wanted or "")))


def _problem(world: World, region: str, launch: Json, key: PoolKey) -> tuple[str, str]:
    zone, instance_type, capacity_type = key
    if not zone:
        return (
            "InvalidSubnetID.NotFound",
            f"The subnet ID '{launch.get('SubnetId')}' does not exist",
        )
    facts = store.instance_type(instance_type)
    if not facts:
        return "InvalidParameterValue", f"The instance type '{instance_type}' does not exist."
    sold = (zone, instance_type) in world.offered(region)
    if not sold or capacity_type not in facts.get("SupportedUsageClasses", ()):
        return UNSUPPORTED, explain(UNSUPPORTED, key)
    return _problem_of_settings(world, launch)


def _problem_of_settings(world: World, launch: Json) -> tuple[str, str]:
    group = (launch.get("Placement") or {}).get("GroupName")
    if group and group not in world.placement_groups:
        return "InvalidPlacementGroup.Unknown", f"The placement group '{group}' is unknown."
    profile = launch.get("IamInstanceProfile") or {}
    if profile and not store.profile_exists(profile):
        name = profile.get("Name") or profile.get("Arn")
        return (
            "InvalidParameterValue",
            f"Value ({name}) for parameter iamInstanceProfile is invalid.",
        )
    if not launch.get("ImageId"):
        return "MissingParameter", "The request must contain the parameter ImageId"
    return "", ""


def _launched(
    world: World, region: str, params: Json, outcome: Outcome, fleet_id: str
) -> list[Json]:
    rows = []
    own = {"aws:ec2:fleet-id": fleet_id}
    for candidate, count in outcome.taken:
        machine = machine_of(candidate, params, own)
        rows.append({
            "LaunchTemplateAndOverrides": candidate.echo,
            "Lifecycle": candidate.pool[2],
            "InstanceIds": world.instances.launch(region, candidate, machine, count),
            "InstanceType": candidate.pool[1],
        })  # fmt: skip
    return rows


def _error(candidate: Candidate, code: str) -> Json:
    code = code or NO_CAPACITY
    return {
        "LaunchTemplateAndOverrides": candidate.echo,
        "Lifecycle": candidate.pool[2],
        "ErrorCode": code,
        "ErrorMessage": candidate.explanation or explain(code, candidate.pool),
    }


def machine_of(candidate: Candidate, params: Json, own_tags: Mapping[str, str]) -> store.Machine:
    """Everything the instance is made from; tags of the request win over the template's."""
    launch = candidate.launch
    used = launch.get("_template") or {}
    template_tags = (
        {
            "aws:ec2launchtemplate:id": used["LaunchTemplateId"],
            "aws:ec2launchtemplate:version": used["Version"],
        }
        if used
        else {}
    )
    return store.Machine(
        instance_type=candidate.pool[1],
        image_id=str(launch["ImageId"]),
        subnet_id=candidate.subnet_id,
        capacity_type=candidate.pool[2],
        user_data=launch.get("UserData"),
        key_name=launch.get("KeyName"),
        security_group_ids=tuple(_groups(launch)),
        profile=launch.get("IamInstanceProfile") or {},
        disks=tuple(launch.get("BlockDeviceMappings") or ()),
        metadata=launch.get("MetadataOptions") or {},
        placement=launch.get("Placement") or {},
        interfaces=tuple(launch.get("NetworkInterfaces") or ()),
        shutdown_behaviour=str(launch.get("InstanceInitiatedShutdownBehavior") or "stop"),
        ebs_optimized=bool(launch.get("EbsOptimized")),
        tags={**_tags(launch, params, "instance"), **template_tags, **own_tags},
        volume_tags=_tags(launch, params, "volume"),
        client_token=str(params.get("ClientToken") or ""),
    )


def _groups(launch: Json) -> list[str]:
    interfaces = launch.get("NetworkInterfaces") or ()
    of_interfaces = [group for nic in interfaces for group in nic.get("Groups") or ()]
    return [str(g) for g in launch.get("SecurityGroupIds") or of_interfaces]


def _tags(launch: Json, params: Json, kind: str) -> dict[str, str]:
    specs = [*(launch.get("TagSpecifications") or ()), *(params.get("TagSpecifications") or ())]
    return {
        str(tag["Key"]): str(tag.get("Value") or "")
        for spec in specs
        if spec.get("ResourceType") == kind
        for tag in spec.get("Tags") or ()
    }


def _run(world: World, region: str, params: Json) -> Json:
    most, least = int(params.get("MaxCount") or 1), int(params.get("MinCount") or 1)
    launch = {k: v for k, v in params.items() if k != "TagSpecifications"}
    if spec := params.get("LaunchTemplate"):
        template_id, version, data = store.template(region, spec)
        used = {"LaunchTemplateId": template_id, "Version": str(version)}
        launch = {**data, **launch, "_template": used}
    market = (launch.get("InstanceMarketOptions") or {}).get("MarketType", "on-demand")
    candidate = resolve(world, region, launch, market)
    wish = Wish(capacity_type=market, units=most, strategy="lowest-price")
    free = {subnet: left for subnet, (_, left) in store.subnets(region).items()}
    outcome = fulfil(wish, [candidate], world.market, lambda c: free.get(c.subnet_id, 0))
    if outcome.units < least:
        for taken, count in outcome.taken:
            world.market.give_back(taken.pool, count)
        code = outcome.refused[0][1]
        raise AwsError(code, candidate.explanation or explain(code, candidate.pool))
    given = int(outcome.units)
    machine = machine_of(candidate, params, {})
    ids = world.instances.launch(region, candidate, machine, given)
    rows = [store.instance(region, instance_id) for instance_id in ids]
    return {"ReservationId": world.new_id("r"), "OwnerId": "", "Instances": rows}
