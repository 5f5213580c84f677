"""All offerings that would serve a filling, so that a launch finds capacity where there is some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..model import Offering, PlannedClaim, Resources
from .fillings import Filling, Market
from .market import Entry, by_price
from .policy import Policy
from .shapes import times


@dataclass(frozen=True, slots=True)
class _Load:
    """A filling as one thing to hold: which shapes (a bit mask), how much, may GPUs lie idle."""

    shapes: int
    total: Resources
    may_idle_gpus: bool


def offerings_for(market: Market, filling: Filling, policy: Policy) -> tuple[Offering, ...]:
    """Every pool that holds the whole filling and serves each of its sessions, cheapest first.

    At most ``policy.max_offerings``, none dearer than ``policy.price_factor`` times the cheapest.
    """
    load = _load(market, filling)
    holders = [entry for entry in market.entries if _holds(market, entry, load)]
    cheapest = (next(_serving(market, entry, load), None) for entry in holders)
    prices = [pool.usd_per_hour_micro for pool in cheapest if pool is not None]
    limit = int(min(prices) * policy.price_factor)
    listed = [
        pool
        for entry in holders
        for pool in _serving(market, entry, load)
        if pool.usd_per_hour_micro <= limit
    ]
    return tuple(sorted(listed, key=by_price)[: policy.max_offerings])


def _load(market: Market, filling: Filling) -> _Load:
    total = Resources()
    for shape, count in zip(market.shapes, filling, strict=True):
        total = total + times(shape.size, count)
    present = [i for i, count in enumerate(filling) if count]
    may_idle_gpus = all(not market.shapes[i].cpu_only or market.stranded[i] for i in present)
    return _Load(sum(1 << i for i in present), total, may_idle_gpus)


def _holds(market: Market, entry: Entry, load: _Load) -> bool:
    if market.matcher.type_mask(entry) & load.shapes != load.shapes:
        return False
    all_busy = entry.room.gpus <= load.total.gpus
    return load.total.fits_in(entry.room) and (load.may_idle_gpus or all_busy)


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
