"""Spot pools that go up and down by themselves, and take their instances with them.

Off unless the parameter ``weather`` is set. Up times are of a short and a long kind and outages
log-normal, fitted to traces of V100 zones (``parameters``): a stress shape, not a forecast. A
pool goes down as a whole: notices to all its nodes within minutes, the end at their deadline.
"""

from __future__ import annotations

import math
import random
from functools import partial
from typing import TYPE_CHECKING

from . import notices
from .market import Pool, PoolKey

if TYPE_CHECKING:
    from .world import World

MEAN_UP_SHARE = 0.64
"""Share of time that a pool is up when the world begins [measured: 200 / (200 + 111) min]."""


class Weather:
    """Moves every spot pool from the moment it is first asked about."""

    def __init__(self, world: World) -> None:
        self._world = world

    def begin(self, key: PoolKey, pool: Pool) -> None:
        """Draw how the new pool is, and when that changes."""
        if key[2] != "spot" or not self._world.parameters.weather:
            return
        rng = self._world.rng(f"weather {key}")
        if rng.random() < MEAN_UP_SHARE:
            self._up(key, pool, rng)
        else:
            self._dry(key, pool, rng)

    def _up(self, key: PoolKey, pool: Pool, rng: random.Random) -> None:
        figures = self._world.parameters
        held = sum(life.live for life in self._world.instances.lives.values() if life.pool == key)
        pool.depth = max(1, round(figures.weather_depth * math.exp(0.7 * rng.gauss(0.0, 1.0))))
        pool.free, pool.up = max(pool.depth - held, 0), True
        median = figures.up_medians_seconds[rng.random() < figures.up_long_share]
        lasts = median * math.exp(0.8 * rng.gauss(0.0, 1.0))
        lead = rng.uniform(0.0, figures.rebalance_lead_seconds)
        if rng.random() >= figures.rebalance_absent_share:
            self._world.timeline.after(lasts - lead, partial(self._warn, key))
        self._world.timeline.after(lasts, partial(self._down, key, pool, rng))

    def _down(self, key: PoolKey, pool: Pool, rng: random.Random) -> None:
        self._world.log("weather", {"pool": list(key), "up": False})
        for life in self._world.instances.lives.values():
            if life.pool == key and life.live:
                late = rng.uniform(0.0, self._world.parameters.storm_seconds)
                self._world.timeline.after(late, partial(notices.interrupt, self._world, life))
        self._dry(key, pool, rng)

    def _dry(self, key: PoolKey, pool: Pool, rng: random.Random) -> None:
        figures = self._world.parameters
        pool.free, pool.up = 0, False
        lasts = figures.down_median_seconds * math.exp(figures.down_sigma * rng.gauss(0.0, 1.0))
        self._world.timeline.after(lasts, partial(self._up, key, pool, rng))

    def _warn(self, key: PoolKey) -> None:
        for life in self._world.instances.lives.values():
            if life.pool == key:
                notices.rebalance(self._world, life)
