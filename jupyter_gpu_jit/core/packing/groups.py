"""Sessions that belong together: on one node, in one zone, all of them or none.

Wrapped around a solve that knows nothing of groups. A group that shares a node goes in as one
large session and comes out as its members. A group that shares a zone (a rack and a placement
group are within one, and nothing nearer can be asked of the cloud before a launch) is priced whole
in every zone it could have, and is then bound to the cheapest. Called by the solver.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..model import Placement, Plan, Resources, SessionRequest, Snapshot, Together
from ..wire import PIN_LABEL
from .explain import Explanation
from .solution import Solution, with_refusals

Solve = Callable[[Snapshot], Solution]
Members = tuple[SessionRequest, ...]

INCOMPLETE, APART, UNLIKE = "GroupIncomplete", "GroupDoesNotFit", "GroupUnlike"


def with_groups(snapshot: Snapshot, solve: Solve) -> Solution:
    """The plan of ``solve`` in which groups are together; without groups the very same."""
    groups = _groups(snapshot.waiting)
    return _Gathering(snapshot, solve, groups).solution() if groups else solve(snapshot)


def _groups(waiting: Iterable[SessionRequest]) -> dict[str, Members]:
    """Members by the name of their group; names and members in order."""
    members: defaultdict[str, list[SessionRequest]] = defaultdict(list)
    for session in sorted(waiting, key=lambda s: s.uid):
        if session.group:
            members[session.group].append(session)
    return {name: tuple(members[name]) for name in sorted(members)}


@dataclass
class _Gathering:
    """One solve with groups. ``units`` are what goes in for each group that may be placed."""

    snapshot: Snapshot
    solve: Solve
    groups: Mapping[str, Members]
    units: dict[str, Members] = field(default_factory=dict)
    refused: dict[str, Explanation] = field(default_factory=dict)
    may_be_elsewhere: bool = False

    def solution(self) -> Solution:
        for name, members in self.groups.items():
            unit = self._unit(name, members)
            if isinstance(unit, Explanation):
                self._refuse(name, unit)
            else:
                self.units[name] = unit
        found = self._solved()
        while (torn := self._torn(found)) is not None:
            name, why = torn
            self._refuse(name, why)
            del self.units[name]
            found = self._solved()
        return self._bounded(self._expanded(found), found)

    def _refuse(self, name: str, why: Explanation) -> None:
        self.refused.update({member.uid: why for member in self.groups[name]})

    def _solved(self) -> Solution:
        alone = [session for session in self.snapshot.waiting if not session.group]
        units = [session for unit in self.units.values() for session in unit]
        return self.solve(replace(self.snapshot, waiting=(*alone, *units)))

    # --- what goes in -----------------------------------------------------------------------

    def _unit(self, name: str, members: Members) -> Members | Explanation:
        policy = members[0].group_policy
        here = {place for group, place in self.snapshot.groups if group == name}
        seated = sum(group == name for group, _ in self.snapshot.groups)
        if policy.all_or_none and len(members) + seated < policy.size:
            return _incomplete(len(members) + seated, policy.size)
        if policy.together is Together.NODE:
            return self._on_one_node(name, members, here)
        return self._in_one_zone(members, here)

    def _on_one_node(self, name: str, members: Members, here: set[str]) -> Members | Explanation:
        if len({member.requirements for member in members}) > 1:
            return _UNLIKE
        whole = _as_one(name, members)
        return (_pinned(whole, min(here)) if here else whole,)

    def _in_one_zone(self, members: Members, here: set[str]) -> Members | Explanation:
        zones = self._zones(members, here)
        if not zones:
            return _apart("none of its zones suits all of them")
        priced = {zone: self._alone(_in(members, zone)) for zone in zones}
        best = min(zones, key=lambda zone: (*_dearness(priced[zone]), zone))
        if members[0].group_policy.all_or_none and priced[best].plan.refused:
            return _apart(priced[best].plan.refused[0].message)
        self.may_be_elsewhere |= len(zones) > 1
        return _in(members, best)

    def _zones(self, members: Members, here: set[str]) -> list[str]:
        """Zones that every member may use; only those where the group already is, if it is."""
        seats = self.snapshot.seats
        zones = {seat.zone for seat in seats if seat.place in here or not here}
        if not here:
            zones |= {o.zone for kind in self.snapshot.instance_types for o in kind.offerings}
        asked = [set(member.requirements.zones) for member in members if member.requirements.zones]
        return sorted(zones.intersection(*asked))

    def _alone(self, members: Members) -> Solution:
        return self.solve(replace(self.snapshot, waiting=members))

    # --- what comes out ---------------------------------------------------------------------

    def _torn(self, found: Solution) -> tuple[str, Explanation] | None:
        """A group that wants all or none and got only some, with the reason of one that missed."""
        for name, unit in self.units.items():
            missed = [s.uid for s in unit if s.uid in found.reasons]
            if unit[0].group_policy.all_or_none and missed and len(unit) > 1:
                why = found.reasons[missed[0]]
                return name, replace(_apart(why.message), temporary=why.temporary)
        return None

    def _expanded(self, found: Solution) -> Solution:
        inside = {
            unit[0].uid: tuple(member.uid for member in self.groups[name])
            for name, unit in self.units.items()
        }
        merged = {uid: own for uid, own in inside.items() if own[0] != uid}
        reasons = {
            uid: why for whole, why in found.reasons.items() for uid in merged.get(whole, (whole,))
        }
        return _expanded(found.plan, merged, {**reasons, **self.refused})

    def _bounded(self, solution: Solution, found: Solution) -> Solution:
        """The bound with groups free to be in any zone, where another was possible."""
        if not self.may_be_elsewhere:
            return solution
        placed = {placement.session for placement in found.plan.placements}
        units = [self._anywhere(name) for name in self.units]
        alone = [session for session in self.snapshot.waiting if not session.group]
        waiting = tuple(
            s for s in (*alone, *(s for unit in units for s in unit)) if s.uid in placed
        )
        relaxed = self._alone(waiting).plan
        least = 0 if relaxed.refused else relaxed.lower_bound_usd_per_hour_micro
        bound = min(least, solution.plan.lower_bound_usd_per_hour_micro)
        plan = replace(
            solution.plan,
            lower_bound_usd_per_hour_micro=bound,
            proven=bound == solution.plan.cost_usd_per_hour_micro,
        )
        return replace(solution, plan=plan)

    def _anywhere(self, name: str) -> Members:
        """The group's units without the zone that was chosen for them."""
        own = self.groups[name]
        return own if own[0].group_policy.together is not Together.NODE else self.units[name]


