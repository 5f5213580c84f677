"""What may be bought for the shapes at hand, and the same as a problem in numbers.

A bin is a type at the cheapest pool that serves a set of shapes. Bins that another is as good as
in every respect are left out. Which pool serves what depends on catalogue and shapes alone, so
it is kept for the markets opened last: a hub's profiles come back with every plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from ..model import Offering, Resources
from ..same import Same
from .company import companies
from .limits import Limits, Rules
from .market import Entry, Matcher, with_layouts
from .problem import Bools, Ints, Load, Problem, problem
from .shapes import Key, Shape

_BLOCK = 64

Filling = tuple[int, ...]
"""How many sessions of each shape share a node."""

_RESOURCES, _ALWAYS = 6, 4
"""How many resources ``vector`` has, and how many of them are always counted."""

NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Bin:
    """A type in a pool, at a price, and which shapes it serves there (a bit mask).

    ``price`` is what the node costs in all, ``risk`` what each session adds to that, ``uses``
    what the node takes of each limit.
    """

    entry: Entry
    pool: Offering
    price: int
    mask: int
    risk: int = 0
    uses: tuple[int, ...] = ()

    def is_as_good_as(self, other: Bin) -> bool:
        """Whether nobody needs the other one, dearer and of the same type, beside this one."""
        return (
            self.mask & other.mask == other.mask
            and self.risk <= other.risk
            and all(mine <= theirs for mine, theirs in zip(self.uses, other.uses, strict=True))
        )


@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """Entries that serve any shape, the one with the cheapest pool first, to look up by size."""

    entries: tuple[Entry, ...]
    rooms: Ints
    serves: Bools

    def holding(self, total: Resources, shapes: Sequence[int]) -> Iterator[Entry]:
        """Those that have room for so much and could serve these shapes."""
        able = (self.rooms >= np.array(vector(total))).all(axis=1)
        able &= self.serves[:, list(shapes)].all(axis=1)
        return (self.entries[row] for row in np.flatnonzero(able).tolist())


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """What may be bought for these shapes now; arrays as in a Problem, one row per bin."""

    entries: tuple[Entry, ...]
    shelf: Shelf
    shapes: tuple[Shape, ...]
    matcher: Matcher
    bins: tuple[Bin, ...]
    rooms: Ints
    costs: Ints
    serves: Bools
    limits: Limits

    @property
    def risks(self) -> Ints:
        """What each session adds to the cost of its node, for each bin."""
        return np.array([each.risk for each in self.bins], dtype=np.int64)

    @property
    def uses(self) -> Ints:
        """What a node of each bin takes of each limit [B,R]."""
        rows = [each.uses for each in self.bins]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self.limits.free))

    def bought(self, loads: Iterable[Load]) -> Ints:
        """How much of each limit these nodes take."""
        taken = np.zeros(len(self.limits.free), dtype=np.int64)
        for load in loads:
            taken += load.repeat * np.array(self.bins[load.bin].uses, dtype=np.int64)
        return taken

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
            extra=np.repeat(self.risks[:, None], len(self.shapes), axis=1),
            rows=self.uses.T,
            row_limits=np.array(self.limits.free, dtype=np.int64),
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


@dataclass(frozen=True, slots=True, eq=False)
class _Stall:
    """The part of a market that does not depend on who waits."""

    shelf: Shelf
    matcher: Matcher
    bins: tuple[Bin, ...]
    rooms: Ints
    costs: Ints
    serves: Bools


def open_market(
    entries: tuple[Entry, ...], shapes: tuple[Shape, ...], limits: Limits = NO_LIMITS
) -> Market:
    """Bins of the eligible types for these shapes; in parts where a share is enough for one."""
    if any(shape.needs.share for shape in shapes):
        entries = with_layouts(entries)
    keys = tuple(shape.key for shape in shapes)
    stall = _stalls(Same(entries))(keys, limits.rules)
    return Market(
        entries=entries,
        shelf=stall.shelf,
        shapes=shapes,
        matcher=stall.matcher,
        bins=stall.bins,
        rooms=stall.rooms,
        costs=stall.costs,
        serves=stall.serves,
        limits=limits,
    )


@lru_cache(maxsize=2)
def _stalls(known: Same[tuple[Entry, ...]]) -> Callable[[tuple[Key, ...], Rules], _Stall]:
    """Opens stalls for one catalogue, and remembers them as long as the catalogue is in use."""
    return lru_cache(maxsize=64)(partial(_stall, known.value))


def _stall(entries: tuple[Entry, ...], keys: tuple[Key, ...], rules: Rules) -> _Stall:
    matcher = Matcher([Shape(size, needs, ()) for size, needs in keys])
    useful = _for_these(entries, keys)
    apart = companies(keys)
    all_offers = (
        part
        for entry in useful
        for offer in _offers(entry, matcher, rules)
        for part in _parted(offer, apart)
    )
    offers = sorted(all_offers, key=_cheap_and_large)
    rooms = sizes([offer.entry.room for offer in offers])
    serves = _bits([offer.mask for offer in offers], len(keys))
    spared = np.array([[-o.risk, *(-used for used in o.uses)] for o in offers], dtype=np.int64)
    merits = np.hstack([rooms, spared.reshape(len(offers), 1 + len(rules.rows))])
    kept = np.flatnonzero(~_dominated(merits, serves))
    costs = np.array([offers[row].price for row in kept], dtype=np.int64)
    bins = tuple(offers[row] for row in kept)
    able = [entry for entry in entries if entry.pools and matcher.type_mask(entry)]
    shelf = _shelf(able, matcher, len(keys))
    return _Stall(shelf, matcher, bins, rooms[kept], costs, serves[kept])


def _shelf(able: Sequence[Entry], matcher: Matcher, shapes: int) -> Shelf:
    ranked = tuple(sorted(able, key=_cheapest_pool))
    serves = _bits([matcher.type_mask(entry) for entry in ranked], shapes)
    return Shelf(ranked, sizes([entry.room for entry in ranked]), serves)


def _cheapest_pool(entry: Entry) -> tuple[int, tuple[str, str]]:
    return entry.pools[0].usd_per_hour_micro, entry.key


def _for_these(entries: Iterable[Entry], keys: Sequence[Key]) -> Iterator[Entry]:
    """Without types that have no GPU where everybody wants one."""
    needs_gpu = all(size.gpus > 0 for size, _ in keys)
    return (entry for entry in entries if entry.room.gpus > 0 or not needs_gpu)


def _offers(entry: Entry, matcher: Matcher, rules: Rules) -> Iterator[Bin]:
    """The type once for each set of shapes that no pool of it that is as good serves."""
    possible = matcher.type_mask(entry)
    pools = entry.pools if possible else ()
    if not rules.by_price_alone:
        pools = tuple(sorted(pools, key=rules.costs.of_node))
    seen: list[Bin] = []
    for pool in pools:
        mask = matcher.pool_mask(entry, pool)
        offer = _offer(entry, pool, mask, rules)
        if mask and not any(other.is_as_good_as(offer) for other in seen):
            yield offer
            seen.append(offer)
        if mask == possible and rules.by_price_alone:
            return


def _parted(offer: Bin, apart: Sequence[int]) -> Iterator[Bin]:
    """A node in time slices is for one company, or for all who mind nobody."""
    if not offer.entry.hardware.time_sliced or not apart:
        yield offer
        return
    for mask in (offer.mask & ~sum(apart), *(offer.mask & company for company in apart)):
        if mask:
            yield replace(offer, mask=mask)


def _offer(entry: Entry, pool: Offering, mask: int, rules: Rules) -> Bin:
    return Bin(
        entry,
        pool,
        price=rules.costs.of_node(pool),
        mask=mask,
        risk=rules.costs.of_session(pool),
        uses=rules.uses(entry.type, pool),
    )


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


def _dominated(merits: Ints, serves: Bools) -> Bools:
    """Which of these, cheapest first, have one before them that is as good in all and serves all.

    Block by block against those kept so far: being dominated by one that is dominated itself
    means being dominated by one that is kept.
    """
    found = np.zeros(len(merits), dtype=np.bool_)
    for start in range(0, len(merits), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(merits)))
        known = np.flatnonzero(~found[:start])
        found[rows] = _covered(merits, serves, rows, known).any(axis=1)
        left = rows[~found[rows]]
        found[left] = np.tril(_covered(merits, serves, left, left), -1).any(axis=1)
    return found


def _covered(merits: Ints, serves: Bools, rows: Ints, by: Ints) -> Bools:
    """Which of the rows are no better than which of the others [rows, by]."""
    # How many shapes each serves that the other does not.
    missed = serves[rows].astype(np.float32) @ (~serves[by]).astype(np.float32).T
    covered = missed == 0
    for merit in merits.T:
        covered &= merit[None, by] >= merit[rows, None]
    return np.asarray(covered)
