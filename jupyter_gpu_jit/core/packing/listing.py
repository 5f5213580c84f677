"""All offerings that would serve a filling, so that a launch finds capacity where there is some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..model import Offering, PlannedClaim, Resources
from .fillings import Bin, Filling, Market
from .market import Entry, by_price
from .policy import Policy
from .shapes import times


@dataclass(frozen=True, slots=True)
class _Load:
    """A filling as one thing to hold: which shapes, how much, any CPU-only ones."""

    present: list[int]
    shapes: int
    sessions: int
    total: Resources
    has_cpu_only: bool
    layout: str
    uses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    """A pool that would do, and what the node costs there in all."""

    cost: int
    pool: Offering
    gpus: int


def offerings_for(
    market: Market, filling: Filling, policy: Policy, bin_: Bin
) -> tuple[Offering, ...]:
    """Every pool that holds the whole filling and serves each of its sessions, cheapest first.

    Only types that can have the layout of the bin, as a launch has one for all, and pools that
    take no more of any limit. At most ``policy.max_offerings``, none that costs more than
    ``policy.price_factor`` times the cheapest, and where CPU-only sessions ride along none that
    leaves more GPUs idle than the cheapest.
    """
    load = _load(market, filling, bin_)
    choices = _affordable(market, load, policy.price_factor)
    best = min(choices, key=lambda choice: (choice.cost, choice.gpus))
    limit = int(best.cost * policy.price_factor)
    gpus = max(best.gpus, load.total.gpus)
    listed = [
        choice
        for choice in choices
        if choice.cost <= limit and (not load.has_cpu_only or choice.gpus <= gpus)
    ]
    listed.sort(key=lambda choice: (choice.cost, by_price(choice.pool)))
    return tuple(choice.pool for choice in listed[: policy.max_offerings])


def nearest(market: Market, filling: Filling, bin_: Bin, price_factor: float) -> list[Offering]:
    """Pools that would do and take no more of any limit, within the factor, cheapest first."""
    choices = _affordable(market, _load(market, filling, bin_), price_factor)
    return [choice.pool for choice in sorted(choices, key=lambda c: (c.cost, by_price(c.pool)))]


def _affordable(market: Market, load: _Load, price_factor: float) -> list[_Choice]:
    """Pools that hold the load; of types whose cheapest pool is within the factor of the best."""
    costs = market.limits.rules.costs
    choices: list[_Choice] = []
    limit = float("inf")
    for entry in market.shelf.holding(load.total, load.present):
        if entry.pools[0].usd_per_hour_micro > limit:
            break
        if entry.layout == load.layout:
            for pool in _serving(market, entry, load):
                cost = costs.together(pool, load.sessions)
                limit = min(limit, cost * price_factor)
                choices.append(_Choice(cost, pool, entry.room.gpus))
    return choices


def _load(market: Market, filling: Filling, bin_: Bin) -> _Load:
    present = [i for i, count in enumerate(filling) if count]
    total = Resources()
    for i in present:
        total = total + times(market.shapes[i].size, filling[i])
    has_cpu_only = any(market.shapes[i].cpu_only for i in present)
    return _Load(
        present=present,
        shapes=sum(1 << i for i in present),
        sessions=sum(filling),
        total=total,
        has_cpu_only=has_cpu_only,
        layout=bin_.entry.layout,
        uses=bin_.uses,
    )


def _serving(market: Market, entry: Entry, load: _Load) -> Iterator[Offering]:
    for pool in entry.pools:
        serves = market.matcher.pool_mask(entry, pool) & load.shapes == load.shapes
        if serves and _spares(market, entry, pool, load):
            yield pool


def _spares(market: Market, entry: Entry, pool: Offering, load: _Load) -> bool:
    """Whether the pool takes no more of any limit than was reckoned with."""
    uses = market.limits.rules.uses(entry.type, pool)
    return all(used <= planned for used, planned in zip(uses, load.uses, strict=True))


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
        slack -= max(o.usd_per_hour_micro for o in listed) - cheapest
        kept.append(replace(claim, offerings=tuple(listed)))
    return tuple(kept)
