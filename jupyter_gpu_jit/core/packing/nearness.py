"""Where a group may go that is to be near each other: every way to restrict all its members.

A zone is known before a launch. Below it EC2 tells the network nodes above an instance only once
that runs, so a rack is either one that nodes are known to share, or new nodes of one placement
group. Nodes can join a placement group only when they are launched. Called by groups.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from ..model import Seat, SessionRequest, Snapshot, Together
from ..requirements import LabelRequirement, Requirements
from ..wire import INSTANCE_TYPE_LABEL, NETWORK_NODE_LABELS, PIN_LABEL

Members = tuple[SessionRequest, ...]
Rack = tuple[str, str]
"""A label that tells a network node, and which."""
IN_A_PLACEMENT_GROUP = (Together.RACK, Together.PLACEMENT_GROUP)


@dataclass(frozen=True, slots=True)
class Ways:
    """A group as it is restricted whatever is chosen, and each choice; the first is preferred."""

    free: Members
    choices: tuple[Members, ...]


def ways(snapshot: Snapshot, members: Members, here: Collection[str]) -> Ways:
    """For a group of which some may be at the places ``here`` already."""
    together, zones = members[0].group_policy.together, _zones(snapshot, members, here)
    free, racks = members, []
    if together in IN_A_PLACEMENT_GROUP:
        near = _near(snapshot.seats, members, here, together)
        far = tuple(sorted(seat.place for seat in snapshot.seats if seat.place not in near))
        not_far = LabelRequirement(key=PIN_LABEL, operator="NotIn", values=far)
        free = _all(members, not_far) if far else members
    if together is Together.RACK and not here:
        racks = [_all(members, _on(rack)) for rack in _racks(snapshot.seats, zones)]
    choices = (*racks, *(_in(free, zone) for zone in zones))
    return Ways(members if racks else free, choices)


def _zones(snapshot: Snapshot, members: Members, here: Collection[str]) -> list[str]:
    """Zones that every member may use; only those where the group already is, if it is."""
    zones = {seat.zone for seat in snapshot.seats if seat.place in here or not here}
    if not here:
        zones |= {o.zone for kind in snapshot.instance_types for o in kind.offerings}
    asked = [set(member.requirements.zones) for member in members if member.requirements.zones]
    return sorted(zones.intersection(*asked))


def _near(
    seats: Iterable[Seat], members: Members, here: Collection[str], together: Together
) -> set[str]:
    """Places that are the group's own, and for a rack those under the same network node."""
    own = {*here, *(member.place for member in members if member.place)}
    if together is not Together.RACK:
        return own
    racks = {rack_of(seat.labels) for seat in seats if seat.place in here} - {None}
    return own | {seat.place for seat in seats if rack_of(seat.labels) in racks}


def rack_of(labels: Mapping[str, str]) -> Rack | None:
    """The network node right above a node, as far as its labels tell."""
    known = (key for key in reversed(NETWORK_NODE_LABELS) if labels.get(key))
    return next(((key, labels[key]) for key in known), None)


def _racks(seats: Iterable[Seat], zones: Collection[str]) -> list[Rack]:
    """Those that nodes are known to share in these zones."""
    found = {rack_of(seat.labels) for seat in seats if seat.zone in zones}
    return sorted(rack for rack in found if rack is not None)


def _on(rack: Rack) -> LabelRequirement:
    return LabelRequirement(key=rack[0], operator="In", values=(rack[1],))


def of_one_type(members: Members, name: str) -> Members:
    """The members on nodes that exist, or on new ones of that type alone."""
    there = LabelRequirement(key=PIN_LABEL, operator="Exists")
    new = LabelRequirement(key=INSTANCE_TYPE_LABEL, operator="In", values=(name,))
    return _all(members, there, new)


def _in(members: Members, zone: str) -> Members:
    return tuple(
        replace(member, requirements=replace(member.requirements, zones=(zone,)))
        for member in members
    )


def _all(members: Members, *rows: LabelRequirement) -> Members:
    """The members on nodes that match any of these rows, besides all they ask themselves."""
    return tuple(
        replace(member, requirements=_and_any(member.requirements, rows)) for member in members
    )


def _and_any(needs: Requirements, rows: tuple[LabelRequirement, ...]) -> Requirements:
    """A term without rows matches nothing, and still does."""
    own = needs.node_terms or ((),)
    asked = tuple((*term, row) for term in own for row in rows if term or not needs.node_terms)
    return replace(needs, node_terms=asked or needs.node_terms)
