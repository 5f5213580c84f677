"""The engine: a problem in, a plan with its bound out. The only entrance for numbers.

Order of work, each part optional but the first: greedy; column generation; whole nodes; for a
handful of sessions the exact search; diving; the certificate. ``steps`` counts rounds of column
generation, in dives as well, so that equal problems give equal answers on any machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .columns import Columns, singles
from .diving import FEW, dive
from .exact import settle
from .fills import Grid
from .greedy import Purse, greedy
from .integer import THRESHOLDS, cheapest, merged, rounded
from .pool import Pool
from .problem import Floats, Load, Problem
from .proof import EXACT, QUICK, THOROUGH, Bound, prove
from .search import Pricer

FIRST_STEPS = 8
"""What a waiting user can afford: some 30 ms for 40 shapes."""
SETTLE_STEPS = 200
"""Until nothing is left to find, with dives and a thorough certificate."""
# Beyond that many steps the certificate is thorough and dives begin.
_SETTLING = 40
_FELL_BACK = "The finer plan failed its own check, so the first one stands"

Pattern = tuple[int, tuple[int, ...]]
"""A bin, and how many sessions of each shape are on it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Nodes to buy, and what is known of them.

    ``unserved[s]`` sessions find no place within the limits. ``lower_bound`` (micro-USD per hour)
    is of any plan for those served; ``proven``: no plan for them is cheaper. ``patterns`` are
    worth handing to the next problem with the same bins and shapes.
    """

    loads: tuple[Load, ...]
    unserved: tuple[int, ...]
    cost: int
    lower_bound: int
    proven: bool
    patterns: tuple[Pattern, ...] = ()
    notes: tuple[str, ...] = ()
    duals: Floats | None = field(default=None, compare=False)
    """What a session of each shape was worth when the bound was proven."""


def pack(problem: Problem, *, hints: Iterable[Pattern] = (), steps: int = FIRST_STEPS) -> Answer:
    """Nodes for all sessions that limits and budget allow, as cheap as ``steps`` can make them.

    0 steps give the greedy plan with a quick bound, except that up to 20 sessions are always
    planned as well as counted searches can. ``hints`` are patterns of an earlier answer; those
    that no longer fit are ignored.
    """
    grid = Grid(problem)
    first = merged(greedy(grid, problem.demand, Purse.of(problem)))
    served = problem.served(first)
    if not first:
        return Answer((), tuple(problem.demand.tolist()), 0, 0, True)
    inner = problem if (served == problem.demand).all() else replace(problem, demand=served)
    work = _Work(inner, first, list(hints), steps)
    answer = work.answer()
    return replace(answer, unserved=tuple((problem.demand - served).tolist()))


class _Work:
    """One run for sessions that can all be served; ``best`` only ever gets cheaper."""

    def __init__(
        self, problem: Problem, first: list[Load], hints: Sequence[Pattern], steps: int
    ) -> None:
        self.problem, self.first, self.best, self.steps = problem, first, first, steps
        self.grid = Grid(problem)
        self.pricer = Pricer(self.grid)
        self.few = int(problem.demand.sum()) <= FEW
        self.columns = Columns(self.grid, self._pool(hints), self.pricer)
        self.bound = Bound(0, 1.0)
        self.proven = False

    def _pool(self, hints: Sequence[Pattern]) -> Pool:
        pool = Pool(self.problem)
        pool.add_loads(self.first)
        bins, counts = singles(self.grid)
        pool.add(bins.tolist(), list(counts.astype(np.int64)))
        for bin_, filling in hints:
            counts_now = np.minimum(np.array(filling, dtype=np.int64), self.problem.fits[bin_])
            load = Load(bin_, tuple(counts_now.tolist()), 1)
            if counts_now.any() and self.problem.holds(load):
                pool.add([bin_], [counts_now])
        return pool

    def answer(self) -> Answer:
        """Improve, prove, check."""
        if int(self.problem.demand.sum()) > 1 and self.problem.bins:
            self._improve()
        else:
            self.proven = True
        return self._checked()

    def _improve(self) -> None:
        columns = self.columns
        used = columns.run(max(self.steps, 30) if self.few else self.steps)
        if columns.duals is None:
            return
        self._round()
        self._prove()
        if self.few and self.problem.is_free:
            self._settle()
        elif self.steps - used > 0 and self.steps >= _SETTLING:
            self._dive(self.steps - used)

    def _round(self) -> None:
        columns = self.columns
        assert columns.duals is not None
        if self.steps or self.few:
            plans = [
                rounded(self.grid, columns.pool, columns.uses, columns.duals, start)
                for start in THRESHOLDS
            ]
            self.best = cheapest(self.problem, [self.best, *map(merged, plans)])

    def _prove(self) -> None:
        assert self.columns.duals is not None
        effort = EXACT if self.few else THOROUGH if self.steps >= _SETTLING else QUICK
        self.bound = prove(self.pricer, self.columns.duals, effort)
        self.proven = self.bound.value >= self.problem.cost(self.best)

    def _settle(self) -> None:
        assert self.columns.duals is not None
        if not self.proven:
            settled = settle(self.pricer, self.best, self.columns.duals, self.bound)
            self.best = cheapest(self.problem, [self.best, merged(settled.loads)])
            self.proven = settled.proven

    def _dive(self, steps: int) -> None:
        columns = self.columns
        assert columns.duals is not None
        plan, _ = dive(self.problem, columns.pool, columns.uses, columns.duals, steps)
        self.best = cheapest(self.problem, [self.best, merged(plan)])

    def _checked(self) -> Answer:
        problem, greedy_cost = self.problem, self.problem.cost(self.first)
        cost = problem.cost(self.best)
        bound = cost if self.proven else self.bound.value
        sound = problem.allows(self.best) and bound <= cost <= greedy_cost
        if not sound or not (problem.served(self.best) == problem.demand).all():
            first = Answer(tuple(self.first), (), greedy_cost, 0, False)
            return replace(first, notes=(_FELL_BACK,))
        return Answer(
            loads=tuple(self.best),
            unserved=(),
            cost=cost,
            lower_bound=bound,
            proven=self.proven,
            patterns=self._patterns(),
            duals=self._duals(),
        )

    def _duals(self) -> Floats:
        """Without a linear program there is one session, worth what its node costs."""
        if self.columns.duals is not None:
            return self.columns.duals.shapes
        cost = float(self.problem.cost(self.best))
        return np.asarray(self.problem.demand * cost, dtype=np.float64)

    def _patterns(self) -> tuple[Pattern, ...]:
        """Patterns of the plan, and those the linear program used."""
        columns = self.columns
        used = np.flatnonzero(columns.uses > 0).tolist()
        loads = [*self.best, *(columns.pool.load(number, 1) for number in used)]
        return tuple(dict.fromkeys((load.bin, load.counts) for load in loads))
