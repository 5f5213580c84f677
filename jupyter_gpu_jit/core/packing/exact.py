"""Few sessions: the best plan there is, and the proof that there is none better.

Let LB be a proven bound and UB the cost of a plan at hand. A better plan consists of patterns
that each cost less than UB - LB more than their sessions are worth, and all those losses together
stay below UB - LB as well. So the patterns are listed by the same search that proves the bound,
and combined by a search of the same kind: take the first session without a place, try every
pattern that seats it, least loss first. Both searches are counted; one that is too long is given
up, and HiGHS looks for a better plan among the patterns listed.

What a node takes of a side row (a quota) is paid at the row's dual, and what is left of a row in
the end is lost as well; so the same holds under such limits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .fills import Grid
from .integer import cheapest, trimmed
from .master import Duals, whole_uses
from .pool import Pool
from .problem import Floats, Ints, Load, Problem
from .proof import Bound
from .search import Pricer

_STATES, _PATTERNS, _NODES, _MIP_NODES = 20_000, 12_000, 4_000, 300
# Costs are whole micro-USD: a better plan is better by 1 at least.
_ALMOST_ONE = 0.999


@dataclass(frozen=True, slots=True)
class Settled:
    """A plan, and whether no plan is cheaper."""

    loads: list[Load]
    proven: bool


@dataclass(frozen=True, slots=True)
class Sides:
    """Side rows on sessions: what nodes take of them, what there is, and the price of one.

    ``used`` takes bins [n] and counts [n,S] and gives [n,Q]. The problem's own ``extra`` has the
    prices in it already.
    """

    used: Callable[[Ints, Ints], Ints]
    limits: Ints
    prices: Ints

    def left(self, problem: Problem, loads: list[Load]) -> Ints:
        """What these nodes leave of each."""
        bins = np.array([load.bin for load in loads], dtype=np.int64)
        repeats = np.array([load.repeat for load in loads], dtype=np.int64)
        return np.asarray(self.limits - repeats @ self.used(bins, problem.counts(loads)))


def settle(
    pricer: Pricer, loads: list[Load], duals: Duals, bound: Bound, sides: Sides | None = None
) -> Settled:
    """The cheapest plan, or the cheapest found within the counted limits.

    Side rows and a budget hold; no bin may have a count limit. With ``sides`` costs are without
    their prices.
    """
    problem = pricer.grid.problem
    gap = problem.cost(loads) - bound.value + _ALMOST_ONE
    if sides is not None:
        gap += float(sides.left(problem, loads) @ sides.prices)
    worth, rents = duals.shapes / bound.theta, np.zeros(len(problem.rows))
    rents[: len(duals.rows)] = duals.rows / bound.theta
    listed = _list(pricer, worth, rents, gap, largest=sides is None)
    pool = listed.pool
    pool.add_loads(loads)
    if listed.complete and len(pool):
        search = _Cover(problem, pool, worth, rents, sides)
        found = search.best(gap)
        if search.nodes <= _NODES:
            plan = trimmed(problem, found, right_size=sides is None) if found else loads
            return Settled(plan, True)
    if sides is not None:
        return Settled(loads, False)
    return Settled(_by_highs(problem, pool, loads), False)


def for_all(problem: Problem) -> list[Load] | None:
    """A plan that serves everybody within all limits, if HiGHS finds one among full nodes."""
    able = (problem.rows <= problem.row_limits[:, None]).all(axis=0)
    if not (problem.fits[able].any(axis=0) | (problem.demand == 0)).all():
        return None
    pricer, pool = Pricer(Grid(problem)), Pool(problem)
    each = np.ones(problem.shapes)
    for bin_ in np.flatnonzero(able & problem.fits.any(axis=1)).tolist():
        counts = pricer.search(bin_, each, 0.5, _STATES, every=True).counts
        counts = _full(problem, bin_, counts)
        pool.add([bin_] * len(counts), list(counts))
        if len(pool) > _PATTERNS:
            return None
    found = whole_uses(pool, problem.demand, nodes=_MIP_NODES)
    if found is None:
        return None
    used = np.flatnonzero(found).tolist()
    plan = trimmed(problem, [pool.load(number, int(found[number])) for number in used])
    served = bool((problem.served(plan) == problem.demand).all())
    return plan if served and problem.allows(plan) else None


@dataclass(frozen=True, slots=True)
class _Listed:
    pool: Pool
    complete: bool


def _list(pricer: Pricer, duals: Floats, rents: Floats, gap: float, *, largest: bool) -> _Listed:
    """All patterns that lose less than ``gap``; ``largest``: less those another makes needless."""
    problem = pricer.grid.problem
    worth, pool = pricer.grid.worth(duals), Pool(problem)
    aims = problem.costs + rents @ problem.rows - gap
    for bin_ in range(problem.bins):
        if pricer.sharpen(bin_, worth[bin_]) > aims[bin_]:
            found = pricer.search(bin_, worth[bin_], float(aims[bin_]), _STATES, every=True)
            counts = found.counts[found.counts.any(axis=1)]
            if largest and not problem.has_extra:
                counts = _largest(problem, bin_, counts)
            pool.add([bin_] * len(counts), list(counts))
            if not found.complete or len(pool) > _PATTERNS:
                return _Listed(pool, False)
    return _Listed(pool, True)


def _largest(problem: Problem, bin_: int, counts: Ints) -> Ints:
    """Those to which nobody can be added, and that no cheaper bin holds that takes no more."""
    counts = _full(problem, bin_, counts)
    before = np.arange(problem.bins) < bin_
    cheaper = (problem.costs < problem.costs[bin_]) | (
        (problem.costs == problem.costs[bin_]) & before
    )
    cheaper &= (problem.rows <= problem.rows[:, [bin_]]).all(axis=0)
    rooms, serves = problem.rooms[cheaper], problem.serves[cheaper]
    needed = counts @ problem.sizes
    holds = (rooms[None] >= needed[:, None]).all(axis=2)
    holds &= ~((counts > 0).astype(np.int64) @ (~serves).T.astype(np.int64)).astype(bool)
    return np.asarray(counts[~holds.any(axis=1)])


def _full(problem: Problem, bin_: int, counts: Ints) -> Ints:
    """Those to which nobody can be added."""
    room = problem.rooms[bin_] - counts @ problem.sizes
    fits = (room[:, None] >= problem.sizes).all(axis=2)
    return np.asarray(counts[~(fits & (counts < problem.fits[bin_])).any(axis=1)])


@dataclass
class _Cover:
    """Depth-first search for patterns that seat everybody within the side rows and lose least."""

    problem: Problem
    pool: Pool
    duals: Floats
    rents: Floats
    sides: Sides | None = None
    nodes: int = 0
    _failed: dict[bytes, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._counts = self.pool.counts()
        bins = self.pool.bins()
        self._uses, self._limits = self.problem.rows[:, bins].T, self.problem.row_limits
        loss = self.pool.costs() + self._uses @ self.rents - self._counts @ self.duals
        self._prices = self.rents
        if self.sides is not None:
            self._uses = np.hstack([self._uses, self.sides.used(bins, self._counts)])
            self._limits = np.concatenate([self._limits, self.sides.limits])
            self._prices = np.concatenate([self.rents, self.sides.prices])
        self._loss = np.maximum(loss, 0.0)
        seats = self._counts > 0
        self._of_shape = [np.flatnonzero(seats[:, shape]) for shape in range(self.problem.shapes)]
        self._order = np.argsort(seats.sum(axis=0), kind="stable").tolist()

    def best(self, budget: float) -> list[Load] | None:
        """The plan that loses least, if it loses less than the budget."""
        found = self._from(self.problem.demand, self._limits, budget)
        return None if found is None else [self.pool.load(number, 1) for number in found[1]]

    def _from(self, remaining: Ints, left: Ints, budget: float) -> tuple[float, list[int]] | None:
        shape = next((s for s in self._order if remaining[s] > 0), None)
        if shape is None:
            unused = float(left @ self._prices)
            return (unused, []) if unused < budget else None
        key = remaining.tobytes() + left.tobytes()
        self.nodes += 1
        if self.nodes > _NODES or self._failed.get(key, -1.0) >= budget:
            return None
        found = self._tried(shape, remaining, left, budget)
        if found is None:
            self._failed[key] = budget
        return found

    def _tried(
        self, shape: int, remaining: Ints, left: Ints, budget: float
    ) -> tuple[float, list[int]] | None:
        numbers = self._of_shape[shape]
        numbers = numbers[(self._uses[numbers] <= left).all(axis=1)]
        wasted = np.maximum(self._counts[numbers] - remaining, 0) @ self.duals
        loss = self._loss[numbers] + wasted
        best: tuple[float, list[int]] | None = None
        for row in np.argsort(loss, kind="stable").tolist():
            if loss[row] >= budget:
                break
            number = int(numbers[row])
            waiting = np.maximum(remaining - self._counts[number], 0)
            rest = self._from(waiting, left - self._uses[number], budget - float(loss[row]))
            if rest is not None:
                best = (float(loss[row]) + rest[0], [number, *rest[1]])
                budget = best[0]
        return best


def _by_highs(problem: Problem, pool: Pool, loads: list[Load]) -> list[Load]:
    """A cheaper plan from the pool if HiGHS finds one, else the same."""
    found = whole_uses(pool, problem.demand, nodes=_MIP_NODES)
    if found is None:
        return loads
    used = np.flatnonzero(found).tolist()
    plan = trimmed(problem, [pool.load(number, int(found[number])) for number in used])
    return cheapest(problem, [loads, plan])
