"""How deep Spot pools are, from AWS's placement scores: a risk on offerings, never a hot path.

market.py asks every six hours, because AWS allows only so many different questions a day. A
question is about all types of one GPU model: with fewer than three types AWS always answers low
(EC2 user guide, "Spot placement score").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from ...core.model import InstanceType
from .calls import AwsCalls
from .facts import Facts

Rates = Mapping[tuple[str, str], float]
"""Interruptions per hour by (GPU model, zone)."""
_FEWEST_TYPES, _MOST_TYPES = 3, 50
# From a score of 1 to 10 to interruptions per hour. An assumption: AWS publishes no such thing.
# The ends are the public bands (under 5 % a month, over 20 % a month) with room for a bad hour.
_RATES = ((9, 0.005), (7, 0.01), (5, 0.03), (3, 0.08), (0, 0.2))


def rate_of(score: int) -> float:
    """Interruptions per hour to be expected of a pool with that score."""
    return next(rate for least, rate in _RATES if score >= least)


async def placement_rates(calls: AwsCalls, types: Iterable[InstanceType], facts: Facts) -> Rates:
    """What the scores of now say. Raises Rejected, Unavailable."""
    zones = {subnet.zone_id: subnet.zone for subnet in facts.subnets}
    rates: dict[tuple[str, str], float] = {}
    for model, names in _by_model(types).items():
        rates |= await _ask(calls, model, names, zones)
    return rates


async def _ask(
    calls: AwsCalls, model: str, names: list[str], zones: Mapping[str, str]
) -> dict[tuple[str, str], float]:
    answer = await calls.call(
        "ec2",
        "GetSpotPlacementScores",
        InstanceTypes=names[:_MOST_TYPES],
        TargetCapacity=1,
        SingleAvailabilityZone=True,
        RegionNames=[calls.settings.region],
    )
    return {
        (model, zones[row["AvailabilityZoneId"]]): rate_of(int(row["Score"]))
        for row in answer.get("SpotPlacementScores") or ()
        if row.get("AvailabilityZoneId") in zones
    }


def _by_model(types: Iterable[InstanceType]) -> dict[str, list[str]]:
    """Types of each GPU model, where there are enough of them to ask."""
    found: dict[str, list[str]] = defaultdict(list)
    for kind in types:
        if kind.gpu_model and kind.offerings:
            found[kind.gpu_model].append(kind.name)
    return {m: sorted(names) for m, names in sorted(found.items()) if len(names) >= _FEWEST_TYPES}
