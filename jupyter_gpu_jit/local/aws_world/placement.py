"""Placement groups, the network above instances, and placement scores: all absent from moto.

The tree of network nodes has three layers in each zone [published]; how many branches it has is
ours. Members of a cluster group share the two lowest nodes, as AWS promises nearness.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from . import store
from .errors import AwsError
from .instances import Life
from .parameters import ACCOUNT
from .tags import tags_in

if TYPE_CHECKING:
    from .world import World

Json = dict[str, Any]
STRATEGIES = ("cluster", "partition", "spread")
TOPOLOGY_FAMILIES = ("g6e", "g7e", "p3dn", "p4d", "p4de", "p5", "p6", "trn", "hpc")
"""Beginnings of families with a topology [published in part: not g4dn, g5, g6]."""
MOST_TOPOLOGY_IDS = 100
MOST_PARTITIONS = 7
BRANCHES = 4
"""Network nodes below each [assumed]."""
FEW_TYPES, FEW_TYPES_SCORE = 3, 3
"""Fewer types than this never score above that [published: "always scores low"]."""


def create_group(world: World, region: str, params: Json) -> Json:
    """CreatePlacementGroup. Raises AwsError."""
    name, strategy = str(params.get("GroupName") or ""), params.get("Strategy") or "cluster"
    if name in world.placement_groups:
        raise AwsError(
            "InvalidPlacementGroup.Duplicate", f"The placement group '{name}' already exists."
        )
    if strategy not in STRATEGIES or not name:
        raise AwsError("InvalidParameterValue", "The placement group needs a name and a strategy.")
    partitions = int(params.get("PartitionCount") or 2) if strategy == "partition" else 0
    if partitions > MOST_PARTITIONS:
        raise AwsError("InvalidParameterValue", f"At most {MOST_PARTITIONS} partitions.")
    group = {
        "GroupName": name,
        "GroupId": world.new_id("pg"),
        "State": "available",
        "Strategy": strategy,
        "Tags": [{"Key": k, "Value": v} for k, v in tags_in(params, "placement-group").items()],
        **({"PartitionCount": partitions} if partitions else {}),
    }
    group["GroupArn"] = f"arn:aws:ec2:{region}:{ACCOUNT}:placement-group/{name}"
    world.placement_groups[name] = group
    return {"PlacementGroup": group}


def describe_groups(world: World, region: str, params: Json) -> Json:
    """DescribePlacementGroups. Raises AwsError for a name that is not there."""
    del region
    names, ids = params.get("GroupNames") or (), params.get("GroupIds") or ()
    for name in names:
        _group(world, name)
    groups = [
        group
        for name, group in world.placement_groups.items()
        if (not names or name in names) and (not ids or group["GroupId"] in ids)
    ]
    filters = params.get("Filters") or ()
    return {"PlacementGroups": [g for g in groups if all(_fits(g, f) for f in filters)]}


def delete_group(world: World, region: str, params: Json) -> Json:
    """DeletePlacementGroup. Raises AwsError while instances are in it."""
    del region
    name = str(params.get("GroupName") or "")
    _group(world, name)
    if any(life.state != "terminated" for life in members(world, name)):
        raise AwsError("InvalidPlacementGroup.InUse", f"The placement group '{name}' is in use.")
    del world.placement_groups[name]
    return {}


def _group(world: World, name: str) -> Json:
    if name not in world.placement_groups:
        raise AwsError("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")
    return world.placement_groups[name]


def _fits(group: Json, wanted: Json) -> bool:
    name, values = wanted["Name"], wanted.get("Values") or ()
    tags = {tag["Key"]: tag["Value"] for tag in group["Tags"]}
    if name.startswith("tag:"):
        return tags.get(name[4:]) in values
    if name == "tag-key":
        return any(key in values for key in tags)
    facts = {"group-name": "GroupName", "strategy": "Strategy", "state": "State"}
    return group.get(facts.get(name, "")) in values


def members(world: World, name: str) -> list[Life]:
    """Instances in a group that are not gone."""
    lives = world.instances.lives.values()
    return [
        life
        for life in lives
        if life.machine.placement.get("GroupName") == name and life.state != "terminated"
    ]


def emptiest_partition(world: World, name: str) -> int:
    """The partition with the fewest members, the lowest first."""
    count = int(world.placement_groups[name].get("PartitionCount") or 0)
    used = Counter(
        int(m.machine.placement.get("PartitionNumber") or 0) for m in members(world, name)
    )
    return min(range(1, count + 1), key=lambda n: (used[n], n), default=0)


# --- topology ----------------------------------------------------------------------------------


def topology(world: World, region: str, params: Json) -> Json:
    """DescribeInstanceTopology: running instances of types that have one."""
    ids = params.get("InstanceIds") or ()
    if len(ids) > MOST_TOPOLOGY_IDS:
        raise AwsError("InvalidParameterValue", f"At most {MOST_TOPOLOGY_IDS} instance ids.")
    lives = world.instances.find(ids) if ids else list(world.instances.lives.values())
    names = params.get("GroupNames") or ()
    zone_ids = store.zones(region)
    rows = [
        _topology_row(world, life, zone_ids)
        for life in lives
        if life.state == "running"
        and life.pool[1].startswith(TOPOLOGY_FAMILIES)
        and (not names or life.machine.placement.get("GroupName") in names)
    ]
    begin = int(params.get("NextToken") or 0)
    end = begin + int(params.get("MaxResults") or 100)
    return {"Instances": rows[begin:end], "NextToken": str(end) if end < len(rows) else None}


def _topology_row(world: World, life: Life, zone_ids: Json) -> Json:
    group = life.machine.placement.get("GroupName") or ""
    return {
        "InstanceId": life.id,
        "InstanceType": life.pool[1],
        "GroupName": group or None,
        "NetworkNodes": list(network_nodes(world, life)),
        "AvailabilityZone": life.pool[0],
        "ZoneId": zone_ids.get(life.pool[0]),
    }


def network_nodes(world: World, life: Life) -> tuple[str, str, str]:
    """The nodes above an instance, widest first."""
    group = world.placement_groups.get(life.machine.placement.get("GroupName") or "", {})
    near = group.get("Strategy") == "cluster"
    digest = hashlib.sha256((group["GroupId"] if near else life.id).encode()).digest()
    path = [str(byte % BRANCHES) for byte in digest[:3]]
    names = (f"{world.seed} {life.pool[0]} {'.'.join(path[: n + 1])}" for n in range(3))
    a, b, c = (f"nn-{hashlib.sha256(name.encode()).hexdigest()[:17]}" for name in names)
    return a, b, c


# --- scores ------------------------------------------------------------------------------------


def scores(world: World, region: str, params: Json) -> Json:
    """GetSpotPlacementScores: 1 to 10 from the pools, with noise and a daily allowance."""
    types = tuple(sorted(params.get("InstanceTypes") or ()))
    target = int(params.get("TargetCapacity") or 1)
    _count_question(world, (types, target))
    zones = store.zones(region)
    by_zone = {zone: _score(world, zone, types, target) for zone in zones}
    if params.get("SingleAvailabilityZone"):
        rows = [
            {"Region": region, "AvailabilityZoneId": zones[zone], "Score": score}
            for zone, score in by_zone.items()
        ]
    else:
        rows = [{"Region": region, "Score": max(by_zone.values(), default=1)}]
    return {"SpotPlacementScores": sorted(rows, key=lambda row: -int(str(row["Score"])))}


def _count_question(world: World, question: tuple[Sequence[str], int]) -> None:
    """The same question again costs nothing [published]."""
    asked = world.score_questions
    day = world.now() - 86400.0
    for old in [q for q, at in asked.items() if at < day]:
        del asked[old]
    if question not in asked and len(asked) >= world.parameters.score_configurations_per_day:
        raise AwsError(
            "MaxConfigLimitExceeded",
            "You have reached the maximum number of configurations within 24 hours.",
        )
    asked.setdefault(question, world.now())


def _score(world: World, zone: str, types: Sequence[str], target: int) -> int:
    sold = world.offered(world.region)
    rooms = [world.market.pool((zone, name, "spot")).room for name in types if (zone, name) in sold]
    enough = min(sum(rooms) / max(2 * target, 1), 1.0)
    noise = world.rng(f"score {zone} {types} {int(world.now() // 3600)}").choice((-1, 0, 0, 1))
    score = round(1 + 8 * enough) + noise if sum(rooms) else 1
    return max(1, min(score, FEW_TYPES_SCORE if len(types) < FEW_TYPES else 10))


Act = Callable[["World", str, Json], Json]
ACTIONS: dict[str, Act] = {
    "create_placement_group": create_group,
    "describe_placement_groups": describe_groups,
    "delete_placement_group": delete_group,
    "describe_instance_topology": topology,
    "get_spot_placement_scores": scores,
}
