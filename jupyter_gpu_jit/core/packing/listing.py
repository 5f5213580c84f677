"""All offerings that would serve a filling, so that a launch finds capacity where there is some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from operator import add

from ..model import Offering, PlannedClaim, Resources
from .fillings import Filling, Market
from .market import Entry, by_price
from .policy import Policy
from .shapes import times


def offerings_for(market: Market, filling: Filling, policy: Policy) -> tuple[Offering, ...]:
    """Every pool that holds the whole filling and serves each of its sessions, cheapest first.

    At most ``policy.max_offerings``, none dearer than ``policy.price_factor`` times the cheapest.
    """
    holders = [entry for entry in market.entries if _holds(market, entry, filling)]
    mask = _mask(filling)
    cheapest = (next(_serving(market, entry, mask), None) for entry in holders)
    prices = [pool.usd_per_hour_micro for pool in cheapest if pool is not None]
    limit = int(min(prices) * policy.price_factor)
    listed = [
        pool
        for entry in holders
        for pool in _serving(market, entry, mask)
        if pool.usd_per_hour_micro <= limit
    ]
    return tuple(sorted(listed, key=by_price)[: policy.max_offerings])


def _mask(filling: Filling) -> int:
    return sum(1 << i for i, count in enumerate(filling) if count)


def _serving(market: Market, entry: Entry, mask: int) -> Iterator[Offering]:
    for pool in entry.pools:
        if market.matcher.pool_mask(entry, pool) & mask == mask:
            yield pool


def _holds(market: Market, entry: Entry, filling: Filling) -> bool:
    mask, total = _mask(filling), _total(market, filling)
    if market.matcher.type_mask(entry) & mask != mask or not total.fits_in(entry.room):
        return False
    idle = total.gpus == 0 and entry.room.gpus > 0
    return not idle or all(alone for n, alone in zip(filling, market.stranded, strict=True) if n)


def _total(market: Market, filling: Filling) -> Resources:
    sizes = (times(s.size, n) for s, n in zip(market.shapes, filling, strict=True))
    return reduce(add, sizes, Resources())


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
