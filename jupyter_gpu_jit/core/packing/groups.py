"""Sessions that belong together: on one node, in one zone, all of them or none.

Wrapped around a solve that knows nothing of groups. A group that shares a node goes in as one
large session and comes out as its members. A group that shares a zone, a rack or a placement
group is priced whole in every one it could have (nearness.py), and is then bound to the cheapest.
What the launch of its nodes asks is put on them at the end (terms.py). Called by the solver.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..model import Placement, Plan, Resources, SessionRequest, Snapshot, Together
from ..pricing import NodeCosts
from ..wire import PIN_LABEL
from .explain import Explanation
from .nearness import Members, of_one_type, ways
from .solution import Solution, with_refusals
from .terms import Launch, crossed, launches, with_terms

Solve = Callable[[Snapshot], Solution]

INCOMPLETE, APART, UNLIKE = "GroupIncomplete", "GroupDoesNotFit", "GroupUnlike"
UNEVEN, CROSSED = "GroupNeedsOneType", "GroupComesLater"


def with_groups(snapshot: Snapshot, solve: Solve, costs: NodeCosts) -> Solution:
    """The plan of ``solve`` in which groups are together; without groups the very same."""
    groups = _groups(snapshot.waiting)
    return _Gathering(snapshot, solve, groups, costs).solution() if groups else solve(snapshot)


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
    costs: NodeCosts
    units: dict[str, Members] = field(default_factory=dict)
    refused: dict[str, Explanation] = field(default_factory=dict)
    free: dict[str, Members] = field(default_factory=dict)
    evened: set[str] = field(default_factory=set)

    def solution(self) -> Solution:
        for name, members in self.groups.items():
            unit = self._unit(name, members)
            if isinstance(unit, Explanation):
                self._refuse(name, unit)
            else:
                self.units[name] = unit
        found = self._solved()
        while self._changed(found):
            found = self._solved()
        solution = self._bounded(self._expanded(found), found)
        return replace(solution, plan=with_terms(solution.plan, self.groups, self.costs))

    def _changed(self, found: Solution) -> bool:
        """Whether a group must be planned otherwise, or not at all."""
        wrong = self._torn(found) or self._crossed(found)
        if wrong is not None:
            self._drop(*wrong)
            return True
        uneven = next(
            (e for e in launches(found.plan.claims, self.groups) if not e.offerings), None
        )
        if uneven is not None:
            self._even(uneven)
        return uneven is not None

    def _drop(self, name: str, why: Explanation) -> None:
        self._refuse(name, why)
        del self.units[name]

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
        return self._in_one_zone(name, members, here)

    def _on_one_node(self, name: str, members: Members, here: set[str]) -> Members | Explanation:
        if len({member.requirements for member in members}) > 1:
            return _UNLIKE
        whole = _as_one(name, members)
        return (_pinned(whole, min(here)) if here else whole,)

    def _in_one_zone(self, name: str, members: Members, here: set[str]) -> Members | Explanation:
        found = ways(self.snapshot, members, here)
        if not found.choices:
            return _apart("none of its zones suits all of them")
        best, solution = self._cheapest(found.choices)
        if members[0].group_policy.all_or_none and solution.plan.refused:
            return _apart(solution.plan.refused[0].message)
        if len(found.choices) > 1:
            self.free[name] = found.free
        return best

    def _cheapest(self, choices: Sequence[Members]) -> tuple[Members, Solution]:
        """Of these ways to restrict a group the one that costs least, and what it comes to."""
        priced = [(way, self._alone(way)) for way in choices]
        return min(priced, key=lambda each: _dearness(each[1]))

    def _even(self, launch: Launch) -> None:
        """Have the new nodes of a group of one type, as only one request can be all or none."""
        types = sorted({o.instance_type for claim in launch.claims for o in claim.offerings})
        for name in launch.groups:
            unit = self.units[name]
            best, solution = self._cheapest([of_one_type(unit, kind) for kind in types])
            if solution.plan.refused or name in self.evened:
                self._drop(name, _UNEVEN)
                return
            self.evened.add(name)
            self.free.setdefault(name, unit)
            self.units[name] = best

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

    def _crossed(self, found: Solution) -> tuple[str, Explanation] | None:
        """A group that would have to be in the placement group of another as well."""
        name = crossed(found.plan.claims, self.groups)
        return None if name is None else (name, _CROSSED)

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
        if not self.free:
            return solution
        placed = {placement.session for placement in found.plan.placements}
        units = [self.free.get(name, unit) for name, unit in self.units.items()]
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


_UNEVEN = Explanation(
    UNEVEN,
    "Its group starts all or none, for which its new nodes must be alike, and no type is enough",
    "",
    False,
)
_CROSSED = Explanation(
    CROSSED, "Another group gets its new nodes first", "it is planned when they are coming", True
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
