"""Who may move: the nodes of a snapshot with those who sit there.

Called by repack.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..model import Seat, SessionRequest
from .shapes import Shape, group, in_order


@dataclass(frozen=True, slots=True)
class Node:
    """A seat, what may leave it, whether it may end, and how many are known to be on it."""

    seat: Seat
    sessions: tuple[SessionRequest, ...]
    may_end: bool
    known: int


@dataclass(frozen=True, slots=True)
class Crew:
    """All nodes by place, and the price of every session on one that may end."""

    nodes: tuple[Node, ...]
    prices: Mapping[str, int]

    @classmethod
    def of(
        cls,
        seats: Iterable[Seat],
        residents: Mapping[str, Sequence[SessionRequest]],
        movable: Mapping[str, int | None],
    ) -> Crew:
        """Those of a place that is not ready or not told, or with somebody who stays, all stay."""
        nodes = []
        for seat in sorted(seats, key=lambda seat: seat.place):
            there = tuple(residents.get(seat.place, ()))
            loose = seat.ready and seat.place in residents and seat.usd_per_hour_micro > 0
            loose &= all(movable.get(s.uid) is not None and not s.group for s in there)
            nodes.append(Node(seat, there if loose else (), loose, len(there)))
        prices = {s.uid: movable[s.uid] or 0 for node in nodes for s in node.sessions}
        return cls(tuple(nodes), prices)

    @property
    def any_may_end(self) -> bool:
        """Whether there is anything to decide."""
        return any(node.may_end for node in self.nodes)

    def shapes(self) -> tuple[Shape, ...]:
        """Sessions that want the same and mind a move alike, the least price first."""
        of_price: defaultdict[int, list[SessionRequest]] = defaultdict(list)
        for node in self.nodes:
            for session in node.sessions:
                of_price[self.prices[session.uid]].append(session)
        return tuple(
            shape for price in sorted(of_price) for shape in group(in_order(of_price[price]))
        )
