"""The engine: a problem in, a plan with its bound out. The only entrance for numbers.

Order of work, each part optional but the first: greedy; column generation; whole nodes; for a
handful of sessions the exact search; diving; the certificate. ``steps`` counts rounds of column
generation, in dives as well, so that equal problems give equal answers on any machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .alone import cheapest_for_one
from .columns import Columns, singles
from .diving import FEW, dive
from .exact import for_all, settle
from .fills import Grid
from .greedy import Purse, greedy
from .integer import THRESHOLDS, cheapest, merged, rounded
from .master import Duals, Unsolved
from .pool import Pool
from .problem import UNLIMITED, Floats, Ints, Load, Problem
from .proof import EXACT, QUICK, THOROUGH, Bound, prove
from .search import Pricer

FIRST_STEPS = 8
"""What a waiting user can afford: some 30 ms for 40 shapes."""
SETTLE_STEPS = 200
"""Until nothing is left to find, with dives and a thorough certificate."""
# A step on more shapes times bins than that counts for several, or a crowd that nobody has packed
# before would wait for seconds.
_STEP_SIZE = 25_000
# Beyond that many steps the certificate is thorough and dives begin.
SETTLING = 40
# Up to 20 sessions always get that many.
_FEW_STEPS = 30
# A plan from hints this many times dearer than its bound is compared with a greedy one.
_POOR = 1.02
_UNSOLVED = "HiGHS found no optimum, so the plan made without it stands"
# Duals that overvalue no bin by more than that are left as they are.
_TIGHT = 1.0001
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
    that no longer fit are ignored, and with good ones the greedy plan is left out.
    """
    if int(problem.demand.sum()) == 1:
        return _alone(problem)
    hints = list(hints)
    served = _can_be_served(problem)
    first = _greedily(problem) if served is None or not hints else None
    if first is not None:
        first = _for_more(problem, first)
        served = problem.served(first)
    if served is None or not served.any():
        return Answer((), tuple(problem.demand.tolist()), 0, 0, True)
    inner = problem if (served == problem.demand).all() else replace(problem, demand=served)
    one = int(served.sum()) == 1
    answer = _alone(inner) if one else _Work(inner, first, hints, steps).answer()
    return replace(answer, unserved=tuple((problem.demand - served).tolist()))


def _alone(problem: Problem) -> Answer:
    load = cheapest_for_one(problem)
    if load is None:
        return Answer((), tuple(problem.demand.tolist()), 0, 0, True)
    cost = problem.cost([load])
    return Answer(
        loads=(load,),
        unserved=(0,) * problem.shapes,
        cost=cost,
        lower_bound=cost,
        proven=True,
        patterns=((load.bin, load.counts),),
        duals=np.asarray(problem.demand * cost, dtype=np.float64),
    )


def _can_be_served(problem: Problem) -> Ints | None:
    """Sessions that some bin serves; None where limits or a budget decide who is."""
    if not problem.is_free or problem.budget is not None:
        return None
    return np.where(problem.fits.any(axis=0), problem.demand, 0)


def _rounds(problem: Problem, steps: int) -> int:
    """What the steps of a first answer come to on a problem of that size."""
    return steps * _STEP_SIZE // max(_STEP_SIZE, problem.shapes * problem.bins)


def _for_more(problem: Problem, first: list[Load]) -> list[Load]:
    """A plan for everybody of a few, where limits leave somebody without a place greedily."""
    demand = np.where(problem.fits.any(axis=0), problem.demand, 0)
    if int(demand.sum()) > FEW or (problem.served(first) == demand).all():
        return first
    return for_all(replace(problem, demand=demand)) or first


def _greedily(problem: Problem) -> list[Load]:
    return merged(greedy(Grid(problem), problem.demand, Purse.of(problem)))


