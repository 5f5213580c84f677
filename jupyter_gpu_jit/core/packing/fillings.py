"""What may be bought for the shapes at hand, and the same as a problem in numbers.

A bin is a type at the cheapest pool that serves a set of shapes. Bins that another is as good as
in every respect are left out. Which pool serves what depends on catalogue and shapes alone, so
it is kept for the markets opened last: a hub's profiles come back with every plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from ..model import Resources
from ..requirements import Requirements
from .market import Entry, Matcher, with_layouts
from .problem import Bools, Ints, Problem, problem
from .shapes import Shape

Filling = tuple[int, ...]
"""How many sessions of each shape share a node."""

_RESOURCES, _ALWAYS = 6, 4
"""How many resources ``vector`` has, and how many of them are always counted."""

Key = tuple[Resources, Requirements]
"""What makes a shape."""


@dataclass(frozen=True, slots=True)
class Bin:
    """A type at a price, and which shapes it serves there (a bit mask)."""

    entry: Entry
    price: int
    mask: int


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """What may be bought for these shapes now; arrays as in a Problem, one row per bin.

    ``by_price`` are those entries that serve any shape, the one with the cheapest pool first.
    """

    entries: tuple[Entry, ...]
    by_price: tuple[Entry, ...]
    shapes: tuple[Shape, ...]
    matcher: Matcher
    bins: tuple[Bin, ...]
    rooms: Ints
    costs: Ints
    serves: Bools

    @property
    def counted(self) -> list[int]:
        """Resources that may decide anything here: what nobody asks for is not computed with."""
        asked = np.flatnonzero(sizes([shape.size for shape in self.shapes]).any(axis=0))
        return [*range(_ALWAYS), *(k for k in asked.tolist() if k >= _ALWAYS)]

    def problem(self, demand: Sequence[int], budget: int | None = None) -> Problem:
        """Nodes for so many sessions of each shape."""
        used = self.counted
        return problem(
            sizes([shape.size for shape in self.shapes])[:, used],
            np.array(demand, dtype=np.int64),
            self.rooms[:, used],
            self.costs,
            serves=self.serves,
            budget=budget,
        )


def vector(amount: Resources) -> list[int]:
    """An amount as the engine counts it."""
    return [
        amount.gpus,
        amount.cpu_millicpu,
        amount.memory_bytes,
        amount.pods,
        amount.volumes,
        amount.local_disk_bytes,
    ]


def sizes(amounts: Sequence[Resources]) -> Ints:
    """Amounts as rows of an array."""
    return np.array([vector(amount) for amount in amounts], dtype=np.int64).reshape(-1, _RESOURCES)


class _Same:
    """Entries by identity: comparing thousands of offerings would cost what is to be saved."""

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self.entries = entries

    def __hash__(self) -> int:
        return id(self.entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.entries is other.entries


@dataclass(frozen=True, slots=True, eq=False)
class _Stall:
    """The part of a market that does not depend on who waits."""

    by_price: tuple[Entry, ...]
    matcher: Matcher
    bins: tuple[Bin, ...]
    rooms: Ints
    costs: Ints
    serves: Bools


def open_market(entries: tuple[Entry, ...], shapes: tuple[Shape, ...]) -> Market:
    """Bins of the eligible types for these shapes; in parts where a share is enough for one."""
    if any(shape.needs.share for shape in shapes):
        entries = with_layouts(entries)
    stall = _stalls(_Same(entries))(tuple((shape.size, shape.needs) for shape in shapes))
    return Market(
        entries=entries,
        by_price=stall.by_price,
        shapes=shapes,
        matcher=stall.matcher,
        bins=stall.bins,
        rooms=stall.rooms,
        costs=stall.costs,
        serves=stall.serves,
    )


@lru_cache(maxsize=2)
def _stalls(known: _Same) -> Callable[[tuple[Key, ...]], _Stall]:
    """Opens stalls for one catalogue, and remembers them as long as the catalogue is in use."""
    return lru_cache(maxsize=64)(partial(_stall, known.entries))


def _stall(entries: tuple[Entry, ...], keys: tuple[Key, ...]) -> _Stall:
    matcher = Matcher([Shape(size, needs, ()) for size, needs in keys])
    offers = sorted(_all_offers(entries, matcher, keys), key=_cheap_and_large)
    rooms = sizes([offer.entry.room for offer in offers])
    serves = _bits([offer.mask for offer in offers], len(keys))
    kept = np.flatnonzero(~_dominated(rooms, serves))
    costs = np.array([offers[row].price for row in kept], dtype=np.int64)
    bins = tuple(offers[row] for row in kept)
    useful = [entry for entry in entries if entry.pools and matcher.type_mask(entry)]
    by_price = tuple(sorted(useful, key=_cheapest_pool))
    return _Stall(by_price, matcher, bins, rooms[kept], costs, serves[kept])


def _cheapest_pool(entry: Entry) -> tuple[int, tuple[str, str]]:
    return entry.pools[0].usd_per_hour_micro, entry.key


def _all_offers(entries: Iterable[Entry], matcher: Matcher, keys: Sequence[Key]) -> Iterator[Bin]:
    needs_gpu = all(size.gpus > 0 for size, _ in keys)
    for entry in entries:
        if entry.room.gpus > 0 or not needs_gpu:
            yield from _offers(entry, matcher)


def _offers(entry: Entry, matcher: Matcher) -> Iterator[Bin]:
    """The type once for each set of shapes that no cheaper pool of it serves."""
    possible = matcher.type_mask(entry)
    seen: list[int] = []
    for pool in entry.pools if possible else ():
        mask = matcher.pool_mask(entry, pool)
        if mask and all(mask & other != mask for other in seen):
            # A price of 0 would make every filling equally good.
            yield Bin(entry, max(pool.usd_per_hour_micro, 1), mask)
            seen.append(mask)
        if mask == possible:
            return


def _cheap_and_large(offer: Bin) -> tuple[int, int, int, int, tuple[str, str], int]:
    room = offer.entry.room
    return (
        offer.price,
        -room.gpus,
        -room.cpu_millicpu,
        -room.memory_bytes,
        offer.entry.key,
        offer.mask,
    )


def _bits(masks: Sequence[int], width: int) -> Bools:
    """Bit masks as rows of an array."""
    size = -(-width // 8)
    data = b"".join(mask.to_bytes(size, "little") for mask in masks)
    grid = np.frombuffer(data, dtype=np.uint8).reshape(len(masks), size)
    return np.unpackbits(grid, axis=1, count=width, bitorder="little").astype(np.bool_)


def _dominated(rooms: Ints, serves: Bools) -> Bools:
    """Which of these, cheapest first, have one before them that holds and serves all they do."""
    before = np.tri(len(rooms), k=-1, dtype=np.bool_)
    for resource in rooms.T:
        before &= resource[None, :] >= resource[:, None]
    # How many shapes each serves that the other does not.
    missed = serves.astype(np.float32) @ (~serves).astype(np.float32).T
    return np.asarray((before & (missed == 0)).any(axis=1))
