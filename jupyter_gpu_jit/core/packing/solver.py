"""From a snapshot to a plan: seats that exist, then new nodes, then reasons for the rest.

Pure: equal snapshots, in whatever order their parts come, give equal plans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..model import Placement, Plan, PlannedClaim, SessionRequest, Snapshot
from ..pricing import total_usd_per_hour_micro
from .bound import lower_bound
from .explain import SEAT_MAY_FREE, Explanation, explain, over_budget
from .fillings import Buyer, Filling, Market, Purchase, open_market
from .listing import offerings_for, within
from .market import Entry, entries, is_stranded
from .policy import DEFAULT, EMPTY, Policy, Warm
from .seats import Seating, serves
from .shapes import group, in_order

NEW = "New"


def solve(
    snapshot: Snapshot, policy: Policy = DEFAULT, *, warm: Warm = EMPTY, steps: int = 0
) -> Plan:
    """Place every waiting session or say why not; ``usd_per_hour_micro`` is of new nodes only.

    ``warm`` and ``steps`` are for improving on the first answer; this planner's first answer is
    its only one, so they change nothing.
    """
    return work_out(snapshot, policy, entries(snapshot.instance_types, policy)).plan


@dataclass(frozen=True, slots=True)
class Solution:
    """A plan, with the reason of each refusal in parts, by session uid."""

    plan: Plan
    reasons: Mapping[str, Explanation] = field(default_factory=dict)


def work_out(snapshot: Snapshot, policy: Policy, eligible: tuple[Entry, ...]) -> Solution:
    """The same with the eligible types at hand, for callers who solve often (quotes)."""
    sessions = in_order(snapshot.waiting)
    shapes = group(sessions)
    seating = Seating(snapshot.seats, shapes, lambda shape: is_stranded(shape, eligible))
    left = seating.fill(sessions)
    if not left:
        return Solution(Plan(placements=_sorted(seating.placements)))
    return _Buying(snapshot, policy, open_market(eligible, shapes)).solution(seating, left)


def _sorted(placements: Sequence[Placement]) -> tuple[Placement, ...]:
    return tuple(sorted(placements, key=lambda p: p.session))


def _budget(snapshot: Snapshot) -> int | None:
    """What the cap leaves for new nodes; None when there is no cap."""
    if snapshot.max_usd_per_hour_micro is None:
        return None
    return snapshot.max_usd_per_hour_micro - sum(s.usd_per_hour_micro for s in snapshot.seats)


def _unserved_and_price(bought: tuple[Buyer, list[Purchase]]) -> tuple[int, int]:
    buyer, purchases = bought
    return (sum(buyer.demand), sum(p.bin.price * p.repeat for p in purchases))


@dataclass
class _Buying:
    """The second half of a solve: nodes for whom no seat exists."""

    snapshot: Snapshot
    policy: Policy
    market: Market
    queues: list[list[str]] = field(default_factory=list)

    def solution(self, seating: Seating, left: Sequence[SessionRequest]) -> Solution:
        waiting = {session.uid for session in left}
        self.queues = [
            [s.uid for s in shape.sessions if s.uid in waiting] for shape in self.market.shapes
        ]
        budget = _budget(self.snapshot)
        buyer, purchases = self._bought(budget)
        claims = within(self._claims(purchases), budget)
        placed = [Placement(session=u, place=c.key, reason=NEW) for c in claims for u in c.sessions]
        reasons = self._reasons(buyer)
        plan = Plan(
            placements=_sorted([*seating.placements, *placed]),
            claims=claims,
            refused=tuple(reasons[uid].refusal(uid) for uid in sorted(reasons)),
            usd_per_hour_micro=total_usd_per_hour_micro(c.offerings[0] for c in claims),
            lower_bound_usd_per_hour_micro=self._bound(),
        )
        return Solution(plan, reasons)

    def _bought(self, budget: int | None) -> tuple[Buyer, list[Purchase]]:
        """Everybody together, or GPU sessions first: whichever serves more, then costs less."""
        tried: list[tuple[Buyer, list[Purchase]]] = []
        for way in (Buyer.buy, Buyer.buy_apart) if self.market.is_mixed else (Buyer.buy,):
            buyer = Buyer(self.market, [len(q) for q in self.queues], budget=budget)
            tried.append((buyer, way(buyer)))
        return min(tried, key=_unserved_and_price)

    def _claims(self, purchases: Sequence[Purchase]) -> list[PlannedClaim]:
        claims: list[PlannedClaim] = []
        for purchase in purchases:
            offerings = offerings_for(self.market, purchase.filling, self.policy)
            for _ in range(purchase.repeat):
                key = f"new-{len(claims) + 1}"
                sessions = tuple(self._take(purchase.filling))
                claims.append(PlannedClaim(key=key, offerings=offerings, sessions=sessions))
        return claims

    def _take(self, filling: Filling) -> list[str]:
        """The next sessions in line, removed from their queues."""
        taken = [queue[:count] for queue, count in zip(self.queues, filling, strict=True)]
        self.queues = [queue[count:] for queue, count in zip(self.queues, filling, strict=True)]
        return [uid for uids in taken for uid in uids]

    def _reasons(self, buyer: Buyer) -> dict[str, Explanation]:
        """Why each session still in a queue is there; sessions of a shape share one reason."""
        reasons: dict[str, Explanation] = {}
        for i, queue in enumerate(self.queues):
            if queue:
                reasons.update(dict.fromkeys(queue, self._why(i, buyer)))
        return reasons

    def _why(self, index: int, buyer: Buyer) -> Explanation:
        shape, cap = self.market.shapes[index], self.snapshot.max_usd_per_hour_micro
        prices = [b.price for b in self.market.bins if b.leads[index]]
        if prices and cap is not None and buyer.budget is not None:
            return over_budget(min(prices), buyer.budget, cap)
        why = explain(shape, self.market.entries)
        if any(shape.size.fits_in(s.total) and serves(shape, s) for s in self.snapshot.seats):
            return replace(why, temporary=True, alternative=why.alternative or SEAT_MAY_FREE)
        return why

    def _bound(self) -> int:
        counts = [
            len(shape.sessions) - len(queue)
            for shape, queue in zip(self.market.shapes, self.queues, strict=True)
        ]
        return lower_bound(self.market, counts, self.snapshot.seats)
