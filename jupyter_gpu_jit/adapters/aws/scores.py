"""How deep Spot pools are, from AWS's placement scores: a risk on offerings, never a hot path.

market.py asks after a refresh; answers are kept for six hours, because AWS allows only so many
different questions a day. A question is about all types of one GPU model: with fewer than three
types AWS always answers low (EC2 user guide, "Spot placement score").
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping

from ...core.model import InstanceType
from ...errors import GpuJitError
from .calls import AwsCalls
from .facts import Facts

log = logging.getLogger(__name__)
Rates = Mapping[tuple[str, str], float]
"""Interruptions per hour by (GPU model, zone)."""
KEPT_SECONDS = 6 * 3600.0
_FEWEST_TYPES, _MOST_TYPES = 3, 50
# From a score of 1 to 10 to interruptions per hour. An assumption: AWS publishes no such thing.
# The ends are the public bands (under 5 % a month, over 20 % a month) with room for a bad hour.
_RATES = ((9, 0.005), (7, 0.01), (5, 0.03), (3, 0.08), (0, 0.2))


def rate_of(score: int) -> float:
    """Interruptions per hour to be expected of a pool with that score."""
    return next(rate for least, rate in _RATES if score >= least)


class Scores:
    """The scores that were asked for lately."""

    def __init__(self, calls: AwsCalls) -> None:
        self._calls = calls
        self._rates: dict[tuple[str, str], float] = {}
        self._until = 0.0

    async def rates(self, types: Iterable[InstanceType], facts: Facts) -> Rates:
        """What is known, asked anew when it is old; a refusal leaves what was known."""
        now = self._calls.clock.now()
        if now >= self._until:
            self._until = now + KEPT_SECONDS
            zones = {subnet.zone_id: subnet.zone for subnet in facts.subnets}
            for model, names in _by_model(types).items():
                try:
                    self._rates |= await self._ask(model, names, zones)
                except GpuJitError as error:
                    log.warning("no placement scores", extra={"reason": error.reason})
                    break
        return self._rates

    async def _ask(
        self, model: str, names: list[str], zones: Mapping[str, str]
    ) -> dict[tuple[str, str], float]:
        answer = await self._calls.call(
            "ec2",
            "GetSpotPlacementScores",
            InstanceTypes=names[:_MOST_TYPES],
            TargetCapacity=1,
            SingleAvailabilityZone=True,
            RegionNames=[self._calls.settings.region],
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
