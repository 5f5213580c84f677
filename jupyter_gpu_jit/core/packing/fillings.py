"""New nodes: which offering to buy next, and what to put on it.

A bin is a type at the cheapest pool that serves a set of shapes. Each shape is worth what one of
its sessions costs at best: the least of a bin's price over how many of the remaining ones it
holds. The bin with the most worth per price is bought, as often as its filling repeats, until
nobody waits. A bin filled with the shape that sets its own worth has a ratio of 1, so a purchase
never costs more than one node per session would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from .market import Entry, Matcher, is_stranded
from .shapes import Shape, how_many, times

Filling = tuple[int, ...]
"""How many sessions of each shape share a node."""


@dataclass(frozen=True, slots=True)
class Bin:
    """A type at a price. ``fits``: how many of each shape alone it holds.

    ``leads`` is the same without CPU-only shapes where a GPU would lie idle under them.
    """

    entry: Entry
    price: int
    fits: Filling
    leads: Filling


@dataclass(frozen=True, slots=True)
class Purchase:
    """``repeat`` nodes, filled alike; ``bin`` is where the filling was found to pay."""

    bin: Bin
    filling: Filling
    repeat: int


@dataclass(frozen=True, slots=True)
class Market:
    """What may be bought for these shapes now."""

    entries: tuple[Entry, ...]
    shapes: tuple[Shape, ...]
    stranded: tuple[bool, ...]
    matcher: Matcher
    bins: tuple[Bin, ...]

    @property
    def is_mixed(self) -> bool:
        """Whether there are both sessions with GPUs and without."""
        return len({shape.cpu_only for shape in self.shapes}) > 1


def open_market(entries: tuple[Entry, ...], shapes: tuple[Shape, ...]) -> Market:
    """Bins of the eligible types, without those that another is as good as in every respect."""
    if not any(shape.cpu_only for shape in shapes):
        entries = tuple(entry for entry in entries if entry.room.gpus > 0)
    matcher = Matcher(shapes)
    stranded = tuple(is_stranded(shape, entries) for shape in shapes)
    offers = _undominated([offer for entry in entries for offer in _offers(entry, matcher)])
    bins = tuple(_bin(offer, shapes, stranded) for offer in offers)
    return Market(entries, shapes, stranded, matcher, bins)


_Offer = tuple[int, int, Entry]
"""A price, the shapes served at it (a bit mask), and the type."""


def _undominated(offers: Iterable[_Offer]) -> list[_Offer]:
    """Cheapest first, without those of which a cheaper one holds and serves all that they do.

    Only types with equally many GPUs are compared: more of them may lie idle.
    """
    kept: dict[int, list[tuple[int, int, int, int]]] = {}
    chosen: list[_Offer] = []
    for price, mask, entry in sorted(offers, key=_cheap_and_large):
        room, peers = entry.room, kept.setdefault(entry.room.gpus, [])
        cpu, memory, pods = room.cpu_millicpu, room.memory_bytes, room.pods
        # The last one kept is the most alike in price and so the likeliest to be as good.
        if not any(
            cpu <= c and memory <= m and pods <= p and mask & s == mask
            for c, m, p, s in reversed(peers)
        ):
            peers.append((cpu, memory, pods, mask))
            chosen.append((price, mask, entry))
    return chosen


def _cheap_and_large(offer: _Offer) -> tuple[int, int, int, str, int]:
    price, mask, entry = offer
    return (price, -entry.room.cpu_millicpu, -entry.room.memory_bytes, entry.type.name, mask)


def _bin(offer: _Offer, shapes: Sequence[Shape], stranded: Sequence[bool]) -> Bin:
    price, mask, entry = offer
    fits = tuple(
        how_many(s.size, entry.room, len(s.sessions)) if mask >> i & 1 else 0
        for i, s in enumerate(shapes)
    )
    if entry.room.gpus <= 0:
        return Bin(entry, price, fits, fits)
    leads = zip(fits, shapes, stranded, strict=True)
    return Bin(
        entry, price, fits, tuple(n if not s.cpu_only or alone else 0 for n, s, alone in leads)
    )


def _offers(entry: Entry, matcher: Matcher) -> Iterator[_Offer]:
    """The type once for each set of shapes that no cheaper pool of it serves."""
    possible = matcher.type_mask(entry)
    seen: list[int] = []
    for pool in entry.pools if possible else ():
        mask = matcher.pool_mask(entry, pool)
        if mask and all(mask & other != mask for other in seen):
            # A price of 0 would make every filling equally good.
            yield max(pool.usd_per_hour_micro, 1), mask, entry
            seen.append(mask)
        if mask == possible:
            return


class Buyer:
    """Buys nodes for shapes until all are served or the money is spent."""

    def __init__(self, market: Market, demand: Sequence[int], *, budget: int | None = None) -> None:
        self._shapes = market.shapes
        self._bins = market.bins
        self._stranded = market.stranded
        self.demand = list(demand)
        self.budget = budget

    def buy(self) -> list[Purchase]:
        """Purchases in the order made; ``demand`` and ``budget`` are what remains after them."""
        made: list[Purchase] = []
        while (purchase := self._best()) is not None:
            made.append(purchase)
            if self.budget is not None:
                self.budget -= purchase.bin.price * purchase.repeat
            for i, count in enumerate(purchase.filling):
                self.demand[i] -= count * purchase.repeat
        return made

    def buy_apart(self) -> list[Purchase]:
        """The same with GPU sessions first; CPU-only ones ride along where that costs nothing."""
        apart = [d if self._may_ride(i) else 0 for i, d in enumerate(self.demand)]
        self.demand = [d - later for d, later in zip(self.demand, apart, strict=True)]
        made = self.buy()
        self.demand = [d + later for d, later in zip(self.demand, apart, strict=True)]
        singles = [replace(p, repeat=1) for p in made for _ in range(p.repeat)]
        return [self._with_riders(purchase) for purchase in singles] + self.buy()

    def _may_ride(self, index: int) -> bool:
        return self._shapes[index].cpu_only and not self._stranded[index]

    def _with_riders(self, purchase: Purchase) -> Purchase:
        """The node with whoever fits beside its GPU sessions, if these take all its GPUs."""
        counts, room = list(purchase.filling), purchase.bin.entry.room
        for shape, count in zip(self._shapes, counts, strict=True):
            room = room - times(shape.size, count)
        for i, shape in enumerate(self._shapes):
            if room.gpus == 0 and self._may_ride(i) and purchase.bin.fits[i] and self.demand[i]:
                riders = how_many(shape.size, room, self.demand[i])
                room = room - times(shape.size, riders)
                counts[i] += riders
                self.demand[i] -= riders
        return replace(purchase, filling=tuple(counts))

    def _best(self) -> Purchase | None:
        bins = [b for b in self._bins if self.budget is None or b.price <= self.budget]
        worth, leaders = self._worth(bins)
        best: tuple[float, Bin, Filling] | None = None
        for bin_, first in leaders:
            best = self._better(best, bin_, self._fill(bin_, worth, first), worth)
        for bin_ in bins:
            alone = zip(worth, bin_.fits, self.demand, strict=True)
            most = sum(w * min(n, d) for w, n, d in alone if n and d)
            if best is not None and most > best[0] * bin_.price:
                best = self._better(best, bin_, self._fill(bin_, worth), worth)
        return None if best is None else self._purchase(best[1], best[2])

    def _worth(self, bins: Sequence[Bin]) -> tuple[list[float], list[tuple[Bin, int]]]:
        """Worth of a session of each shape (0: nobody or nothing), and the bins that set it."""
        worth, leaders = [0.0] * len(self._shapes), []
        for i, demand in enumerate(self.demand):
            costs = [(b.price / min(b.leads[i], demand), b) for b in bins if demand and b.leads[i]]
            if costs:
                worth[i], leader = min(costs, key=lambda c: (c[0], c[1].price))
                leaders.append((leader, i))
        return worth, leaders

    def _better(
        self,
        best: tuple[float, Bin, Filling] | None,
        bin_: Bin,
        filling: Filling,
        worth: Sequence[float],
    ) -> tuple[float, Bin, Filling]:
        """The one with more worth per price; the earlier one in a tie."""
        ratio = self._value(worth, filling) / bin_.price
        return (ratio, bin_, filling) if best is None or ratio > best[0] else best

    def _value(self, worth: Sequence[float], filling: Sequence[int]) -> float:
        return sum(w * n for w, n in zip(worth, filling, strict=True))

    def _fill(self, bin_: Bin, worth: Sequence[float], first: int | None = None) -> Filling:
        """Put on the bin what is worth most for the share it takes; ``first`` before all."""
        room, counts = bin_.entry.room, [0] * len(self._shapes)
        order = sorted(
            (i for i, n in enumerate(bin_.fits) if n and self.demand[i]),
            key=lambda i: (i != first, self._shapes[i].cpu_only, -worth[i] * bin_.fits[i], i),
        )
        for i in order:
            shape = self._shapes[i]
            if shape.cpu_only and room.gpus > 0 and not self._stranded[i]:
                continue
            counts[i] = how_many(shape.size, room, self.demand[i])
            room = room - times(shape.size, counts[i])
        return tuple(counts)

    def _purchase(self, bin_: Bin, filling: Filling) -> Purchase:
        repeat = min(d // n for d, n in zip(self.demand, filling, strict=True) if n)
        if self.budget is not None:
            repeat = min(repeat, self.budget // bin_.price)
        return Purchase(bin_, filling, repeat)
