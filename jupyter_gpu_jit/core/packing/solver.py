"""From a snapshot to a plan: seats that exist, then new nodes, then reasons for the rest.

Pure: equal snapshots, in whatever order their parts come, give equal plans.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np

from ..model import LaunchTerms, Offering, Placement, Plan, PlannedClaim, SessionRequest, Snapshot
from ..pricing import total_usd_per_hour_micro
from .company import in_company
from .engine import FIRST_STEPS, Answer, pack
from .explain import SEAT_MAY_FREE, Explanation, explained, held_back, over_budget
from .fillings import Market, open_market
from .groups import with_groups
from .limits import is_limited, limits_of, why_limited
from .listing import offerings_for, within
from .market import Entry, entries, is_stranded
from .memory import recalled, remembered
from .policy import DEFAULT, EMPTY, Policy, Warm
from .problem import Ints, Load, Problem
from .seats import Seating, with_rates
from .served import Served
from .shapes import group, in_order
from .solution import Solution, with_refusals
from .spread import Ledger, Spread, Standing, by_profile
from .spreading import Pools, Rent, Spreading
from .sunk import bound_with_seats, seats_matter

NEW = "New"


def solve(
    snapshot: Snapshot,
    policy: Policy = DEFAULT,
    *,
    warm: Warm = EMPTY,
    steps: int = FIRST_STEPS,
) -> Plan:
    """Place every waiting session or say why not; ``usd_per_hour_micro`` is of new nodes only.

    One step is one round of column generation. 0 steps: the greedy plan, exact for up to 20
    sessions; the default: what a waiting user can afford; ``SETTLE_STEPS``: until nothing is left
    to find, with a thorough certificate. ``warm`` takes the patterns of an earlier plan.
    """
    eligible = entries(snapshot.instance_types, policy)
    return work_out(snapshot, policy, eligible, warm=warm, steps=steps).plan


def work_out(
    snapshot: Snapshot,
    policy: Policy,
    eligible: tuple[Entry, ...],
    *,
    warm: Warm = EMPTY,
    steps: int = FIRST_STEPS,
) -> Solution:
    """The same with the eligible types at hand, for callers who solve often (quotes)."""
    held = {s.uid: held_back(s.waits_for) for s in snapshot.waiting if s.waits_for}
    if held:
        snapshot = replace(snapshot, waiting=tuple(s for s in snapshot.waiting if not s.waits_for))
    snapshot = replace(snapshot, seats=with_rates(snapshot.seats, policy))
    found = with_groups(
        snapshot,
        lambda each: _work_out(each, policy, eligible, warm=warm, steps=steps),
        policy.node_costs,
    )
    return with_refusals(found, held) if held else found


def _work_out(
    snapshot: Snapshot,
    policy: Policy,
    eligible: tuple[Entry, ...],
    *,
    warm: Warm,
    steps: int,
) -> Solution:
    waiting = in_company(snapshot.waiting)
    sessions = in_order(by_profile(waiting) if policy.spreads else waiting)
    shapes = group(sessions)
    seating = Seating(snapshot.seats, shapes, lambda shape: is_stranded(shape, eligible))
    left = seating.fill(sessions)
    if not left:
        return Solution(
            Plan(placements=_sorted(seating.placements), proven=True, patterns=warm.patterns)
        )
    limits = limits_of(snapshot, policy.node_costs, eligible)
    market = open_market(eligible, shapes, limits)
    buying = _Buying(snapshot, policy, eligible, market, seating.served, warm=warm, steps=steps)
    return buying.solution(seating, left)


class OneByOne:
    """Each of these sessions as if it alone came next, by the same steps; for quotes.

    Solutions have no bound. What does not depend on the session is done once.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        policy: Policy,
        eligible: tuple[Entry, ...],
        sessions: Sequence[SessionRequest],
    ) -> None:
        snapshot = replace(snapshot, waiting=(), seats=with_rates(snapshot.seats, policy))
        shapes = group(in_order(sessions))
        self.seating = Seating(snapshot.seats, shapes, lambda shape: is_stranded(shape, eligible))
        limits = limits_of(snapshot, policy.node_costs, eligible)
        market = open_market(eligible, shapes, limits)
        self._buying = _Buying(
            snapshot, policy, eligible, market, self.seating.served, warm=EMPTY, steps=0
        )

    def solution(self, session: SessionRequest) -> Solution:
        """A seat, a claim or a reason."""
        found = self.seating.first(session)
        if found is not None:
            return Solution(Plan(placements=(found,)))
        _, claims, reasons, _ = self._buying.bought({session.uid})
        return Solution(Plan(claims=claims), reasons)


