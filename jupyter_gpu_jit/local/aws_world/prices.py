"""Prices: on-demand from the packaged catalogue, spot by a seeded, stated process.

A pool's spot price starts at a share of on-demand, takes a step every few hours, is pulled back
to its mean in log space and never exceeds on-demand. Every figure is in ``parameters``; each
pool has its own stream of chance, so asking about one pool changes no other.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache

from ...catalogue import instance_types
from ...core.requirements import CapacityType
from .market import PoolKey
from .parameters import Parameters

Step = tuple[float, int]
"""(epoch seconds from which it holds, micro-USD per hour)."""
UNPRICED_MICRO_PER_VCPU = 50_000
"""On-demand price per vCPU of a type without a published price [assumed]."""


@lru_cache(maxsize=1)
def on_demand_prices() -> dict[str, int]:
    """Published on-demand prices by type, micro-USD per hour."""
    wanted = CapacityType.ON_DEMAND
    return {
        o.instance_type: o.usd_per_hour_micro
        for kind in instance_types(zones=("one",))
        for o in kind.offerings
        if o.capacity_type is wanted
    }


class Prices:
    """Prices of all pools of a world. ``began_at`` is when the history begins."""

    def __init__(
        self,
        parameters: Parameters,
        rng: Callable[[str], random.Random],
        vcpus: Callable[[str], int],
        began_at: float,
    ) -> None:
        self._parameters, self._rng, self._vcpus = parameters, rng, vcpus
        self._began_at = began_at
        self._walks: dict[PoolKey, _Walk] = {}
        self.fixed: dict[PoolKey, int] = {}

    def on_demand_micro(self, instance_type: str) -> int:
        """Micro-USD per hour, everywhere the same."""
        listed = on_demand_prices().get(instance_type)
        return listed or UNPRICED_MICRO_PER_VCPU * max(self._vcpus(instance_type), 1)

    def now_micro(self, key: PoolKey, now: float) -> int:
        """The price of a pool at a moment."""
        if key in self.fixed:
            return self.fixed[key]
        if key[2] != "spot":
            return self.on_demand_micro(key[1])
        return self.history(key, now, now)[-1][1]

    def history(self, key: PoolKey, begin: float, end: float) -> list[Step]:
        """The steps within a time, and the one that held at its beginning; oldest first."""
        walk = self._walks.get(key)
        if walk is None:
            cap = self.on_demand_micro(key[1])
            rng = self._rng(f"price {key}")
            walk = self._walks[key] = _Walk(self._parameters, rng, cap, self._began_at)
        steps = walk.until(end)
        first = max(bisect_right(steps, (begin, math.inf)) - 1, 0)
        found = [step for step in steps[first:] if step[0] <= max(end, steps[0][0])]
        return [(max(end, found[0][0]), self.fixed[key])] if key in self.fixed else found


class _Walk:
    def __init__(
        self, parameters: Parameters, rng: random.Random, cap: int, began_at: float
    ) -> None:
        self._p, self._rng, self._cap = parameters, rng, cap
        zone = 1 + rng.uniform(-parameters.spot_zone_spread, parameters.spot_zone_spread)
        self._mean = math.log(rng.uniform(*parameters.spot_start) * zone)
        self._level = self._mean
        # Not all pools step at the same moment.
        self._next = began_at + rng.uniform(0.0, 1.0) * 3600.0
        self._steps: list[Step] = [(began_at, self._micro())]

    def until(self, moment: float) -> list[Step]:
        while self._next <= moment:
            back = (self._mean - self._level) * self._p.spot_pull
            self._level += back + self._rng.gauss(0.0, self._p.spot_step_sigma)
            self._steps.append((self._next, self._micro()))
            self._next += self._rng.uniform(*self._p.spot_step_hours) * 3600.0
        return self._steps

    def _micro(self) -> int:
        return min(max(round(self._cap * math.exp(self._level)), 100), self._cap)
