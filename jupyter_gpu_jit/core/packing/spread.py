"""Not all sessions of a profile in one Spot pool or zone: what may still be where.

An interruption takes a whole pool, so the policy says what part of a profile's sessions may be in
one pool (type and zone), and in one zone. Counted are the profile's sessions on Spot nodes that
exist and all that wait and may go there. A plan is made without such limits first; pools and
zones that it crowds get them, and the plan is made again (parts.py). Sessions on nodes that exist
stay where they are and fill seats there; nobody is refused for the sake of spreading. Sessions of
a group are not counted: they want to be near each other, and one that is lost is lost for all.

Called by the solver; ``crowded`` by repacking, which counts nodes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace

from ..model import Offering, Placement, Seat, SessionRequest
from ..requirements import CapacityType, Requirements
from .limits import Kind, Row
from .policy import Policy
from .shapes import Shape

Sold = tuple[Offering, int]
"""What a plan buys, and how often."""
Held = tuple[Offering, Mapping[str, int]]
"""Nodes of a pool, and how many sessions of each profile they hold."""


def by_profile(sessions: Iterable[SessionRequest]) -> list[SessionRequest]:
    """The sessions, those that may be on Spot with their profile, so that no shape has two."""
    known: dict[tuple[int, str], Requirements] = {}
    return [_marked(session, known) for session in sessions]


def _marked(session: SessionRequest, known: dict[tuple[int, str], Requirements]) -> SessionRequest:
    needs = session.requirements
    if session.group or not needs.capacity.allows(CapacityType.SPOT):
        return session
    # One object for all that are equal, so that they are quickly found to be.
    key = (id(needs), session.profile)
    if key not in known:
        known[key] = replace(needs, spread_as=(session.profile,))
    return replace(session, requirements=known[key])


@dataclass(frozen=True, slots=True)
class Part:
    """At most ``free`` more sessions of a profile in the pool or zone of ``row``."""

    profile: str
    row: Row
    free: int


class Standing:
    """Sessions of each profile on Spot nodes that exist: how many, and in which pool and zone."""

    def __init__(self, seats: Iterable[Seat], policy: Policy) -> None:
        self.shares = {Kind.POOL: policy.max_pool_share, Kind.ZONE: policy.max_zone_share}
        self.there: Counter[tuple[str, Row]] = Counter()
        self.all: Counter[str] = Counter()
        self.spot = {seat.place: seat for seat in seats if _is_spot(seat)}
        for seat in self.spot.values():
            self.add(seat, Counter(s.profile for s in seat.sessions if not s.group))

    def rows(self, each: Seat | Offering) -> Iterator[Row]:
        """The pool, and the zone it is in, where they are limited; nothing on demand."""
        if _is_spot(each):
            yield from (row for row in _rows(each) if self.shares[row.kind] < 1)

    def add(self, seat: Seat, counts: Mapping[str, int]) -> None:
        """So many more are there."""
        self.all.update(counts)
        for profile, count in counts.items():
            for row in self.rows(seat):
                self.there[profile, row] += count

    def with_seated(self, shapes: Sequence[Shape], seated: Iterable[Placement]) -> Standing:
        """The same once these have their seats."""
        more = copy(self)
        more.there, more.all = Counter(self.there), Counter(self.all)
        every = (s for shape in shapes for s in shape.sessions)
        profiles = {session.uid: session.profile for session in every if not session.group}
        for placement in seated:
            if placement.place in self.spot and placement.session in profiles:
                more.add(self.spot[placement.place], {profiles[placement.session]: 1})
        return more


class Spread:
    """What may still be where, when so many sessions get new nodes."""

    def __init__(
        self,
        shapes: Sequence[Shape],
        standing: Standing,
        bought: Sequence[int],
    ) -> None:
        """``bought[s]`` sessions of each shape get new nodes."""
        self.shares, self.there, self.rows = standing.shares, standing.there, standing.rows
        self.of_shape = [shape.needs.spread_as for shape in shapes]
        self.all = standing.all + self.profiles(bought)

    def profiles(self, counts: Sequence[int]) -> Counter[str]:
        """Sessions by profile, of so many of each shape; only those that are spread."""
        found: Counter[str] = Counter()
        for names, count in zip(self.of_shape, counts, strict=True):
            if names and count:
                found[names[0]] += count
        return found

    def free(self, profile: str, row: Row) -> int:
        """How many more of the profile may be there."""
        return max(0, self.most(profile, row.kind) - self.there[profile, row])

    def most(self, profile: str, kind: Kind) -> int:
        """How many of the profile may be in one pool or zone."""
        return math.ceil(self.shares[kind] * self.all[profile] - 1e-9)

    def crowded(self, held: Iterable[Held], near: Iterable[Held]) -> set[Part]:
        """Parts of which a plan takes more than there is; nothing if none.

        Also of pools ``near``, which the next plan would turn to, for the profiles they crowd.
        """
        used: Counter[tuple[str, Row]] = Counter()
        for offering, counts in held:
            for row in self.rows(offering):
                used.update({(profile, row): count for profile, count in counts.items()})
        over = {(profile, row) for (profile, row), n in used.items() if n > self.free(profile, row)}
        profiles = {profile for profile, _ in over}
        next_ = {
            (profile, row)
            for offering, counts in near
            for row in self.rows(offering)
            for profile in counts.keys() & profiles
        }
        return {
            Part(profile, row, self.free(profile, row)) for profile, row in over | next_ if over
        }


class Ledger:
    """What is taken of every part while nodes are given their pools."""

    def __init__(self, spread: Spread) -> None:
        self._spread = spread
        self._used: Counter[tuple[str, Row]] = Counter()

    def holds(self, pool: Offering, counts: Mapping[str, int], nodes: int = 1) -> int:
        """How many of so many nodes with these sessions may be there."""
        for row in self._spread.rows(pool):
            for profile, count in counts.items():
                free = self._spread.free(profile, row) - self._used[profile, row]
                nodes = min(nodes, free // count)
        return max(nodes, 0)

    def take(self, rows: Iterable[Row], counts: Mapping[str, int], nodes: int) -> None:
        """So many nodes are or may be there."""
        for row in rows:
            self._used.update({(profile, row): n * nodes for profile, n in counts.items()})

    def lists(
        self, first: Offering, others: Iterable[Offering], counts: Mapping[str, int], nodes: int
    ) -> tuple[Offering, ...]:
        """The first with those of the others that all these nodes may turn to, taking their room.

        Nodes count once in each pool and zone that they may be in, in the first already.
        """
        listed, known = [first], set(self._spread.rows(first))
        for pool in others:
            new = [row for row in self._spread.rows(pool) if row not in known]
            if pool != first and self._fits(new, counts, nodes):
                self.take(new, counts, nodes)
                known.update(new)
                listed.append(pool)
        return tuple(listed)

    def _fits(self, rows: Iterable[Row], counts: Mapping[str, int], nodes: int) -> bool:
        return all(
            self._used[profile, row] + count * nodes <= self._spread.free(profile, row)
            for row in rows
            for profile, count in counts.items()
        )


def named(parts: Iterable[Part]) -> list[Part]:
    """In an order that depends on nothing else."""
    return sorted(parts, key=lambda part: (part.profile, *_by_name((part.row, 0))))


# --- nodes --------------------------------------------------------------------------------------


def crowded(
    sold: Sequence[Sold], seats: Iterable[Seat], policy: Policy, known: Iterable[Row]
) -> list[tuple[Row, int]]:
    """Limits for pools and zones that have more than their part of the Spot nodes.

    Spot nodes that exist count as well; they stay where they are. ``known`` limits hold already.
    """
    there = Counter(row for seat in seats if _is_spot(seat) for row in _rows(seat))
    planned: Counter[Row] = Counter()
    for offering, count in sold:
        if _is_spot(offering):
            for row in _rows(offering):
                planned[row] += count
    return sorted(_too_many(there, planned, policy, set(known)), key=_by_name)


def _is_spot(each: Seat | Offering) -> bool:
    return each.capacity_type is CapacityType.SPOT


def _rows(each: Seat | Offering) -> tuple[Row, Row]:
    """The pool and the zone it is in."""
    return Row(Kind.POOL, each.instance_type, each.zone), Row(Kind.ZONE, zone=each.zone)


def _too_many(
    there: Counter[Row], planned: Counter[Row], policy: Policy, known: set[Row]
) -> Iterator[tuple[Row, int]]:
    shares = {Kind.POOL: policy.max_pool_share, Kind.ZONE: policy.max_zone_share}
    for kind, share in shares.items():
        nodes = sum(count for row, count in (there + planned).items() if row.kind is kind)
        most = math.ceil(share * nodes - 1e-9)
        for row, count in planned.items():
            if row.kind is kind and row not in known and there[row] + count > most:
                yield row, max(0, most - there[row])


def _by_name(each: tuple[Row, int]) -> tuple[str, str, str]:
    return each[0].kind, each[0].name, each[0].zone