def _sorted(placements: Sequence[Placement]) -> tuple[Placement, ...]:
    return tuple(sorted(placements, key=lambda p: p.session))


def _budget(snapshot: Snapshot) -> int | None:
    """What the cap leaves for new nodes; None when there is no cap."""
    if snapshot.max_usd_per_hour_micro is None:
        return None
    return snapshot.max_usd_per_hour_micro - sum(s.usd_per_hour_micro for s in snapshot.seats)


def _take(wanted: Iterable[tuple[list[str], int]]) -> list[str]:
    """The next sessions in line, so many of each queue, removed from there."""
    taken: list[str] = []
    for queue, count in wanted:
        taken += queue[:count]
        del queue[:count]
    return taken


Listed = tuple[Offering, ...]
_Bought = tuple[Answer, tuple[PlannedClaim, ...], dict[str, Explanation], tuple[str, ...]]


@dataclass
class _Buying:
    """The second half of a solve: nodes for whom no seat exists."""

    snapshot: Snapshot
    policy: Policy
    eligible: tuple[Entry, ...]
    market: Market
    served: Served
    warm: Warm
    steps: int
    queues: list[list[str]] = field(default_factory=list)
    _pools: tuple[Spread, tuple[Pools, ...]] | None = None
    _rent: Rent | None = None
    _freely: tuple[Market, Answer] | None = None

    @cached_property
    def standing(self) -> Standing:
        """Who is where; asked for once by all quotes."""
        return Standing(self.snapshot.seats, self.policy)

    def solution(self, seating: Seating, left: Sequence[SessionRequest]) -> Solution:
        waiting = {session.uid for session in left}
        packed, claims, reasons, notes = self.bought(waiting, seating.placements)
        placed = [Placement(session=u, place=c.key, reason=NEW) for c in claims for u in c.sessions]
        price = total_usd_per_hour_micro(c.offerings[0] for c in claims)
        cost = self._cost(claims)
        bound = min(self._bound(packed), cost)
        plan = Plan(
            placements=_sorted([*seating.placements, *placed]),
            claims=claims,
            refused=tuple(reasons[uid].refusal(uid) for uid in sorted(reasons)),
            usd_per_hour_micro=price,
            extra_usd_per_hour_micro=cost - price,
            lower_bound_usd_per_hour_micro=bound,
            proven=bound == cost,
            patterns=remembered(self.market, packed.patterns),
            notes=(*packed.notes, *notes),
        )
        return Solution(plan, reasons)

    def bought(self, waiting: Container[str], seated: Sequence[Placement] = ()) -> _Bought:
        """New nodes for those, and why the others get none."""
        self.queues = [
            [s.uid for s in shape.sessions if s.uid in waiting] for shape in self.market.shapes
        ]
        budget = _budget(self.snapshot)
        packed, notes = self._spread_out(self._packed(budget), budget, seated)
        claims = within(self._claims(packed), budget)
        return packed, claims, self._reasons(budget, packed), notes

    def _packed(self, budget: int | None) -> Answer:
        hints = recalled(self.market, self.warm.patterns)
        return pack(self._problem(budget), hints=hints, steps=self.steps)

    def _problem(self, budget: int | None) -> Problem:
        return self.market.problem([len(queue) for queue in self.queues], budget)

    def _cost(self, claims: Sequence[PlannedClaim]) -> int:
        """What the nodes cost with all that comes on top of their price."""
        costs = self.policy.node_costs
        return sum(costs.together(c.offerings[0], len(c.sessions)) for c in claims)

    def _spread_out(
        self, packed: Answer, budget: int | None, seated: Sequence[Placement]
    ) -> tuple[Answer, tuple[str, ...]]:
        """The plan with no more of a profile in one pool or zone than the policy says."""
        if not self.policy.spreads:
            return packed, ()
        problem = self._problem(budget)
        bought = (problem.demand - np.array(packed.unserved, dtype=np.int64)).tolist()
        shapes = self.market.shapes
        spread = Spread(shapes, self.standing.with_seated(shapes, seated), bought)
        order = Spreading(self.eligible, self.market, problem, self.policy, spread, self.steps)
        self._freely = (self.market, packed)
        found = order.of(packed)
        self.market, self._pools, self._rent = found.market, (spread, found.pools), found.rent
        return found.plan, found.notes

    def _offerings(self, load: Load) -> tuple[Offering, ...]:
        bin_ = self.market.bins[load.bin]
        return offerings_for(self.market, load.counts, self.policy, bin_)

    def _claims(self, packed: Answer) -> list[PlannedClaim]:
        claims: list[PlannedClaim] = []
        for load, listed in self._lists(packed):
            layout = self.market.bins[load.bin].entry.layout
            present = zip(self.market.shapes, load.counts, strict=True)
            terms = LaunchTerms(efa=any(shape.needs.efa for shape, n in present if n))
            wanted = [(q, n) for q, n in zip(self.queues, load.counts, strict=True) if n]
            for offerings, nodes in listed:
                for _ in range(nodes):
                    claim = PlannedClaim(
                        key=f"new-{len(claims) + 1}",
                        offerings=offerings,
                        sessions=tuple(_take(wanted)),
                        layout=layout,
                        terms=terms,
                    )
                    claims.append(claim)
        return claims

    def _lists(self, packed: Answer) -> Iterator[tuple[Load, list[tuple[Listed, int]]]]:
        """What the nodes of each load list, and how many."""
        if self._pools is None:
            yield from ((load, [(self._offerings(load), load.repeat)]) for load in packed.loads)
            return
        spread, pools = self._pools
        ledger, held = Ledger(spread), [spread.profiles(load.counts) for load in packed.loads]
        for counts, those in zip(held, pools, strict=True):
            for pool, nodes in those:
                ledger.take(spread.rows(pool), counts, nodes)
        for load, counts, those in zip(packed.loads, held, pools, strict=True):
            others = self._offerings(load)
            yield load, [(ledger.lists(p, others, counts, n), n) for p, n in those]

    def _reasons(self, budget: int | None, packed: Answer) -> dict[str, Explanation]:
        """Why each session still in a queue is there; sessions of a shape share one reason."""
        left = None if budget is None else budget - packed.cost
        bought = self.market.bought(packed.loads)
        reasons: dict[str, Explanation] = {}
        for i, queue in enumerate(self.queues):
            if queue:
                reasons.update(dict.fromkeys(queue, self._why(i, left, bought)))
        return reasons

    def _why(self, index: int, money_left: int | None, bought: Ints) -> Explanation:
        shape, cap = self.market.shapes[index], self.snapshot.max_usd_per_hour_micro
        prices = [b.price + b.risk for b in self.market.bins if b.mask >> index & 1]
        uses = self.market.uses[self.market.serves[:, index]]
        if prices and (money_left is None or is_limited(self.market.limits, uses, bought)):
            return why_limited(self.market.limits, uses, bought)
        if prices and cap is not None and money_left is not None:
            return over_budget(min(prices), money_left, cap)
        why = explained(self.market.entries, shape)
        if any(
            shape.size.fits_in(seat.total) and self.served.serves(index, seat)
            for seat in self.snapshot.seats
        ):
            return replace(why, temporary=True, alternative=why.alternative or SEAT_MAY_FREE)
        return why

    def _bound(self, packed: Answer) -> int:
        """Least cost of new nodes that seats those with a place, wherever they might sit."""
        placed = [
            len(shape.sessions) - len(queue)
            for shape, queue in zip(self.market.shapes, self.queues, strict=True)
        ]
        seats = self.snapshot.seats
        if self._freely is None or self._rent is None:
            return bound_with_seats(self.market, placed, seats, self.served, packed)
        market, freely = self._freely
        least = bound_with_seats(market, placed, seats, self.served, freely)
        if not seats_matter(market, placed, seats, self.served):
            return max(least, packed.lower_bound)
        # In another plan others may have the seats, so that more new nodes may be somewhere.
        rent, loose = self._rent, Spread(self.market.shapes, self.standing, placed)
        priced = partial(rent.on, spread=loose)
        spread = bound_with_seats(self.market, placed, seats, self.served, packed, priced=priced)
        return max(least, spread - rent.worth(loose))
