"""Who may share a GPU in time slices: one user's sessions, or those whose profile minds nobody.

Between time slices there is no wall, so a node of that layout belongs to one user unless the
profile of everybody there says that others are fine. Where one user has several sessions waiting
they are a company: shapes of their own, with bins of their own (fillings.py). On a node that
exists it depends on who is there (seats.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..layouts import TIME_SLICED
from ..model import Seat, SessionRequest
from .shapes import Key


def wants_own(session: SessionRequest) -> bool:
    """Whether a share will do for it, but nobody else's session beside it."""
    share = session.requirements.share
    return share is not None and not share.time_sliced


def is_time_sliced(seat: Seat) -> bool:
    """Whether its GPUs are shared without walls."""
    return seat.layout.startswith(TIME_SLICED)


def is_private(seat: Seat) -> bool:
    """Whether it belongs to the user of those who are there."""
    return is_time_sliced(seat) and any(wants_own(session) for session in seat.sessions)


def in_company(waiting: Iterable[SessionRequest]) -> list[SessionRequest]:
    """The sessions, those of a user with several that want to be alone marked as company."""
    sessions = list(waiting)
    count = Counter(session.user for session in sessions if wants_own(session))
    return [
        replace(s, requirements=replace(s.requirements, shares_with=s.user))
        if count[s.user] > 1 and wants_own(s)
        else s
        for s in sessions
    ]


def companies(keys: Sequence[Key]) -> tuple[int, ...]:
    """The shapes of each company as bits."""
    masks: defaultdict[str, int] = defaultdict(int)
    for number, (_, needs) in enumerate(keys):
        if needs.shares_with:
            masks[needs.shares_with] |= 1 << number
    return tuple(masks[name] for name in sorted(masks))


class Company:
    """Who is on each node in time slices, while sessions are given seats there."""

    def __init__(self, seats: Iterable[Seat]) -> None:
        self._there = {seat.place: list(seat.sessions) for seat in seats if is_time_sliced(seat)}

    def suits(self, session: SessionRequest, seat: Seat) -> bool:
        """Whether nobody minds: all are of one user, or nobody wants to be alone."""
        there = self._there.get(seat.place)
        if not there or not any(map(wants_own, (session, *there))):
            return True
        return all(other.user == session.user for other in there)

    def joined_by(self, session: SessionRequest, seat: Seat) -> None:
        """The session goes there."""
        if seat.place in self._there:
            self._there[seat.place].append(session)
