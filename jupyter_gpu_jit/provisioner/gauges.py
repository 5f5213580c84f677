"""What stands at a level rather than happens: prices paid, offerings to be had, age of the prices.

Set every few seconds by runtime.py from what the caches hold; nothing is asked for it.
"""

from __future__ import annotations

from collections import Counter

from ..core import wire
from ..core.requirements import CapacityType
from ..ports import Clock, Meter
from . import metrics
from .state import ClusterState

LOOK_SECONDS = 15.0
_MICRO = 1e6


class Gauges:
    """Sets all gauges of metrics.py."""

    def __init__(self, clock: Clock, *, state: ClusterState, meter: Meter) -> None:
        self._clock = clock
        self._state = state
        self._meter = meter

    async def look(self) -> None:
        """Set them as things are now."""
        self._prices()
        self._offerings()
        age = self._clock.now() - self._state.priced_at
        self._meter.gauge(metrics.PRICES_AGE_SECONDS, age)

    def _prices(self) -> None:
        """What runs, by capacity type, and what the same would cost on demand."""
        paid: Counter[str] = Counter()
        on_demand = 0
        for claim in self._state.claims:
            if claim.provider_id and claim.is_true(wire.LAUNCHED):
                paid[claim.capacity_type] += claim.usd_per_hour_micro
                on_demand += self._on_demand(claim.instance_type, claim.zone)
        for kind in metrics.CAPACITY_TYPES:
            self._meter.gauge(metrics.PRICE_PAID, paid[kind] / _MICRO, capacity_type=kind)
        self._meter.gauge(metrics.PRICE_ON_DEMAND, on_demand / _MICRO)

    def _on_demand(self, name: str, zone: str) -> int:
        kind = self._state.instance_type(name)
        key = (name, zone, CapacityType.ON_DEMAND)
        prices = (o.usd_per_hour_micro for o in kind.offerings if o.key == key) if kind else ()
        return next(iter(prices), 0)

    def _offerings(self) -> None:
        dry = set(self._state.dry())
        states: Counter[str] = Counter()
        for kind in self._state.types:
            for offering in kind.offerings:
                sold = "available" if offering.available else "sold out"
                states["dry" if offering.key in dry else sold] += 1
        for state in metrics.OFFERING_STATES:
            self._meter.gauge(metrics.OFFERINGS, states[state], state=state)