def _as_one(name: str, members: Members) -> SessionRequest:
    """A session as large as all members; its uid is no pod's."""
    total = Resources()
    for member in members:
        total = total + member.resources
    needs, places = members[0].requirements, {member.place for member in members}
    cap = needs.max_usd_per_hour_micro
    return replace(
        members[0],
        uid=f"group/{name}",
        resources=total,
        requirements=replace(
            needs, max_usd_per_hour_micro=None if cap is None else cap * len(members)
        ),
        created_at=min(member.created_at for member in members),
        place=places.pop() if len(places) == 1 else "",
    )


def _pinned(session: SessionRequest, place: str) -> SessionRequest:
    """The session with that place as the only one it may have."""
    needs = session.requirements
    labels = tuple(sorted({**dict(needs.node_labels), PIN_LABEL: place}.items()))
    return replace(session, requirements=replace(needs, node_labels=labels))


def _in(members: Members, zone: str) -> Members:
    return tuple(
        replace(member, requirements=replace(member.requirements, zones=(zone,)))
        for member in members
    )


def _dearness(solution: Solution) -> tuple[int, int]:
    return len(solution.plan.refused), solution.plan.cost_usd_per_hour_micro


def _incomplete(there: int, size: int) -> Explanation:
    message = f"{there} of the {size} sessions of its group are there"
    return Explanation(INCOMPLETE, message, "it starts when all are", True)


def _apart(why: str) -> Explanation:
    return Explanation(APART, f"Its group has no place together: {why.rstrip('.')}", "", True)


_UNLIKE = Explanation(
    UNLIKE, "Sessions of a group that share a node must ask the same of it", "", False
)


def _expanded(
    plan: Plan, merged: Mapping[str, Sequence[str]], reasons: Mapping[str, Explanation]
) -> Solution:
    """The plan with the members of merged groups in the place of what stood for them."""
    placements = [
        Placement(session=uid, place=placement.place, reason=placement.reason)
        for placement in plan.placements
        for uid in merged.get(placement.session, (placement.session,))
    ]
    claims = [
        replace(claim, sessions=tuple(u for s in claim.sessions for u in merged.get(s, (s,))))
        for claim in plan.claims
    ]
    expanded = replace(
        plan,
        placements=tuple(sorted(placements, key=lambda p: p.session)),
        claims=tuple(claims),
    )
    return with_refusals(Solution(expanded), reasons)