class _Work:
    """One run for sessions that can all be served; ``best`` only ever gets cheaper.

    With hints the greedy plan is made only when the gap says that they were of little use.
    """

    def __init__(
        self, problem: Problem, first: list[Load] | None, hints: Sequence[Pattern], steps: int
    ) -> None:
        self.problem, self.first, self.best = problem, first, first or []
        self.grid = Grid(problem)
        self.pricer = Pricer(self.grid)
        self.few = int(problem.demand.sum()) <= FEW
        self.thorough = self.few or steps >= SETTLING
        self.steps = steps if self.thorough else _rounds(problem, steps)
        self.pool = self._pool(hints)
        self.bound = Bound(0, 1.0)
        self.duals = Duals(np.zeros(problem.shapes), np.zeros(problem.bins), np.zeros(0))
        self.proven = False
        self.notes: tuple[str, ...] = ()

    def _pool(self, hints: Sequence[Pattern]) -> Pool:
        pool = Pool(self.problem)
        pool.add_loads(self.best)
        bins, counts = singles(self.grid)
        pool.add(bins.tolist(), list(counts.astype(np.int64)))
        for bin_, filling in hints:
            counts_now = np.minimum(np.array(filling, dtype=np.int64), self.problem.fits[bin_])
            load = Load(bin_, tuple(counts_now.tolist()), 1)
            if counts_now.any() and self.problem.holds([load]):
                pool.add([bin_], [counts_now])
        return pool

    def answer(self) -> Answer:
        """Improve, prove, check."""
        try:
            self._improve()
        except Unsolved:
            self.notes = (_UNSOLVED,)
        if not self.best or (self.first is None and self._is_poor()):
            self._consider(self._greedy())
        return self._checked()

    def _improve(self) -> None:
        self.columns = Columns(self.grid, self.pool, self.pricer, thorough=self.thorough)
        steps = _FEW_STEPS if self.few else self.steps
        left = self._prove(steps - self.columns.run(steps))
        self._round()
        self.proven = bool(self.best) and self.bound.value >= self.problem.cost(self.best)
        if self.proven:
            return
        if self.few and bool((self.problem.limits >= UNLIMITED).all()):
            self._settle()
        elif self.thorough:
            self._dive(left)

    def _prove(self, steps: int) -> int:
        """The bound, with patterns found by the proof as new columns; the steps left."""
        columns = self.columns
        effort = EXACT if self.few else THOROUGH if self.thorough else QUICK
        while True:
            found = prove(self.pricer, columns.duals, effort)
            if found.value > self.bound.value:
                self.bound, self.duals = found, columns.duals
            if steps <= 0 or found.theta <= _TIGHT or not columns.learn(found.patterns):
                return steps
            # A first answer is proven once more with what was found, and has no time for a third.
            steps = steps - 1 - columns.run(steps - 1) if self.thorough else 0

    def _greedy(self) -> list[Load]:
        if self.first is None:
            self.first = _greedily(self.problem)
        return self.first

    def _consider(self, *plans: list[Load]) -> None:
        """Keep the cheapest of the plan at hand and these, of those that serve everybody."""
        known = [self.best] if self.best else []
        self.best = cheapest(self.problem, [*known, *map(merged, plans)])

    def _is_poor(self) -> bool:
        return self.problem.cost(self.best) > self.bound.value * _POOR

    def _round(self) -> None:
        """Whole nodes from the linear program; the greedy plan alone when there were no steps."""
        columns, starts = self.columns, THRESHOLDS if self.thorough else THRESHOLDS[:1]
        if self.steps or self.few or not self.best:
            for start in starts:
                plan = rounded(self.grid, columns.pool, columns.uses, columns.duals, start)
                if (self.problem.served(plan) == self.problem.demand).all():
                    self._consider(plan)

    def _settle(self) -> None:
        settled = settle(self.pricer, self.best, self.duals, self.bound)
        self._consider(settled.loads)
        self.proven = settled.proven

    def _dive(self, steps: int) -> None:
        columns = self.columns
        plan, _ = dive(self.problem, columns.pool, columns.uses, columns.duals, steps)
        if (self.problem.served(plan) == self.problem.demand).all():
            self._consider(plan)

    def _checked(self) -> Answer:
        problem, cost = self.problem, self.problem.cost(self.best)
        bound = cost if self.proven else self.bound.value
        sound = problem.allows(self.best) and bound <= cost
        sound &= self.first is None or cost <= problem.cost(self.first)
        if not sound or not (problem.served(self.best) == problem.demand).all():
            first = self._greedy()
            return Answer(tuple(first), (), problem.cost(first), 0, False, notes=(_FELL_BACK,))
        return Answer(
            loads=tuple(self.best),
            unserved=(),
            cost=cost,
            lower_bound=bound,
            proven=self.proven,
            patterns=self._patterns(),
            notes=self.notes,
            duals=self._worth(),
        )

    def _worth(self) -> Floats:
        """Without a linear program all are worth the same: what one costs on average."""
        if self.duals.shapes.any():
            return self.duals.shapes
        cost = float(self.problem.cost(self.best)) / float(self.problem.demand.sum())
        return np.asarray(self.problem.fits.any(axis=0) * cost, dtype=np.float64)

    def _patterns(self) -> tuple[Pattern, ...]:
        """Patterns of the plan, and those the linear program used."""
        loads = list(self.best)
        if self.duals.shapes.any():
            used = np.flatnonzero(self.columns.uses > 0).tolist()
            loads += [self.pool.load(number, 1) for number in used]
        return tuple(dict.fromkeys((load.bin, load.counts) for load in loads))
