"""Whom each seat serves, room aside: seats alike in all that counts are looked at once.

A thousand nodes are of some tens of kinds. Called by seats.py for who comes, by repack.py for who
moves.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import fields
from operator import attrgetter

from ..model import Seat
from .company import is_private
from .shapes import Shape

# Everything of a seat that says whom it serves; those of the place alone count only where a
# shape asks for labels or for a certain node. Of who is there only whether somebody wants to be
# alone.
_OF_PLACE = ("place", "node_name", "residual", "labels", "sessions")
_kind = attrgetter(*(each.name for each in fields(Seat) if each.name not in _OF_PLACE))


class Served:
    """Answers for these shapes; ``serves`` is the check itself."""

    def __init__(self, shapes: Sequence[Shape], serves: Callable[[Shape, Seat], bool]) -> None:
        self._shapes, self._serves = tuple(shapes), serves
        self._picky = any(s.needs.node_labels or s.needs.node_terms or s.needs.node for s in shapes)
        self._kinds: dict[Hashable, int] = {}
        self._kind_of: dict[str, int] = {}
        self._known: dict[tuple[int, int], bool] = {}

    def serves(self, index: int, seat: Seat) -> bool:
        """Whether the seat serves the shape of that number."""
        key = (index, self._number(seat))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._serves(self._shapes[index], seat)
        return known

    def mask(self, seat: Seat) -> int:
        """The shapes that it serves as bits."""
        return sum(1 << i for i in range(len(self._shapes)) if self.serves(i, seat))

    def _number(self, seat: Seat) -> int:
        number = self._kind_of.get(seat.place)
        if number is None:
            kind: Hashable = (_kind(seat), is_private(seat))
            if self._picky:
                kind = (kind, seat.place, seat.node_name, tuple(sorted(seat.labels.items())))
            number = self._kind_of[seat.place] = self._kinds.setdefault(kind, len(self._kinds))
        return number
