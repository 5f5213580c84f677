"""A plan that crowds Spot pools is made again with parts for them, unless somebody would lose.

Called by the solver with the plan that needs no such limits. Which pools get limits is found step
by step: those that the plan crowds, and the next that it would turn to. Nobody is refused for it,
and where it is too dear, profiles that sit on one node stay there, or all stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..model import Offering
from ..requirements import CapacityType
from .diving import FEW
from .engine import SETTLING, Answer
from .fillings import Market, open_market
from .listing import nearest
from .market import Entry
from .memory import recalled, remembered
from .parts import Parts, parted
from .policy import Policy
from .problem import UNLIMITED, Ints, Load, Problem
from .spread import Held, Ledger, Part, Spread, named

NOT_SPREAD = (
    "More of a profile's sessions are in one Spot pool or zone than the policy wishes: no other "
    "serves all"
)
TOO_DEAR = (
    "More of a profile's sessions are in one Spot pool or zone than the policy wishes: to spread "
    "them would cost too much"
)
# How often pools are added at most; before that nodes stay in crowded ones only so often, for a
# first answer, for a thorough one, for a few sessions.
_MOST_LIMITS = 6
_LIMITS, _MORE_LIMITS, _FEW_LIMITS = 1, 3, 6
# For how many nodes alternatives are looked at.
_LOOKED_AT = 8
# Pools that are that many times dearer are not what a plan turns to next, nor in the end.
_NEAR, _FAR = 1.5, 4.0

Pools = tuple[tuple[Offering, int], ...]
"""Where nodes of one load are, and how many."""


@dataclass(frozen=True, slots=True, eq=False)
class Rent:
    """Prices on sessions in parts."""

    parts: Sequence[Part]
    sides: Parts
    prices: Ints

    def on(self, problem: Problem, spread: Spread) -> Problem:
        """The problem with the prices and without what may be nowhere; for the market's bins."""
        most = [
            min(spread.most(part.profile, kind) for kind in spread.shares) for part in self.parts
        ]
        caps = np.minimum(self.sides.caps, UNLIMITED)
        caps = np.where(caps < UNLIMITED, np.array(most, dtype=np.int64)[:, None], caps)
        sides = replace(self.sides, limits=self._free(spread), caps=caps)
        return sides.capped(sides.priced(problem, self.prices))

    def worth(self, spread: Spread) -> int:
        """What all that may be in the parts is worth."""
        return int(self.prices @ self._free(spread))

    def _free(self, spread: Spread) -> Ints:
        free = [spread.free(part.profile, part.row) for part in self.parts]
        return np.array(free, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Spreaded:
    """A plan, the market it is of, the pools of each load, and what an admin should know.

    ``rent`` is what the parts in it add to the cost of sessions, at the prices of its bound.
    """

    market: Market
    plan: Answer
    pools: tuple[Pools, ...]
    rent: Rent | None = None
    notes: tuple[str, ...] = ()


def _own_pools(market: Market, plan: Answer) -> tuple[Pools, ...]:
    return tuple(((market.bins[load.bin].pool, load.repeat),) for load in plan.loads)


@dataclass(frozen=True, slots=True)
class Spreading:
    """What is known of an order for new nodes before it is spread."""

    eligible: tuple[Entry, ...]
    market: Market
    problem: Problem
    policy: Policy
    spread: Spread
    steps: int

    def of(self, packed: Answer) -> Spreaded:
        """The plan spread out, if it needs to be and can be."""
        as_it_is = _own_pools(self.market, packed)
        if not self._crowded(self.market, packed):
            return Spreaded(self.market, packed, as_it_is)
        note = NOT_SPREAD
        for skipped in self._skips(packed):
            found = self._without(packed, skipped)
            if found is not None and self._is_worth_it(packed, found):
                return replace(found, notes=(note,)) if skipped else found
            note = TOO_DEAR if found is not None else note
        return Spreaded(self.market, packed, as_it_is, notes=(note,))

    def _is_worth_it(self, packed: Answer, found: Spreaded) -> bool:
        return self._cost(found) <= packed.cost * self.policy.spread_price_factor

    def _cost(self, found: Spreaded) -> int:
        costs = self.policy.node_costs
        return sum(
            costs.together(pool, sum(load.counts)) * nodes
            for load, pools in zip(found.plan.loads, found.pools, strict=True)
            for pool, nodes in pools
        )

    def _skips(self, packed: Answer) -> Iterator[frozenset[str]]:
        """Profiles to leave as they are: none, else those that all sit on one node."""
        yield frozenset()
        nodes = [(self.spread.profiles(load.counts), load.repeat) for load in packed.loads]
        count = {profile: 0 for held, _ in nodes for profile in held}
        for held, repeat in nodes:
            for profile in held:
                count[profile] += repeat
        on_one = frozenset(profile for profile, number in count.items() if number == 1)
        if on_one and len(on_one) < len(count):
            yield on_one

    def _without(self, packed: Answer, skipped: Collection[str]) -> Spreaded | None:
        """The cheapest plan found in which no profile but these is crowded anywhere.

        Few sessions are planned again until nothing is crowded; of many the last nodes that are
        go to other pools as they are.
        """
        parts: set[Part] = set()
        market, plan, rent = self.market, packed, None
        for attempt in range(_MOST_LIMITS):
            more = {p for p in self._crowded(market, plan) if p.profile not in skipped} - parts
            if not more:
                return Spreaded(market, plan, _own_pools(market, plan), rent)
            parts |= more
            hints = remembered(market, plan.patterns)
            found = self._parted(named(parts), packed, hints)
            if found is None:
                return None
            market, plan, rent = found
            moved = self._moved(market, plan, skipped) if attempt + 1 >= self._enough else None
            if moved is not None:
                return replace(moved, rent=rent)
        return None

    @property
    def _enough(self) -> int:
        """After how many attempts the last nodes may go to other pools."""
        if int(self.problem.demand.sum()) <= FEW:
            return _FEW_LIMITS
        return _MORE_LIMITS if self.steps >= SETTLING else _LIMITS

    def _moved(self, market: Market, plan: Answer, skipped: Collection[str]) -> Spreaded | None:
        """The same nodes in other pools where theirs are crowded; None if there are none."""
        ledger, own, away = Ledger(self.spread), [], []
        held = [self._spread_of(load, skipped) for load in plan.loads]
        for load, counts in zip(plan.loads, held, strict=True):
            pool = market.bins[load.bin].pool
            nodes = ledger.holds(pool, counts, load.repeat)
            ledger.take(self.spread.rows(pool), counts, nodes)
            own.append((pool, nodes))
            away.append(load.repeat - nodes)
        pools: list[Pools] = []
        for load, counts, at_home, left in zip(plan.loads, held, own, away, strict=True):
            others = self._placed(market, load, counts, ledger, left) if left else ()
            if left and sum(nodes for _, nodes in others) < left:
                return None
            pools.append(tuple(each for each in (at_home, *others) if each[1]))
        found = Spreaded(market, plan, tuple(pools))
        cost, budget = self._cost(found), self.problem.budget
        if budget is not None and cost > budget:
            return None
        return replace(found, plan=replace(plan, cost=cost, proven=cost == plan.lower_bound))

    def _placed(
        self, market: Market, load: Load, counts: Mapping[str, int], ledger: Ledger, left: int
    ) -> Pools:
        """Nodes in the next cheapest pools that have room for them."""
        found: list[tuple[Offering, int]] = []
        for pool in self._others(market, load, _FAR):
            nodes = ledger.holds(pool, counts, left)
            if nodes:
                ledger.take(self.spread.rows(pool), counts, nodes)
                found.append((pool, nodes))
                left -= nodes
        return tuple(found)

    def _spread_of(self, load: Load, skipped: Collection[str]) -> dict[str, int]:
        held = self.spread.profiles(load.counts)
        return {profile: count for profile, count in held.items() if profile not in skipped}

    def _others(self, market: Market, load: Load, price_factor: float) -> list[Offering]:
        """Pools that take no more of any limit but parts."""
        bin_, hard = market.bins[load.bin], len(self.market.limits.free)
        uses = (*bin_.uses[:hard], *(UNLIMITED for _ in bin_.uses[hard:]))
        return nearest(market, load.counts, replace(bin_, uses=uses), price_factor)

    def _crowded(self, market: Market, plan: Answer) -> set[Part]:
        held = [self._held(market, load) for load in plan.loads]
        if not self.spread.crowded(held, ()):
            return set()
        return self.spread.crowded(held, self._near(market, plan.loads))

    def _held(self, market: Market, load: Load) -> Held:
        counts = self.spread.profiles([load.repeat * count for count in load.counts])
        return market.bins[load.bin].pool, counts

    def _near(self, market: Market, loads: Sequence[Load]) -> Iterator[Held]:
        """Pools that would do for the fullest nodes."""
        many = 1 + math.ceil(1 / min(self.spread.shares.values()))
        for load in sorted(loads, key=lambda load: -load.repeat)[:_LOOKED_AT]:
            pools = self._others(market, load, _NEAR)
            counts = self.spread.profiles(load.counts)
            yield from ((pool, counts) for pool in pools[:many])

    def _parted(
        self, parts: Sequence[Part], packed: Answer, hints: tuple[object, ...]
    ) -> tuple[Market, Answer, Rent] | None:
        rows = sorted({part.row for part in parts}, key=lambda row: (row.kind, row.name, row.zone))
        first = len(self.market.limits.free)
        limits = self.market.limits.and_also((row, UNLIMITED) for row in rows)
        market = open_market(self.eligible, self.market.shapes, limits)
        within = market.uses[:, first:] > 0
        sides = Parts(
            bins=np.array([within[:, rows.index(part.row)] for part in parts]),
            shapes=np.array([self._shapes_of(part.profile) for part in parts]),
            limits=np.array([part.free for part in parts], dtype=np.int64),
            caps=np.array([self._caps(part.profile, market) for part in parts], dtype=np.int64),
        )
        found = parted(
            self._problem(market, first, packed),
            sides,
            [each.entry.key for each in market.bins],
            recalled(market, hints),
            steps=self.steps,
        )
        if found is None:
            return None
        rent = Rent(parts, sides, found.prices)
        return market, replace(found, unserved=packed.unserved), rent

    def _caps(self, profile: str, market: Market) -> list[int]:
        """What no node may have more of, as its pool may not."""
        most = min((self.spread.most(profile, kind) for kind in self.spread.shares), default=0)
        return [
            UNLIMITED if bin_.pool.capacity_type is CapacityType.ON_DEMAND else most
            for bin_ in market.bins
        ]

    def _shapes_of(self, profile: str) -> list[bool]:
        return [names == (profile,) for names in self.spread.of_shape]

    def _problem(self, market: Market, rows: int, packed: Answer) -> Problem:
        """For those who are served, in that market; what its last rows say is said by parts."""
        demand = self.problem.demand - np.array(packed.unserved, dtype=np.int64)
        asked = market.problem(demand.tolist(), self.problem.budget)
        return replace(asked, rows=asked.rows[:rows], row_limits=asked.row_limits[:rows])
