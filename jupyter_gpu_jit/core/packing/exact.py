"""Few sessions: the best plan there is, and the proof that there is none better.

Let LB be a proven bound and UB the cost of a plan at hand. A better plan consists of patterns
that each cost less than UB - LB more than their sessions are worth, and all those losses together
stay below UB - LB as well. So the patterns are listed by the same search that proves the bound,
and combined by a search of the same kind: take the first session without a place, try every
pattern that seats it, least loss first. Both searches are counted; one that is too long is given
up, and HiGHS looks for a better plan among the patterns listed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

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


def settle(pricer: Pricer, loads: list[Load], duals: Duals, bound: Bound) -> Settled:
    """The cheapest plan, or the cheapest found within the counted limits; needs no free limits."""
    problem = pricer.grid.problem
    gap = problem.cost(loads) - bound.value + _ALMOST_ONE
    listed = _list(pricer, duals.shapes / bound.theta, gap)
    pool = listed.pool
    pool.add_loads(loads)
    if listed.complete and len(pool):
        search = _Cover(problem, pool, duals.shapes / bound.theta)
        found = search.best(gap)
        if search.nodes <= _NODES:
            return Settled(trimmed(problem, found) if found else loads, True)
    return Settled(_by_highs(problem, pool, loads), False)


@dataclass(frozen=True, slots=True)
class _Listed:
    pool: Pool
    complete: bool


def _list(pricer: Pricer, duals: Floats, gap: float) -> _Listed:
    """All patterns that lose less than ``gap``, less those another makes needless."""
    problem = pricer.grid.problem
    worth, pool = pricer.grid.worth(duals), Pool(problem)
    aims = problem.costs - gap
    for bin_ in range(problem.bins):
        if pricer.sharpen(bin_, worth[bin_]) > aims[bin_]:
            found = pricer.search(bin_, worth[bin_], float(aims[bin_]), _STATES, every=True)
            counts = found.counts[found.counts.any(axis=1)]
            if not problem.has_extra:
                counts = _largest(problem, bin_, counts)
            pool.add([bin_] * len(counts), list(counts))
            if not found.complete or len(pool) > _PATTERNS:
                return _Listed(pool, False)
    return _Listed(pool, True)


def _largest(problem: Problem, bin_: int, counts: Ints) -> Ints:
    """Those to which nobody can be added, and that no cheaper bin holds."""
    room = problem.rooms[bin_] - counts @ problem.sizes
    fits = (room[:, None] >= problem.sizes).all(axis=2)
    counts = counts[~(fits & (counts < problem.fits[bin_])).any(axis=1)]
    before = np.arange(problem.bins) < bin_
    cheaper = (problem.costs < problem.costs[bin_]) | (
        (problem.costs == problem.costs[bin_]) & before
    )
    rooms, serves = problem.rooms[cheaper], problem.serves[cheaper]
    needed = counts @ problem.sizes
    holds = (rooms[None] >= needed[:, None]).all(axis=2)
    holds &= ~((counts > 0).astype(np.int64) @ (~serves).T.astype(np.int64)).astype(bool)
    return np.asarray(counts[~holds.any(axis=1)])


@dataclass
class _Cover:
    """Depth-first search for patterns that seat everybody and lose least."""

    problem: Problem
    pool: Pool
    duals: Floats
    nodes: int = 0
    _failed: dict[bytes, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._counts = self.pool.counts()
        loss = self.pool.costs() - self._counts @ self.duals
        self._loss = np.maximum(loss, 0.0)
        seats = self._counts > 0
        self._of_shape = [np.flatnonzero(seats[:, shape]) for shape in range(self.problem.shapes)]
        self._order = np.argsort(seats.sum(axis=0), kind="stable").tolist()

    def best(self, budget: float) -> list[Load] | None:
        """The plan that loses least, if it loses less than the budget."""
        found = self._from(self.problem.demand, budget)
        return None if found is None else [self.pool.load(number, 1) for number in found[1]]

    def _from(self, remaining: Ints, budget: float) -> tuple[float, list[int]] | None:
        shape = next((s for s in self._order if remaining[s] > 0), None)
        if shape is None:
            return 0.0, []
        key = remaining.tobytes()
        self.nodes += 1
        if self.nodes > _NODES or self._failed.get(key, -1.0) >= budget:
            return None
        found = self._tried(shape, remaining, budget)
        if found is None:
            self._failed[key] = budget
        return found

    def _tried(self, shape: int, remaining: Ints, budget: float) -> tuple[float, list[int]] | None:
        numbers = self._of_shape[shape]
        wasted = np.maximum(self._counts[numbers] - remaining, 0) @ self.duals
        loss = self._loss[numbers] + wasted
        best: tuple[float, list[int]] | None = None
        for row in np.argsort(loss, kind="stable").tolist():
            if loss[row] >= budget:
                break
            number = int(numbers[row])
            left = np.maximum(remaining - self._counts[number], 0)
            rest = self._from(left, budget - float(loss[row]))
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
