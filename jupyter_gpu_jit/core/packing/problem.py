"""The packing problem in numbers alone: shapes to serve, bins to buy, what limits them.

Knows nothing of sessions, offerings or Kubernetes, so that every client of the engine (the
planner, repacking, benchmarks) says what it has in the same few arrays. Made by ``problem``;
solved by ``engine.pack``.

Units are the caller's, as long as they are whole numbers: a size and a room may count millicores,
MiB, GPUs, eighths of GPUs or pod slots. Money is micro-USD per hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import Defect

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

UNLIMITED = 1 << 40
"""As many as anybody could want: the count limit of a bin that has none."""
# Amounts are also computed with as floats, which hold whole numbers below 2**53 exactly.
_MOST = 1 << 49


@dataclass(frozen=True, slots=True)
class Load:
    """``repeat`` nodes of bin ``bin``, each with ``counts[s]`` sessions of shape ``s``."""

    bin: int
    counts: tuple[int, ...]
    repeat: int


@dataclass(frozen=True, eq=False)
class Problem:
    """S shapes, B bins, K resources, R side rows.

    ``sizes[S,K]`` and ``demand[S]``; ``rooms[B,K]`` and ``costs[B]``; ``serves[B,S]`` says who
    may use what. ``extra[B,S]`` is what one session adds to the cost of its node (the risk of an
    interruption). At most ``limits[b]`` nodes of a bin are bought (a bin that costs nothing needs
    a limit), and for each side row ``rows[r] @ nodes <= row_limits[r]`` holds (a quota, a share
    of one Spot pool).
    ``budget`` caps the cost of the whole, None does not.
    """

    sizes: Ints
    demand: Ints
    rooms: Ints
    costs: Ints
    serves: Bools
    extra: Ints
    limits: Ints
    rows: Ints
    row_limits: Ints
    budget: int | None = None

    @property
    def shapes(self) -> int:
        """How many shapes."""
        return len(self.demand)

    @property
    def bins(self) -> int:
        """How many bins."""
        return len(self.costs)

    @cached_property
    def fits(self) -> Ints:
        """How many of each shape alone a bin holds [B,S]; no more than are asked for."""
        # A type is there once for each zone, but its room is looked at once.
        rooms, which = np.unique(self.rooms, axis=0, return_inverse=True)
        alone = np.tile(self.demand, (len(rooms), 1))
        for room, size in zip(rooms.T, self.sizes.T, strict=True):
            used = size > 0
            alone[:, used] = np.minimum(alone[:, used], room[:, None] // size[used])
        alone[(rooms < 0).any(axis=1)] = 0
        return np.where(self.serves, alone[which.ravel()], 0)

    @cached_property
    def refuses(self) -> NDArray[np.float32]:
        """1 where a bin does not serve a shape [S,B]: floats, for the quickest product."""
        return np.ascontiguousarray((~self.serves).T, dtype=np.float32)

    @cached_property
    def is_free(self) -> bool:
        """Whether neither count limits nor side rows restrict what is bought."""
        return not len(self.rows) and bool((self.limits >= UNLIMITED).all())

    @cached_property
    def has_extra(self) -> bool:
        """Whether any session adds to the cost of its node."""
        return bool(self.extra.any())

    def with_bins(
        self, *, rooms: Ints, costs: Ints, serves: Bools, risks: Ints, limits: Ints
    ) -> Problem:
        """With more bins behind its own, which no side row counts.

        ``risks[b]`` is what every session adds to the cost of one of them.
        """
        more = len(costs)
        extra = np.repeat(risks[:, None], self.shapes, axis=1)
        return replace(
            self,
            rooms=np.vstack([self.rooms, rooms]),
            costs=np.concatenate([self.costs, costs]),
            serves=np.vstack([self.serves, serves]),
            extra=np.vstack([self.extra, extra]),
            limits=np.concatenate([self.limits, limits]),
            rows=np.hstack([self.rows, np.zeros((len(self.rows), more), dtype=np.int64)]),
        )

    def cost(self, loads: Sequence[Load]) -> int:
        """What these nodes cost together, micro-USD per hour."""
        bins = np.array([load.bin for load in loads], dtype=np.int64)
        each = self.costs[bins] + (self.extra[bins] * self.counts(loads)).sum(axis=1)
        return int(each @ np.array([load.repeat for load in loads], dtype=np.int64))

    def served(self, loads: Sequence[Load]) -> Ints:
        """Sessions of each shape that have a place on these nodes."""
        repeats = np.array([load.repeat for load in loads], dtype=np.int64)
        return np.asarray(repeats @ self.counts(loads))

    def counts(self, loads: Sequence[Load]) -> Ints:
        """What one node of each load holds, as rows."""
        rows = np.array([load.counts for load in loads], dtype=np.int64)
        return rows.reshape(len(loads), self.shapes)

    def bought(self, loads: Sequence[Load]) -> Ints:
        """Nodes of each bin."""
        total = np.zeros(self.bins, dtype=np.int64)
        for load in loads:
            total[load.bin] += load.repeat
        return total

    def holds(self, loads: Sequence[Load]) -> bool:
        """Whether each bin serves and has room for its filling."""
        counts, bins = self.counts(loads), np.array([load.bin for load in loads], dtype=np.int64)
        room = self.rooms[bins] - counts @ self.sizes
        able = (counts >= 0) & (self.serves[bins] | (counts == 0))
        return bool((room >= 0).all() and able.all())

    def allows(self, loads: Sequence[Load]) -> bool:
        """Whether each load is possible and all together keep to limits, rows and budget."""
        bought = self.bought(loads)
        return (
            self.holds(loads)
            and bool((self.served(loads) <= self.demand).all())
            and bool((bought <= self.limits).all())
            and bool((self.rows @ bought <= self.row_limits).all())
            and (self.budget is None or self.cost(loads) <= self.budget)
        )


def problem(
    sizes: ArrayLike,
    demand: ArrayLike,
    rooms: ArrayLike,
    costs: ArrayLike,
    *,
    serves: ArrayLike | None = None,
    extra: ArrayLike | None = None,
    limits: ArrayLike | None = None,
    rows: ArrayLike | None = None,
    row_limits: ArrayLike | None = None,
    budget: int | None = None,
) -> Problem:
    """A Problem from anything numpy takes; what is left out restricts nothing.

    Raises Defect for numbers with which the engine cannot compute.
    """
    shape_sizes, asked, bin_rooms = _ints(sizes, 2), _ints(demand, 1), _ints(rooms, 2)
    grid = (len(bin_rooms), len(asked))
    made = Problem(
        sizes=shape_sizes,
        demand=asked,
        rooms=bin_rooms,
        costs=_ints(costs, 1),
        serves=np.ones(grid, dtype=np.bool_) if serves is None else np.asarray(serves, np.bool_),
        extra=np.zeros(grid, dtype=np.int64) if extra is None else _ints(extra, 2),
        limits=np.full(grid[0], UNLIMITED) if limits is None else _ints(limits, 1),
        rows=np.zeros((0, grid[0]), dtype=np.int64) if rows is None else _ints(rows, 2),
        row_limits=np.zeros(0, dtype=np.int64) if row_limits is None else _ints(row_limits, 1),
        budget=budget,
    )
    _check(made)
    return made


def _ints(values: ArrayLike, dimensions: int) -> Ints:
    array: NDArray[Any] = np.asarray(values)
    if array.ndim != dimensions or array.dtype.kind not in "iu":
        raise Defect(f"A packing problem takes whole numbers in {dimensions} dimension(s).")
    return array.astype(np.int64)


def _check(made: Problem) -> None:
    """Raise Defect where shapes of arrays disagree or a number is out of range."""
    grid = (made.bins, made.shapes)
    agree = (
        made.sizes.shape[0] == made.shapes
        and made.rooms.shape == (made.bins, made.sizes.shape[1])
        and made.serves.shape == made.extra.shape == grid
        and made.limits.shape == (made.bins,)
        and made.rows.shape == (len(made.row_limits), made.bins)
    )
    if not agree:
        raise Defect("The arrays of a packing problem do not fit together.")
    arrays = (made.sizes, made.demand, made.costs, made.extra, made.limits, made.rows)
    if any(array.min(initial=0) < 0 for array in arrays):
        raise Defect("Sizes, demands, costs, limits and side rows are 0 or more.")
    if (made.costs[made.limits >= UNLIMITED] == 0).any():
        raise Defect("A bin that costs nothing needs a count limit.")
    if max(made.rooms.max(initial=0), made.sizes.max(initial=0)) > _MOST:
        raise Defect("Sizes and rooms are at most 2**49; count in larger units.")
