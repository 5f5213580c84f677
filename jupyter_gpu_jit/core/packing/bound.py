"""What any plan would cost at least: a bound from simple arithmetic, reported with every plan.

Shapes that no type serves together cannot share a node, so their bounds add up. Within a part
of the market that hangs together two bounds hold and the larger counts: for one resource, the
amount asked times the least price per unit; and for some shapes of which no two are served by
one type, the sum over them of sessions times the least price per session.
What existing seats could take is subtracted first, for each bound as if nothing else used them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..model import Resources, Seat
from .fillings import Bin, Market
from .seats import serves
from .shapes import how_many, times

_RESOURCES = ("gpus", "cpu_millicpu", "memory_bytes", "pods")


def lower_bound(market: Market, counts: Sequence[int], seats: Sequence[Seat]) -> int:
    """Least micro-USD per hour of new nodes that seat ``counts`` sessions of each shape."""
    return sum(_Part(market, counts, seats, members).bound() for members in _parts(market, counts))


def _parts(market: Market, counts: Sequence[int]) -> list[set[int]]:
    """Shapes asked for, together when some bin serves both."""
    parts = [{i} for i, count in enumerate(counts) if count]
    for served in {tuple(n > 0 for n in b.fits) for b in market.bins}:
        touched = [part for part in parts if any(served[i] for i in part)]
        if len(touched) > 1:
            parts = [part for part in parts if part not in touched]
            parts.append(set().union(*touched))
    return parts


@dataclass(frozen=True, slots=True)
class _Part:
    market: Market
    counts: Sequence[int]
    seats: Sequence[Seat]
    members: set[int]

    def bound(self) -> int:
        bins = [b for b in self.market.bins if any(b.fits[i] for i in self.members)]
        return max(_apart(self._by_shape(bins)), max(self._by_resource(bins), default=0))

    def _by_shape(self, bins: Sequence[Bin]) -> Iterator[tuple[int, frozenset[str]]]:
        """A bound for each shape alone, and the types that serve it."""
        for i in sorted(self.members):
            shape = self.market.shapes[i]
            seats = (s for s in self.seats if serves(shape, s))
            need = self.counts[i] - sum(how_many(shape.size, s.residual, 1 << 40) for s in seats)
            able = [b for b in bins if b.fits[i]]
            if need > 0:
                least = min(-(-need * b.price // b.fits[i]) for b in able)
                types = frozenset(b.entry.type.name for b in able)
                yield max(least, min(b.price for b in able)), types

    def _by_resource(self, bins: Sequence[Bin]) -> Iterator[int]:
        asked = Resources()
        for i in self.members:
            asked = asked + times(self.market.shapes[i].size, self.counts[i])
        shapes = [self.market.shapes[i] for i in self.members]
        seats = [s for s in self.seats if any(serves(shape, s) for shape in shapes)]
        for name in _RESOURCES:
            need = getattr(asked, name) - sum(max(getattr(s.residual, name), 0) for s in seats)
            rooms = [(b.price, getattr(b.entry.room, name)) for b in bins]
            if need > 0:
                yield min(-(-need * price // room) for price, room in rooms if room > 0)


def _apart(bounds: Iterable[tuple[int, frozenset[str]]]) -> int:
    """Sum of the largest bounds of which no two speak of one type."""
    total, used = 0, frozenset[str]()
    for bound, types in sorted(bounds, key=lambda each: -each[0]):
        if used.isdisjoint(types):
            total += bound
            used |= types
    return total
