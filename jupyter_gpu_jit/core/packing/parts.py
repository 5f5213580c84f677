"""Plans in which not too many of a profile's sessions are in one place.

A part is a side row on sessions, which the engine does not know: at most so many sessions of some
shapes on the nodes of some bins. The engine is asked again and again with a price on every such
session (Lagrange): what it finds are patterns for a master problem with the rows in it, and its
bound less what the rows are worth is a bound of the whole. Called by the solver, which says what
may be where (spread.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .columns import Columns, singles
from .diving import FEW
from .engine import SETTLING, Answer, Pattern, pack
from .exact import Sides, settle
from .fills import Grid
from .greedy import right_sizes
from .integer import trimmed
from .master import Unsolved, relaxed, whole
from .pool import Pool
from .problem import Bools, Floats, Ints, Load, Problem
from .proof import EXACT, prove
from .search import Pricer

_MICRO = 1e6
# How often prices are set anew: for a first answer, for a thorough one, for a few sessions.
_ROUNDS, _MORE_ROUNDS, _FEW_ROUNDS = 2, 4, 12
_FEW_STEPS = 30
_NODES, _FEW_NODES = 40, 300
# Of many, the master's whole numbers need not be better than that.
_NEAR_ENOUGH = 0.003
# Bins that each shape may have alone, of those in the same parts.
_ALONE = 2


@dataclass(frozen=True, eq=False)
class Parts:
    """At most ``limits[q]`` sessions of ``shapes[q,s]`` on nodes of ``bins[q,b]``.

    And at most ``caps[q,b]`` of them on any one node of a bin, which follows from parts for bins
    that have none here.
    """

    bins: Bools
    shapes: Bools
    limits: Ints
    caps: Ints

    def used(self, bins: Ints, counts: Ints) -> Ints:
        """What nodes of these bins with these sessions take [n,Q]."""
        held = counts @ self.shapes.T.astype(np.int64)
        return np.asarray(held * self.bins[:, bins].T)

    def allow(self, problem: Problem, loads: Sequence[Load]) -> bool:
        """Whether these nodes keep to all parts."""
        bins = np.array([load.bin for load in loads], dtype=np.int64)
        repeats = np.array([load.repeat for load in loads], dtype=np.int64)
        used = repeats @ self.used(bins, problem.counts(loads))
        return bool((used <= self.limits).all())

    def priced(self, problem: Problem, prices: Ints) -> Problem:
        """The problem with a price on each session of a part; of its own limits without money."""
        rent = (self.bins * prices[:, None]).T @ self.shapes.astype(np.int64)
        return replace(problem, extra=problem.extra + rent, budget=None)

    def capped(self, problem: Problem) -> Problem:
        """With no more of a part on one node than there may be on all of them.

        Where that makes a difference it is one resource more for the same shapes, of which bins
        without such a limit have plenty.
        """
        sizes, rooms, plenty = [problem.sizes], [problem.rooms], int(problem.demand.sum())
        for shapes in np.unique(self.shapes, axis=0):
            own = (self.shapes == shapes).all(axis=1)
            most = np.where(self.bins[own], self.limits[own, None], self.caps[own]).min(axis=0)
            if (problem.fits[:, shapes].sum(axis=1) > most).any():
                sizes.append(shapes[:, None].astype(np.int64))
                rooms.append(np.minimum(most, plenty)[:, None])
        return replace(problem, sizes=np.hstack(sizes), rooms=np.hstack(rooms))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parted(Answer):
    """``prices[q]`` of a session of each part at which the bound and the duals were found."""

    prices: Ints = field(compare=False)


def parted(
    problem: Problem,
    parts: Parts,
    kinds: Sequence[Hashable],
    hints: Iterable[Pattern],
    *,
    steps: int,
) -> Parted | None:
    """A plan for everybody that keeps to the parts, and its bound; None where none is found.

    ``kinds`` of the bins: those of one have the same room. ``hints`` are patterns of the plan
    without the parts.
    """
    work = _Parting(parts.capped(problem), parts, kinds, steps)
    try:
        return work.answer(list(hints))
    except Unsolved:
        return None


class _Parting:
    """One run; ``bound`` only rises."""

    def __init__(
        self, problem: Problem, parts: Parts, kinds: Sequence[Hashable], steps: int
    ) -> None:
        self.problem, self.parts, self.steps = problem, parts, steps
        self.few = int(problem.demand.sum()) <= FEW
        self.pool = Pool(problem)
        bins: defaultdict[Hashable, list[int]] = defaultdict(list)
        for number, kind in enumerate(kinds):
            bins[kind].append(number)
        self.alike = [bins[kind] for kind in kinds]
        self.bound = 0
        self.best_prices = np.zeros(len(parts.limits), dtype=np.int64)
        self.duals: Floats | None = None
        self.prices = np.zeros(len(parts.limits), dtype=np.int64)

    def answer(self, hints: list[Pattern]) -> Parted | None:
        self._learn(hints)
        self._learn(self._alone())
        self._find_patterns()
        loads = self._whole()
        if loads is None:
            return None
        proven = self.bound >= self.problem.cost(loads)
        if self.few and not proven:
            loads, proven = self._settled(loads)
        cost = self.problem.cost(loads)
        return Parted(
            loads=tuple(loads),
            unserved=(0,) * self.problem.shapes,
            cost=cost,
            lower_bound=cost if proven else min(self.bound, cost),
            proven=proven,
            patterns=tuple(dict.fromkeys((load.bin, load.counts) for load in loads)),
            duals=self.duals,
            prices=self.best_prices,
        )

    def _learn(self, patterns: Iterable[Pattern]) -> None:
        """Take in patterns, in every bin of the same room that serves them and of the cheapest."""
        known = list(patterns)
        bins = np.array([bin_ for bin_, _ in known], dtype=np.int64)
        shape = (len(known), self.problem.shapes)
        counts = np.array([each for _, each in known], dtype=np.int64).reshape(shape)
        counts = np.minimum(counts, self.problem.demand)
        right = right_sizes(self.problem, bins, counts)
        for own, best, filling in zip(bins.tolist(), right.tolist(), counts, strict=True):
            for other in dict.fromkeys((*self.alike[own], *self.alike[best])):
                fitted = np.minimum(filling, self.problem.fits[other])
                load = Load(other, tuple(fitted.tolist()), 1)
                if fitted.any() and self.problem.holds([load]):
                    self.pool.add([other], [fitted])

    def _alone(self) -> list[Pattern]:
        """Each shape by itself, one and as many as fit, where that is cheapest."""
        found: list[Pattern] = []
        signs = [column.tobytes() for column in self.parts.bins.T]
        for shape in range(self.problem.shapes):
            taken: dict[bytes, int] = {}
            fits = self.problem.fits[:, shape]
            each = self.problem.costs / np.maximum(fits, 1)
            for bin_ in np.argsort(each, kind="stable").tolist():
                if not fits[bin_] or taken.get(signs[bin_], 0) >= _ALONE:
                    continue
                taken[signs[bin_]] = taken.get(signs[bin_], 0) + 1
                for count in sorted({1, int(fits[bin_])}):
                    counts = [0] * self.problem.shapes
                    counts[shape] = count
                    found.append((bin_, tuple(counts)))
        return found

    def _find_patterns(self) -> None:
        """Prices on the parts by the master problem, patterns and bounds at these prices."""
        limits = self.parts.limits
        thoroughly = _MORE_ROUNDS if self.steps >= SETTLING else _ROUNDS
        for _ in range(_FEW_ROUNDS if self.few else thoroughly):
            prices = self._master_prices()
            found = pack(self.parts.priced(self.problem, prices), steps=self.steps)
            least = found.lower_bound - int(prices @ limits)
            if least > self.bound and not any(found.unserved):
                self.bound, self.best_prices, self.duals = least, prices, found.duals
            before = len(self.pool)
            self._learn(found.patterns)
            if len(self.pool) == before or (prices == self.prices).all():
                self.prices = prices
                return
            self.prices = prices

    def _rows(self) -> tuple[Floats, Floats, Floats]:
        """Columns of the master [P, rows], and the bounds of its rows: demand, limits, parts."""
        bins, counts = self.pool.bins(), self.pool.counts()
        problem, used = self.problem, self.parts.used(self.pool.bins(), self.pool.counts())
        columns: list[Ints | Floats] = [counts, problem.rows[:, bins].T, used]
        most: list[Ints | Floats] = [problem.row_limits, self.parts.limits]
        if problem.budget is not None:
            columns.append(self.pool.costs()[:, None] / _MICRO)
            most.append(np.array([problem.budget / _MICRO]))
        above = np.concatenate(most).astype(np.float64)
        lower = np.concatenate([problem.demand.astype(np.float64), np.full(len(above), -np.inf)])
        upper = np.concatenate([np.full(problem.shapes, np.inf), above])
        return np.hstack(columns).astype(np.float64), lower, upper

    def _master_prices(self) -> Ints:
        """What one session more of each part would save."""
        duals = relaxed(self.pool.costs(), *self._rows())
        first = self.problem.shapes + len(self.problem.rows)
        own = duals[first : first + len(self.parts.limits)]
        return np.maximum(-own, 0.0).astype(np.int64)

    def _whole(self) -> list[Load] | None:
        nodes = _FEW_NODES if self.few else _NODES
        gap = 0.0 if self.few else _NEAR_ENOUGH
        found = whole(self.pool.costs(), *self._rows(), nodes=nodes, gap=gap)
        if found is None:
            return None
        used = np.flatnonzero(found).tolist()
        loads = [self.pool.load(number, int(found[number])) for number in used]
        return self._checked(trimmed(self.problem, loads, right_size=False))

    def _checked(self, loads: list[Load]) -> list[Load] | None:
        served = bool((self.problem.served(loads) == self.problem.demand).all())
        fine = served and self.problem.allows(loads) and self.parts.allow(self.problem, loads)
        return loads if fine else None

    def _settled(self, loads: list[Load]) -> tuple[list[Load], bool]:
        """For a handful the best plan, if the exact search comes to its end."""
        problem = self.parts.priced(self.problem, self.prices)
        grid = Grid(problem)
        pool, pricer = Pool(problem), Pricer(grid)
        bins, counts = singles(grid)
        pool.add(bins.tolist(), list(counts.astype(np.int64)))
        columns = Columns(grid, pool, pricer)
        columns.run(_FEW_STEPS)
        bound = prove(pricer, columns.duals, EXACT)
        sides = Sides(self.parts.used, self.parts.limits, self.prices)
        settled = settle(pricer, loads, columns.duals, bound, sides)
        return settled.loads, settled.proven
