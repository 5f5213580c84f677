"""The catalogue of a region as it is now: types, where they are sold, and for how much.

Refreshed in the background (``keep_fresh``), so that no plan waits for AWS: until the first
answer, and while AWS is silent, the packaged table or the last answer is used, and
``age_seconds`` says how old the prices are. Called by ec2.py.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...core.model import InstanceType, Offering
from ...core.requirements import CapacityType
from ...errors import GpuJitError
from ...ports import Instance
from .calls import AwsCalls, Json
from .facts import FactSource
from .prices import SpotPrices, on_demand_prices, spot_prices
from .scores import Rates, placement_rates
from .sizes import instance_type

log = logging.getLogger(__name__)
SPOT_SECONDS, TYPES_SECONDS, ON_DEMAND_SECONDS = 300.0, 12 * 3600.0, 12 * 3600.0
RISKS_SECONDS = 6 * 3600.0
RETRY_SECONDS = 60.0
FIRST_ANSWER_SECONDS = 20.0
_MOST_NAMED = 100


@dataclass(slots=True)
class _Known:
    """What AWS said last: types by name, zones each is sold in and ours, prices."""

    types: list[Json] = field(default_factory=list)
    zones: dict[str, list[str]] = field(default_factory=dict)
    ours: frozenset[str] = frozenset()
    on_demand: dict[str, int] = field(default_factory=dict)
    spot: SpotPrices = field(default_factory=dict)


class Market:
    """The catalogue; ``packaged`` is used until AWS answers, at the prices it has."""

    def __init__(
        self, calls: AwsCalls, facts: FactSource, packaged: Sequence[InstanceType]
    ) -> None:
        self._calls, self._facts = calls, facts
        self._packaged = {kind.name: kind for kind in packaged}
        self._known = _Known()
        self._asked_at: dict[str, float] = {}
        self._rates: Rates = {}
        self._types: Sequence[InstanceType] = tuple(packaged)
        self._by_name = self._packaged
        self._answered = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    async def types(self) -> Sequence[InstanceType]:
        """The catalogue of now; only the first call waits for AWS, and not for long."""
        await self._first_answer()
        return self._types

    async def named(self) -> Mapping[str, InstanceType]:
        """The same by name; types that are not sold now are there as well."""
        await self._first_answer()
        return self._by_name

    def age_seconds(self) -> float:
        """How old the Spot prices are; infinite before the first answer."""
        asked = self._asked_at.get("spot")
        return math.inf if asked is None else self._calls.clock.now() - asked

    def priced(self, instance: Instance) -> Instance:
        """The instance at what its offering costs now; as it is when that is not known."""
        kind = self._by_name.get(instance.instance_type)
        key = (instance.instance_type, instance.zone, instance.capacity_type)
        same = (o for o in (kind.offerings if kind else ()) if o.key == key)
        sold = next(same, None)
        if sold is None:
            return instance
        return replace(instance, usd_per_hour_micro=sold.usd_per_hour_micro)

    async def keep_fresh(self) -> None:
        """Ask for what is due, for ever. On-demand prices and risks hold up nothing."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again(self.refresh, SPOT_SECONDS))
            group.create_task(self._again(self.refresh_on_demand, ON_DEMAND_SECONDS))
            await self._answered.wait()
            group.create_task(self._again(self.refresh_risks, RISKS_SECONDS))

    async def refresh(self) -> None:
        """Ask for types and Spot prices. Raises Rejected, NotFound, Unavailable; the old stay."""
        async with self._one_at_a_time:
            await self._ask_types()
            self._known.spot = await spot_prices(self._calls, self._few())
            self._asked_at["spot"] = self._calls.clock.now()
            facts = await self._facts.facts()
            self._known.ours = frozenset(facts.zones)
            self._renew()
            self._answered.set()

    async def refresh_on_demand(self) -> None:
        """Ask for on-demand prices; until they come the packaged ones are used. Raises likewise."""
        self._known.on_demand = await on_demand_prices(self._calls)
        self._renew()

    async def refresh_risks(self) -> None:
        """Ask how deep Spot pools are. Raises likewise; the old rates stay."""
        self._rates = await placement_rates(self._calls, self._types, await self._facts.facts())
        self._renew()

    async def _again(self, ask: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            pause = seconds
            try:
                await ask()
            except GpuJitError as error:
                log.warning("prices not refreshed", extra={"reason": error.reason})
                pause = RETRY_SECONDS
            await self._calls.clock.sleep(pause)

    async def _first_answer(self) -> None:
        if self._answered.is_set():
            return
        try:
            async with asyncio.timeout(FIRST_ANSWER_SECONDS):
                await self.refresh()
        except (GpuJitError, TimeoutError) as error:
            log.warning("the packaged catalogue is used", extra={"reason": type(error).__name__})
            # ``keep_fresh`` goes on trying; nobody else waits for it.
            self._answered.set()

    async def _ask_types(self) -> None:
        now = self._calls.clock.now()
        if now < self._asked_at.get("types", -math.inf) + TYPES_SECONDS:
            return
        families = [f"{family}.*" for family in self._calls.settings.families]
        filters = [{"Name": "instance-type", "Values": families}] if families else []
        types, sold = await asyncio.gather(
            self._calls.pages("ec2", "DescribeInstanceTypes", "InstanceTypes", Filters=filters),
            self._calls.pages(
                "ec2",
                "DescribeInstanceTypeOfferings",
                "InstanceTypeOfferings",
                LocationType="availability-zone",
            ),
        )
        zones: dict[str, list[str]] = defaultdict(list)
        for row in sold:
            zones[row["InstanceType"]].append(row["Location"])
        self._known.types = sorted(types, key=lambda body: str(body["InstanceType"]))
        self._known.zones = {name: sorted(found) for name, found in zones.items()}
        self._asked_at["types"] = now

    def _few(self) -> list[str]:
        """The types by name when they are few; all of them are asked for faster unnamed."""
        names = [str(body["InstanceType"]) for body in self._known.types]
        return names if self._calls.settings.families and len(names) <= _MOST_NAMED else []

    def _renew(self) -> None:
        """A new catalogue from what is known; the old one while there is nothing."""
        found = (
            instance_type(body, self._packaged, self._offerings(body, self._known))
            for body in self._known.types
        )
        types = tuple(risky((kind for kind in found if kind is not None), self._rates))
        # The same catalogue stays the same object: the planner keeps what it made of it.
        if types and types != self._types:
            self._types = types
            self._by_name = {**self._packaged, **{kind.name: kind for kind in types}}

    def _offerings(self, body: Json, known: _Known) -> Iterable[Offering]:
        """Where both the type is sold and we have a subnet, at a price that is known."""
        name, uses = str(body["InstanceType"]), body.get("SupportedUsageClasses") or ()
        on_demand = known.on_demand.get(name) or self._packaged_price(name)
        for zone in [zone for zone in known.zones.get(name, ()) if zone in known.ours]:
            prices = {
                CapacityType.ON_DEMAND: on_demand,
                CapacityType.SPOT: known.spot.get((name, zone), 0),
            }
            for capacity_type, price in prices.items():
                if price and capacity_type.value in uses:
                    yield Offering(
                        instance_type=name,
                        zone=zone,
                        capacity_type=capacity_type,
                        usd_per_hour_micro=price,
                    )

    def _packaged_price(self, name: str) -> int:
        kind = self._packaged.get(name)
        sold = (o for o in (kind.offerings if kind else ()))
        plain = (o for o in sold if o.capacity_type is CapacityType.ON_DEMAND)
        return next((o.usd_per_hour_micro for o in plain), 0)


def risky(types: Iterable[InstanceType], rates: Rates) -> list[InstanceType]:
    """The catalogue with how often Spot is taken back, where the scores say something of it."""
    return [
        replace(
            kind, offerings=tuple(_with_rate(kind, offering, rates) for offering in kind.offerings)
        )
        for kind in types
    ]


def _with_rate(kind: InstanceType, offering: Offering, rates: Rates) -> Offering:
    rate = rates.get((kind.gpu_model, offering.zone))
    if rate is None or offering.capacity_type is not CapacityType.SPOT:
        return offering
    return replace(offering, interruptions_per_hour=rate)
