"""CreateFleet and RunInstances: from a request to instances. Called by ``actions``.

Templates are truly inherited here: profile, disks, metadata options, groups, placement, user
data and tags come from the template unless the override or the request says otherwise. A client
token is remembered with its whole request for the life of the world.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import store, views
from .candidates import Resolver
from .errors import AwsError
from .fleet import Candidate, Outcome, Wish, fulfil
from .machines import machine_of
from .market import NO_CAPACITY, explain
from .parameters import ACCOUNT
from .placement import emptiest_partition

if TYPE_CHECKING:
    from .world import World

Json = dict[str, Any]
MOST_OVERRIDES = 300
STRATEGY_NAMES = {"lowestPrice": "lowest-price", "capacityOptimized": "capacity-optimized"}


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
    params = {**params, "_fleet": fleet_id}
    instances: list[Json] = []
    errors: list[Json] = []
    for wish in _wishes(params):
        outcome = _fulfil(world, region, params, wish)
        for candidate, count in outcome.taken:
            try:
                ids = _launch(world, region, params, candidate, count)
            except AwsError as error:
                errors.append(_error(replace(candidate, explanation=error.message), error.code))
            else:
                instances.append(_given(candidate, ids))
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
    resolver = Resolver(world, region)
    candidates = list(resolver.candidates(params, wish.capacity_type))
    if any(_group_of(world, c).get("Strategy") == "cluster" for c in candidates):
        wish = replace(wish, single_zone=True)
    return fulfil(wish, candidates, world.market, resolver.room)


def _group_of(world: World, candidate: Candidate) -> Json:
    name = (candidate.launch.get("Placement") or {}).get("GroupName") or ""
    found: Json = world.placement_groups.get(name, {})
    return found


def _launch(
    world: World, region: str, params: Json, candidate: Candidate, count: int
) -> Sequence[str]:
    """Ids of new instances; in a partition group each goes where the fewest are."""
    machine = machine_of(world, candidate, params)
    group = _group_of(world, candidate)
    if group.get("Strategy") != "partition" or machine.placement.get("PartitionNumber"):
        return world.instances.launch(region, candidate, machine, count)
    ids: list[str] = []
    for _ in range(count):
        number = emptiest_partition(world, group["GroupName"])
        placed = replace(machine, placement={**machine.placement, "PartitionNumber": number})
        ids += world.instances.launch(region, candidate, placed, 1)
    return ids


def _given(candidate: Candidate, ids: Sequence[str]) -> Json:
    return {
        "LaunchTemplateAndOverrides": candidate.echo,
        "Lifecycle": candidate.pool[2],
        "InstanceIds": list(ids),
        "InstanceType": candidate.pool[1],
    }


def _error(candidate: Candidate, code: str) -> Json:
    code = code or NO_CAPACITY
    return {
        "LaunchTemplateAndOverrides": candidate.echo,
        "Lifecycle": candidate.pool[2],
        "ErrorCode": code,
        "ErrorMessage": candidate.explanation or explain(code, candidate.pool),
    }


def _run(world: World, region: str, params: Json) -> Json:
    most, least = int(params.get("MaxCount") or 1), int(params.get("MinCount") or 1)
    launch = {k: v for k, v in params.items() if k != "TagSpecifications"}
    if spec := params.get("LaunchTemplate"):
        template_id, version, data = store.template(region, spec)
        used = {"LaunchTemplateId": template_id, "Version": str(version)}
        launch = {**data, **launch, "_template": used}
    market = (launch.get("InstanceMarketOptions") or {}).get("MarketType", "on-demand")
    resolver = Resolver(world, region)
    candidate = resolver.resolve(launch, market)
    wish = Wish(capacity_type=market, units=most, strategy="lowest-price")
    outcome = fulfil(wish, [candidate], world.market, resolver.room)
    if outcome.units < least:
        for taken, count in outcome.taken:
            world.market.give_back(taken.pool, count)
        code = outcome.refused[0][1]
        raise AwsError(code, candidate.explanation or explain(code, candidate.pool))
    ids = _launch(world, region, params, candidate, int(outcome.units))
    lives = [world.instances.lives[instance_id] for instance_id in ids]
    return {
        "ReservationId": lives[0].reservation_id,
        "OwnerId": ACCOUNT,
        "Instances": [views.instance(life, life.state) for life in lives],
    }
