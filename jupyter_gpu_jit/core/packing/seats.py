"""Sunk capacity first: who takes which seat that exists or is on its way.

A session whose own place still holds it stays there, so that plans do not flap. GPU sessions
choose before CPU-only ones, which keep off a GPU node while a GPU there is idle: they would keep
a dear node alive for a GPU session that then cannot use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..model import Placement, Resources, Seat, SessionRequest
from ..pricing import session_share_micro
from ..requirements import Requirements, Taint, untolerated
from ..wire import UNREGISTERED_TAINT
from .company import Company, is_private
from .fillings import sizes, vector
from .hardware import Hardware, hardware_failures, of_seat
from .policy import Policy
from .served import Served
from .shapes import Shape

READY, KEPT, IN_FLIGHT = "Ready", "Kept", "InFlight"


def serves(shape: Shape, seat: Seat) -> bool:
    """Whether the seat meets the shape's requirements, room aside, whoever's the session is."""
    return not is_private(seat) and _serves(shape, seat, of_seat(seat))


def may_serve(shape: Shape, seat: Seat) -> bool:
    """The same where it is asked besides whether those who are there are right company."""
    return _serves(shape, seat, replace(of_seat(seat), time_sliced=False))


def _serves(shape: Shape, seat: Seat, hardware: Hardware) -> bool:
    suits = next(hardware_failures(shape, hardware), None) is None
    return suits and _right_offer(shape, seat) and _may_bind(shape.needs, seat)


def with_rates(seats: tuple[Seat, ...], policy: Policy) -> tuple[Seat, ...]:
    """The seats with the policy's rate of interruption where none is known."""
    if not policy.prior_interruptions_per_hour:
        return seats
    return tuple(
        replace(
            seat,
            interruptions_per_hour=policy.rate_of(seat.capacity_type, seat.interruptions_per_hour),
        )
        for seat in seats
    )


def _right_offer(shape: Shape, seat: Seat) -> bool:
    needs, cap = shape.needs, shape.needs.max_usd_per_hour_micro
    if needs.zones and seat.zone not in needs.zones:
        return False
    if not needs.capacity.allows(seat.capacity_type):
        return False
    if needs.node and needs.node != seat.node_name:
        return False
    most = needs.max_interruptions_per_hour
    if most is not None and (seat.interruptions_per_hour or 0.0) > most:
        return False
    return cap is None or seat_share_micro(shape.size, seat) <= cap


def _may_bind(needs: Requirements, seat: Seat) -> bool:
    taints = seat.taints if seat.ready else tuple(t for t in seat.taints if not _passing(t))
    return needs.labels_match(seat.labels) and untolerated(taints, needs.tolerations) is None


def _passing(taint: Taint) -> bool:
    """Whether a node that is still joining loses that taint by itself."""
    return taint.key == UNREGISTERED_TAINT.key or taint.key.startswith(
        ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
    )


def seat_share_micro(size: Resources, seat: Seat) -> int:
    """What a session of that size costs on the seat, micro-USD per hour."""
    return session_share_micro(seat.usd_per_hour_micro, size, seat.total)


