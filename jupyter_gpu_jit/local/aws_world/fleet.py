"""Which pools a fleet request gets its instances from. Pure; called by ``launch``.

The order within a strategy is AWS's as far as it is published; how depth and price are weighed
against each other is ours (docs/aws-world.md). A request for one zone, one type or a least
count is tried group by group and given back when the group is too small.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import AwsError
from .market import Market, PoolKey

Json = dict[str, Any]
SPOT_STRATEGIES = (
    "lowest-price",
    "diversified",
    "capacity-optimized",
    "capacity-optimized-prioritized",
    "price-capacity-optimized",
)
ON_DEMAND_STRATEGIES = ("lowest-price", "prioritized")
DEEP_SHARE = 0.5
"""Pools at least this deep, against the deepest, count as equally deep [assumed]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One override of a fleet request, resolved to a pool; ``problem`` is a code or "".

    ``launch`` is what the instance is made from: template and override together.
    """

    order: int
    pool: PoolKey
    subnet_id: str
    price_micro: int
    launch: Json = field(hash=False)
    echo: Json = field(hash=False)
    weight: float = 1.0
    priority: float = math.inf
    problem: str = ""
    explanation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How many units of one capacity type, and how to choose."""

    capacity_type: str
    units: float
    strategy: str
    least: int = 0
    single_type: bool = False
    single_zone: bool = False


@dataclass(slots=True)
class Outcome:
    """What was taken from the market, and the reasons for what was not."""

    taken: list[tuple[Candidate, int]] = field(default_factory=list)
    refused: list[tuple[Candidate, str]] = field(default_factory=list)

    @property
    def units(self) -> float:
        """What was taken, by weight."""
        return sum(candidate.weight * count for candidate, count in self.taken)


Room = Callable[[Candidate], int]
"""How many instances a candidate's subnet still has addresses for."""


def fulfil(wish: Wish, candidates: Sequence[Candidate], market: Market, room: Room) -> Outcome:
    """Take from the market what the wish gets. Raises AwsError for an unknown strategy."""
    ranked = rank(wish, candidates, market)
    best = Outcome()
    refused: list[tuple[Candidate, str]] = []
    for group in _groups(wish, ranked):
        outcome = _take(wish, group, market, room)
        refused += outcome.refused
        if outcome.units >= wish.units or _better(outcome, best, wish):
            _give_back(best, market)
            best = outcome
        else:
            _give_back(outcome, market)
        if best.units >= wish.units:
            break
    return Outcome(best.taken, refused)


def rank(wish: Wish, candidates: Iterable[Candidate], market: Market) -> list[Candidate]:
    """The candidates in the order the strategy tries them; broken ones last."""
    known = SPOT_STRATEGIES if wish.capacity_type == "spot" else ON_DEMAND_STRATEGIES
    if wish.strategy not in known:
        raise AwsError(
            "InvalidParameterValue",
            f"Value ({wish.strategy}) for parameter AllocationStrategy is invalid.",
        )
    listed = list(candidates)
    depth = {c.order: _depth(c, market) for c in listed}
    deepest = max(depth.values(), default=0)

    def shallow(candidate: Candidate) -> int:
        deep = depth[candidate.order]
        return 2 if deep <= 0 else int(deep < DEEP_SHARE * deepest)

    keys: dict[str, Callable[[Candidate], tuple[float, ...]]] = {
        "lowest-price": lambda c: (c.price_micro / c.weight,),
        "diversified": lambda c: (c.order,),
        "prioritized": lambda c: (c.priority, c.price_micro / c.weight),
        "capacity-optimized": lambda c: (-depth[c.order],),
        "capacity-optimized-prioritized": lambda c: (shallow(c), c.priority),
        "price-capacity-optimized": lambda c: (shallow(c), c.price_micro / c.weight),
    }
    key = keys[wish.strategy]
    return sorted(listed, key=lambda c: (bool(c.problem), *key(c), c.order))


def _depth(candidate: Candidate, market: Market) -> int:
    return 0 if candidate.problem else market.pool(candidate.pool).room


def _groups(wish: Wish, ranked: Sequence[Candidate]) -> list[list[Candidate]]:
    """Candidates that may share a fleet; groups in the order of their best member."""
    groups: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for candidate in ranked:
        zone, instance_type, _ = candidate.pool
        same = (zone if wish.single_zone else "", instance_type if wish.single_type else "")
        groups[same].append(candidate)
    return list(groups.values())


def _take(wish: Wish, group: Sequence[Candidate], market: Market, room: Room) -> Outcome:
    outcome = Outcome()
    rounds = _shares(wish, group) if wish.strategy == "diversified" else [math.inf, math.inf]
    for most in rounds:
        for candidate in group:
            _take_from(candidate, min(wish.units - outcome.units, most), outcome, market, room)
    return outcome


def _shares(wish: Wish, group: Sequence[Candidate]) -> list[float]:
    """First an equal share each, then whatever is left to anybody."""
    return [math.ceil(wish.units / max(len(group), 1)), math.inf]


def _take_from(
    candidate: Candidate, units: float, outcome: Outcome, market: Market, room: Room
) -> None:
    already = any(refused is candidate for refused, _ in outcome.refused)
    if units <= 0 or already:
        return
    wanted = math.ceil(units / candidate.weight)
    given, code = _given(candidate, wanted, outcome, market, room)
    if given:
        outcome.taken.append((candidate, given))
    if given < wanted:
        outcome.refused.append((candidate, code))


def _given(
    candidate: Candidate, wanted: int, outcome: Outcome, market: Market, room: Room
) -> tuple[int, str]:
    if candidate.problem:
        return 0, candidate.problem
    in_subnet = sum(n for c, n in outcome.taken if c.subnet_id == candidate.subnet_id)
    fits = max(min(wanted, room(candidate) - in_subnet), 0)
    given, code = market.take(candidate.pool, fits)
    return given, code or "InsufficientFreeAddressesInSubnet"


def _better(outcome: Outcome, best: Outcome, wish: Wish) -> bool:
    return outcome.units >= max(wish.least, 1) and outcome.units > best.units


def _give_back(outcome: Outcome, market: Market) -> None:
    for candidate, count in outcome.taken:
        market.give_back(candidate.pool, count)
