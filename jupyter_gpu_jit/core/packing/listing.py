"""All offerings that would serve a filling, so that a launch finds capacity where there is some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..layouts import WHOLE
from ..model import Offering, PlannedClaim, Resources
from .fillings import Filling, Market
from .market import Entry, by_price
from .policy import Policy
from .shapes import times


@dataclass(frozen=True, slots=True)
class _Load:
    """A filling as one thing to hold: which shapes (a bit mask), how much, any CPU-only ones."""

    shapes: int
    total: Resources
    has_cpu_only: bool
    layout: str


def offerings_for(
    market: Market, filling: Filling, policy: Policy, layout: str = WHOLE
) -> tuple[Offering, ...]:
    """Every pool that holds the whole filling and serves each of its sessions, cheapest first.

    Only types that can have that layout, as a launch has one for all.

    At most ``policy.max_offerings``, none dearer than ``policy.price_factor`` times the cheapest,
    and where CPU-only sessions ride along none that leaves more GPUs idle than the cheapest.
    """
    load = _load(market, filling, layout)
    pools = _affordable(market, load, policy.price_factor)
    cheapest, holder = min(pools, key=_cheap_without_idle_gpus)
    limit = int(cheapest.usd_per_hour_micro * policy.price_factor)
    gpus = max(holder.room.gpus, load.total.gpus)
    listed = [
        pool
        for pool, entry in pools
        if pool.usd_per_hour_micro <= limit and (not load.has_cpu_only or entry.room.gpus <= gpus)
    ]
    return tuple(sorted(listed, key=by_price)[: policy.max_offerings])


def _affordable(market: Market, load: _Load, price_factor: float) -> list[tuple[Offering, Entry]]:
    """Pools that hold the load; of types whose cheapest pool is within the factor of the best."""
    pools: list[tuple[Offering, Entry]] = []
    limit = float("inf")
    for entry in market.by_price:
        if entry.pools[0].usd_per_hour_micro > limit:
            break
        if _holds(market, entry, load):
            for pool in _serving(market, entry, load):
                limit = min(limit, pool.usd_per_hour_micro * price_factor)
                pools.append((pool, entry))
    return pools


def _cheap_without_idle_gpus(each: tuple[Offering, Entry]) -> tuple[int, int]:
    pool, entry = each
    return pool.usd_per_hour_micro, entry.room.gpus


def _load(market: Market, filling: Filling, layout: str) -> _Load:
    present = [i for i, count in enumerate(filling) if count]
    total = Resources()
    for i in present:
        total = total + times(market.shapes[i].size, filling[i])
    has_cpu_only = any(market.shapes[i].cpu_only for i in present)
    return _Load(sum(1 << i for i in present), total, has_cpu_only, layout)


def _holds(market: Market, entry: Entry, load: _Load) -> bool:
    if entry.layout != load.layout:
        return False
    if market.matcher.type_mask(entry) & load.shapes != load.shapes:
        return False
    return load.total.fits_in(entry.room)


def _serving(market: Market, entry: Entry, load: _Load) -> Iterator[Offering]:
    for pool in entry.pools:
        if market.matcher.pool_mask(entry, pool) & load.shapes == load.shapes:
            yield pool


def within(claims: Sequence[PlannedClaim], budget: int | None) -> tuple[PlannedClaim, ...]:
    """The claims, listing only so much that even the dearest choice of each keeps to the budget.

    A cap counts what is asked at its worst; the claims' cheapest offerings together keep to it.
    """
    if budget is None:
        return tuple(claims)
    slack = budget - sum(claim.offerings[0].usd_per_hour_micro for claim in claims)
    kept = []
    for claim in claims:
        cheapest = claim.offerings[0].usd_per_hour_micro
        listed = [o for o in claim.offerings if o.usd_per_hour_micro - cheapest <= slack]
        slack -= listed[-1].usd_per_hour_micro - cheapest
        kept.append(replace(claim, offerings=tuple(listed)))
    return tuple(kept)
