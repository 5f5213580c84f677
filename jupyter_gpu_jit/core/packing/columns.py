"""Column generation: patterns that would make the plan cheaper, until there are none.

The master problem says what a session of each shape is worth; bins whose best filling is worth
more than it costs give new patterns. Cheap fillings in several orders come first; only where they
find nothing is a bin searched exactly. One round is one step of the planner's ``steps``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from .fills import Grid, distinct
from .master import Duals, Master
from .pool import Pool
from .problem import UNLIMITED, Floats, Ints, Problem
from .search import Pricer

_PER_BIN, _PER_ROUND = 4, 60
_IMPROVES = 1e-7
_TRUST = 0.5
# A search that needs more than that many states is left to the certificate.
_STATES = 4_000
_SEARCHED_BINS = 24
_GOLDEN, _PLASTIC = 0.6180339887498949, 0.7548776662466927


@dataclass
class Columns:
    """Grows a pool for one demand; ``uses`` and ``duals`` are those of the last round.

    Without ``thorough`` nothing is searched exactly.
    """

    grid: Grid
    pool: Pool
    pricer: Pricer
    thorough: bool = True
    converged: bool = False
    uses: Floats = field(init=False)
    duals: Duals = field(init=False)

    def __post_init__(self) -> None:
        self._master = Master(self.pool, self.problem.demand)
        self._round = 0
        self.uses, self.duals = self._master.solve()

    @property
    def problem(self) -> Problem:
        """What is to be packed."""
        return self.grid.problem

    def run(self, rounds: int) -> int:
        """At most that many rounds, fewer if nothing is left to find; how many were used."""
        begun, center = self._round, self.duals
        while not self.converged and self._round - begun < rounds:
            self._round += 1
            center = center.toward(self.duals, _TRUST)
            if not self._grow(center):
                # Looked for in the wrong place: from here on the master's own duals count.
                center = self.duals
                self.converged = not self._grow(center)
            self.uses, self.duals = self._master.solve()
        return self._round - begun

    def learn(self, patterns: Iterable[tuple[int, Ints]]) -> bool:
        """Take in patterns found elsewhere; whether any was new."""
        known = list(patterns)
        self.converged = not self.pool.add([bin_ for bin_, _ in known], [c for _, c in known])
        self.uses, self.duals = self._master.solve()
        return not self.converged

    def _grow(self, at: Duals) -> bool:
        """Take in patterns that pay at the master's duals, looked for at those duals."""
        worth, prices = self.grid.worth(at.shapes), bin_prices(self.problem, at)
        ceilings = self.pricer.ceilings(worth, prices, 8 if self._round > 1 else 16)
        promising = np.flatnonzero(ceilings > prices * (1 + _IMPROVES))
        bins, counts = self._filled(promising, worth)
        if self._add(bins, counts):
            return True
        if at is not self.duals or not self.thorough:
            return False
        return self._searched(promising, worth, prices, ceilings)

    def _filled(self, bins: Ints, worth: Floats) -> tuple[Ints, Floats]:
        plain = [worth[bins] / self.grid.weighed[way][bins] for way in range(3)]
        drift = np.arange(1, self.problem.shapes + 1) * _GOLDEN * (2 * self._round + 1)
        drift = np.modf(drift + np.arange(len(bins))[:, None] * _PLASTIC)[0]
        tilted = plain[0] * (0.8 + 0.4 * drift)
        return self.grid.fill_all(bins, [*plain, tilted], self.grid.fits[bins])

    def _searched(self, bins: Ints, worth: Floats, prices: Floats, ceilings: Floats) -> bool:
        """The same by exact search in the most promising bins."""
        ratio = ceilings[bins] / prices[bins]
        rows: list[int] = []
        fillings: list[Ints] = []
        for bin_ in bins[np.argsort(-ratio, kind="stable")][:_SEARCHED_BINS].tolist():
            self.pricer.sharpen(bin_, worth[bin_])
            threshold = prices[bin_] * (1 + _IMPROVES)
            found = self.pricer.search(bin_, worth[bin_], threshold, _STATES).counts
            best = np.argsort(-(found @ worth[bin_]), kind="stable")[:_PER_BIN]
            rows += [bin_] * len(best)
            fillings += list(found[best])
        counts = np.array(fillings, dtype=np.float64).reshape(len(rows), self.problem.shapes)
        return self._add(np.array(rows, dtype=np.int64), counts)

    def _add(self, bins: Ints, counts: Floats) -> bool:
        prices = bin_prices(self.problem, self.duals)
        value = np.einsum("ns,ns->n", counts, self.grid.worth(self.duals.shapes)[bins])
        ratio = value / prices[bins]
        order = np.argsort(-ratio, kind="stable")
        order = order[: int((ratio > 1 + _IMPROVES).sum())]
        bins, counts = distinct(bins[order], counts[order].astype(np.int64))
        return self.pool.add(bins[:_PER_ROUND].tolist(), list(counts[:_PER_ROUND])) > 0


def bin_prices(problem: Problem, duals: Duals, held: Floats | float = 0.0) -> Floats:
    """What a node of each bin costs with what its limits are worth, less what it holds; never 0."""
    prices = problem.costs + duals.limits + duals.rows @ problem.rows
    return np.asarray(np.maximum(prices - held, 1.0))


def singles(grid: Grid) -> tuple[Ints, Floats]:
    """For each shape the bin that serves it alone at the least cost, full of it.

    In the pool from the start they keep duals within reason. Only bins without a limit.
    """
    costs = np.where(grid.problem.limits >= UNLIMITED, grid.costs, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(grid.fits > 0, costs[:, None] / grid.fits, np.inf) + grid.extra
    best = each.argmin(axis=0)
    some = np.flatnonzero(np.isfinite(each.min(axis=0)))
    counts = np.zeros((len(some), grid.problem.shapes))
    counts[np.arange(len(some)), some] = grid.fits[best[some], some]
    return distinct(best[some], counts)
