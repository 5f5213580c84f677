"""The catalogue of a region as it is now: types, where they are sold, and for how much.

Refreshed in the background (``keep_fresh``), so that no plan waits for AWS: until the first
answer, and while AWS is silent, the packaged table or the last answer is used, and
``age_seconds`` says how old the prices are. Called by ec2.py.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...core.model import InstanceType, Offering
from ...core.requirements import CapacityType
from ...errors import GpuJitError
from ...ports import Instance
from .calls import AwsCalls, Json
from .facts import FactSource
from .prices import SpotPrices, on_demand_prices, spot_prices
from .scores import Rates, Scores
from .sizes import instance_type

log = logging.getLogger(__name__)
SPOT_SECONDS, TYPES_SECONDS, ON_DEMAND_SECONDS = 300.0, 12 * 3600.0, 12 * 3600.0
RETRY_SECONDS = 60.0
FIRST_ANSWER_SECONDS = 20.0


@dataclass(slots=True)
class _Known:
    """What AWS said last, and when."""

    types: list[Json] = field(default_factory=list)
    sold: set[tuple[str, str]] = field(default_factory=set)
    on_demand: dict[str, int] = field(default_factory=dict)
    spot: SpotPrices = field(default_factory=dict)
    at: dict[str, float] = field(default_factory=dict)


class Market:
    """The catalogue; ``packaged`` is used until AWS answers, at the prices it has."""

    def __init__(
        self, calls: AwsCalls, facts: FactSource, packaged: Sequence[InstanceType]
    ) -> None:
        self._calls, self._facts = calls, facts
        self._packaged = {kind.name: kind for kind in packaged}
        self._known = _Known()
        self._scores = Scores(calls)
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
        asked = self._known.at.get("spot")
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
        """Ask for what is due, for ever."""
        while True:
            try:
                await self.refresh()
                pause = SPOT_SECONDS
            except GpuJitError as error:
                log.warning("prices not refreshed", extra={"reason": error.reason})
                pause = RETRY_SECONDS
            await self._calls.clock.sleep(pause)

    async def refresh(self) -> None:
        """Ask for what is due. Raises Rejected, NotFound, Unavailable; what was known stays."""
        async with self._one_at_a_time:
            await self._ask_types()
            await self._ask_prices()
            known = self._known
            self._set(self._catalogue(known))
            rates = await self._scores.rates(self._types, await self._facts.facts())
            if rates:
                self._set(risky(self._types, rates))
            self._answered.set()

    async def _first_answer(self) -> None:
        if self._answered.is_set():
            return
        try:
            async with asyncio.timeout(FIRST_ANSWER_SECONDS):
                await self.refresh()
        except (GpuJitError, TimeoutError) as error:
            log.warning("the packaged catalogue is used", extra={"reason": type(error).__name__})
            # keep_fresh goes on trying; nobody else waits for it.
            self._answered.set()

    async def _ask_types(self) -> None:
        if not self._due("types", TYPES_SECONDS):
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
                Filters=filters,
            ),
        )
        self._known.types = types
        self._known.sold = {(row["InstanceType"], row["Location"]) for row in sold}
        self._learned("types")

    async def _ask_prices(self) -> None:
        if self._due("on-demand", ON_DEMAND_SECONDS):
            try:
                self._known.on_demand = await on_demand_prices(self._calls)
                self._learned("on-demand")
            except GpuJitError as error:
                # The packaged prices are good enough: they change once a year.
                log.warning("on-demand prices not read", extra={"reason": error.reason})
        if self._due("spot", SPOT_SECONDS):
            self._known.spot = await spot_prices(self._calls)
            self._learned("spot")

    def _due(self, what: str, seconds: float) -> bool:
        asked = self._known.at.get(what)
        return asked is None or self._calls.clock.now() >= asked + seconds

    def _learned(self, what: str) -> None:
        self._known.at[what] = self._calls.clock.now()

    def _catalogue(self, known: _Known) -> list[InstanceType]:
        found = []
        for body in sorted(known.types, key=lambda body: str(body["InstanceType"])):
            kind = instance_type(body, self._packaged, self._offerings(body, known))
            if kind is not None:
                found.append(kind)
        return found

    def _offerings(self, body: Json, known: _Known) -> Iterable[Offering]:
        """Where both the type is sold and we have a subnet, at a price that is known."""
        name, uses = str(body["InstanceType"]), body.get("SupportedUsageClasses") or ()
        on_demand = known.on_demand.get(name) or self._packaged_price(name)
        for zone in sorted(zone for kind, zone in known.sold if kind == name):
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

    def _set(self, types: Sequence[InstanceType]) -> None:
        self._types = tuple(types)
        self._by_name = {**self._packaged, **{kind.name: kind for kind in types}}


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
