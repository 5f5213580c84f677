"""From a snapshot to a plan: seats that exist, then new nodes, then reasons for the rest.

Pure: equal snapshots, in whatever order their parts come, give equal plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..model import Placement, Plan, PlannedClaim, Refusal, SessionRequest, Snapshot
from .bound import lower_bound
from .explain import Explanation, explain, over_budget
from .fillings import Buyer, Filling, Market, Purchase, open_market
from .listing import offerings_for, within
from .market import Entry, entries, is_stranded
from .policy import DEFAULT, EMPTY, Policy, Warm
from .seats import Seating
from .shapes import group, in_order

NEW = "New"


def solve(
    snapshot: Snapshot, policy: Policy = DEFAULT, *, warm: Warm = EMPTY, steps: int = 0
) -> Plan:
    """Place every waiting session or say why not; ``usd_per_hour_micro`` is of new nodes only.

    ``warm`` and ``steps`` are for improving on the first answer; this planner's first answer is
    its only one, so they change nothing.
    """
    return solve_with(snapshot, policy, entries(snapshot.instance_types, policy))


def solve_with(snapshot: Snapshot, policy: Policy, eligible: tuple[Entry, ...]) -> Plan:
    """The same with the eligible types already at hand, for callers who solve often."""
    sessions = in_order(snapshot.waiting)
    shapes = group(sessions)
    seating = Seating(snapshot.seats, shapes, lambda shape: is_stranded(shape, eligible))
    left = seating.fill(sessions)
    if not left:
        return Plan(placements=_sorted(seating.placements))
    return _Buying(snapshot, policy, open_market(eligible, shapes)).plan(seating, left)


def _sorted(placements: Sequence[Placement]) -> tuple[Placement, ...]:
    return tuple(sorted(placements, key=lambda p: p.session))


def _budget(snapshot: Snapshot) -> int | None:
    """What the cap leaves for new nodes; None when there is no cap."""
    if snapshot.max_usd_per_hour_micro is None:
        return None
    return snapshot.max_usd_per_hour_micro - sum(s.usd_per_hour_micro for s in snapshot.seats)


@dataclass
class _Buying:
    """The second half of a solve: nodes for whom no seat exists."""

    snapshot: Snapshot
    policy: Policy
    market: Market
    queues: list[list[str]] = field(default_factory=list)

    def plan(self, seating: Seating, left: Sequence[SessionRequest]) -> Plan:
        waiting = {session.uid for session in left}
        self.queues = [
            [s.uid for s in shape.sessions if s.uid in waiting] for shape in self.market.shapes
        ]
        budget = _budget(self.snapshot)
        buyer = Buyer(self.market, [len(q) for q in self.queues], budget=budget)
        claims = within(self._claims(buyer.buy()), budget)
        placed = [Placement(session=u, place=c.key, reason=NEW) for c in claims for u in c.sessions]
        return Plan(
            placements=_sorted([*seating.placements, *placed]),
            claims=claims,
            refused=self._refusals(buyer),
            usd_per_hour_micro=sum(c.offerings[0].usd_per_hour_micro for c in claims),
            lower_bound_usd_per_hour_micro=self._bound(),
        )

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

    def _refusals(self, buyer: Buyer) -> tuple[Refusal, ...]:
        """One for each session still in a queue."""
        refusals = [
            why.refusal(uid)
            for i, queue in enumerate(self.queues)
            if queue
            for why in (self._why(i, buyer),)
            for uid in queue
        ]
        return tuple(sorted(refusals, key=lambda r: r.session))

    def _why(self, index: int, buyer: Buyer) -> Explanation:
        prices = [b.price for b in self.market.bins if b.leads[index]]
        if prices:
            cap = self.snapshot.max_usd_per_hour_micro or 0
            return over_budget(min(prices), buyer.budget or 0, cap)
        return explain(self.market.shapes[index], self.market.entries)

    def _bound(self) -> int:
        counts = [
            len(shape.sessions) - len(queue)
            for shape, queue in zip(self.market.shapes, self.queues, strict=True)
        ]
        return lower_bound(self.market, counts, self.snapshot.seats)
