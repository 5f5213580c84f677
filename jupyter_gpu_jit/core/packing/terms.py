"""What the launch of a group's new nodes asks: a placement group, and all of them or none.

The cloud launches all or none only within one fleet request, which has one list of offerings for
all its nodes. So the new nodes of such a group list what would do for each of them. Called by
groups.py with a plan that is otherwise complete.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..model import Offering, Plan, PlannedClaim, SessionRequest, Together
from ..pricing import NodeCosts, total_usd_per_hour_micro
from .market import by_price
from .nearness import IN_A_PLACEMENT_GROUP

_MOST_OF_NAME = 40

Groups = Mapping[str, tuple[SessionRequest, ...]]


@dataclass(frozen=True, slots=True)
class Launch:
    """New nodes that are launched all or none, for these groups; more than one."""

    groups: tuple[str, ...]
    claims: tuple[PlannedClaim, ...]

    @property
    def offerings(self) -> tuple[Offering, ...]:
        """What would do for each of the nodes; nothing where they are not alike enough."""
        if len({claim.layout for claim in self.claims}) > 1:
            return ()
        common = set(self.claims[0].offerings).intersection(*(c.offerings for c in self.claims))
        return tuple(sorted(common, key=by_price))


def placement_group(group: str) -> str:
    """The name of a group's placement group: the same for the same group."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", group).strip("-")[:_MOST_OF_NAME]
    return f"{readable}-{hashlib.sha256(group.encode()).hexdigest()[:10]}".lstrip("-")


def launches(claims: Iterable[PlannedClaim], groups: Groups) -> list[Launch]:
    """Which nodes are launched all or none; groups that share a node are launched together."""
    found: list[tuple[set[str], list[PlannedClaim]]] = []
    for claim in claims:
        names, own = {g for g in _groups_on(claim, groups) if _all_or_none(groups[g])}, [claim]
        if not names:
            continue
        for other in [each for each in found if each[0] & names]:
            found.remove(other)
            names, own = names | other[0], [*other[1], *own]
        found.append((names, own))
    return [Launch(tuple(sorted(n)), tuple(c)) for n, c in found if len(c) > 1]


def crossed(claims: Iterable[PlannedClaim], groups: Groups) -> str | None:
    """A group that shares a new node with another though each has its own placement group."""
    for claim in claims:
        names = [g for g in _groups_on(claim, groups) if _placed(groups[g])]
        if len(names) > 1:
            return names[-1]
    return None


def with_terms(plan: Plan, groups: Groups, costs: NodeCosts) -> Plan:
    """The plan with what the launch of each node asks for its groups."""
    together = {claim.key: each for each in launches(plan.claims, groups) for claim in each.claims}
    claims = tuple(_asking(claim, groups, together.get(claim.key)) for claim in plan.claims)
    price = total_usd_per_hour_micro(claim.offerings[0] for claim in claims)
    cost = sum(costs.together(claim.offerings[0], len(claim.sessions)) for claim in claims)
    return replace(
        plan,
        claims=claims,
        usd_per_hour_micro=price,
        extra_usd_per_hour_micro=cost - price,
        proven=plan.lower_bound_usd_per_hour_micro == cost,
    )


def _asking(claim: PlannedClaim, groups: Groups, launch: Launch | None) -> PlannedClaim:
    placed = [name for name in _groups_on(claim, groups) if _placed(groups[name])]
    group = placement_group(placed[0]) if placed else ""
    terms = replace(claim.terms, placement_group=group)
    if launch is None:
        return replace(claim, terms=terms)
    together = replace(terms, together=launch.groups[0])
    return replace(claim, terms=together, offerings=launch.offerings)


def _groups_on(claim: PlannedClaim, groups: Groups) -> list[str]:
    own = set(claim.sessions)
    return [name for name in sorted(groups) if any(s.uid in own for s in groups[name])]


def _all_or_none(members: Sequence[SessionRequest]) -> bool:
    policy = members[0].group_policy
    return policy.all_or_none and policy.together is not Together.NODE


def _placed(members: Sequence[SessionRequest]) -> bool:
    return members[0].group_policy.together in IN_A_PLACEMENT_GROUP