class Seating:
    """Gives sessions to seats, cheapest node to keep first; ``room`` is what is left of each."""

    def __init__(
        self, seats: Sequence[Seat], shapes: Sequence[Shape], is_stranded: Callable[[Shape], bool]
    ) -> None:
        ranked = sorted(seats, key=lambda s: (s.usd_per_hour_micro, s.place))
        self.room = {seat.place: seat.residual for seat in ranked}
        self._by_place = {seat.place: seat for seat in ranked}
        self._ranked = {ready: [s for s in ranked if s.ready is ready] for ready in (True, False)}
        self._rooms = {
            ready: sizes([seat.residual for seat in those]) for ready, those in self._ranked.items()
        }
        self._shapes = tuple(shapes)
        self._shape_of = {s.uid: i for i, shape in enumerate(shapes) for s in shape.sessions}
        self.served = Served(self._shapes, may_serve)
        self._company = Company(ranked)
        self._is_stranded = is_stranded
        self._stranded: dict[int, bool] = {}
        self._choices: dict[tuple[bool, int], list[Seat]] = {}
        self.placements: list[Placement] = []

    def fill(self, sessions: Sequence[SessionRequest]) -> list[SessionRequest]:
        """Seat whom it can, in the order given; those left over. Sets ``placements``."""
        if not self._by_place:
            return list(sessions)
        left = [self._fill_group([s for s in sessions if s.resources.gpus > 0])]
        left.append(self._fill_group([s for s in sessions if s.resources.gpus == 0]))
        return [session for group in left for session in group]

    def _fill_group(self, sessions: list[SessionRequest]) -> list[SessionRequest]:
        for find, ready, reason in self._ways():
            sessions = [s for s in sessions if not self._seat(s, find(s, ready), reason)]
        return sessions

    def _ways(self) -> tuple[tuple[Callable[[SessionRequest, bool], Seat | None], bool, str], ...]:
        return (
            (self._own, True, READY),
            (self._cheapest, True, READY),
            (self._own, False, KEPT),
            (self._cheapest, False, IN_FLIGHT),
        )

    def first(self, session: SessionRequest) -> Placement | None:
        """Where it would go if it came next and alone; takes nothing."""
        for find, ready, reason in self._ways():
            seat = find(session, ready)
            if seat is not None:
                return Placement(session=session.uid, place=seat.place, reason=reason)
        return None

    def _seat(self, session: SessionRequest, seat: Seat | None, reason: str) -> bool:
        if seat is None:
            return False
        self.room[seat.place] = self.room[seat.place] - session.resources
        self._company.joined_by(session, seat)
        self.placements.append(Placement(session=session.uid, place=seat.place, reason=reason))
        return True

    def _own(self, session: SessionRequest, ready: bool) -> Seat | None:
        """Where it was planned before: whether GPUs may idle beside it was weighed then."""
        seat = self._by_place.get(session.place)
        if seat is None or seat.ready is not ready:
            return None
        fits = session.resources.fits_in(self.room[seat.place])
        fits = fits and self._company.suits(session, seat)
        return seat if fits and self.served.serves(self._shape_of[session.uid], seat) else None

    def _cheapest(self, session: SessionRequest, ready: bool) -> Seat | None:
        """The first of the shape's seats that holds one more; full ones leave its list for good.

        One with the wrong company stays in it, for the next of the shape may be of another user.
        """
        shape = self._shape_of[session.uid]
        key = (ready, shape)
        if key not in self._choices:
            # Reversed, so that dropping the cheapest is a pop from the end.
            self._choices[key] = self._roomy(shape, ready)[::-1]
        seats = self._choices[key]
        while seats and not self._takes(shape, seats[-1]):
            seats.pop()
        suiting = (seat for seat in reversed(seats) if self._company.suits(session, seat))
        # The last of the list was found to take it a moment ago.
        return next((s for s in suiting if s is seats[-1] or self._takes(shape, s)), None)

    def _takes(self, shape: int, seat: Seat) -> bool:
        return self.served.serves(shape, seat) and self._holds(shape, seat)

    def _roomy(self, shape: int, ready: bool) -> list[Seat]:
        """Seats that had room for one at the start, the cheapest first."""
        enough = (self._rooms[ready] >= vector(self._shapes[shape].size)).all(axis=1)
        return [self._ranked[ready][row] for row in np.flatnonzero(enough).tolist()]

    def _holds(self, shape: int, seat: Seat) -> bool:
        room, asked = self.room[seat.place], self._shapes[shape]
        if not asked.size.fits_in(room):
            return False
        return not asked.cpu_only or room.gpus <= 0 or self._may_idle(shape)

    def _may_idle(self, shape: int) -> bool:
        if shape not in self._stranded:
            self._stranded[shape] = self._is_stranded(self._shapes[shape])
        return self._stranded[shape]
