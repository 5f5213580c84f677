"""Settling down: fix the nodes one is sure of, generate patterns anew for the rest, and again.

A pattern that is right for thousands of sessions is seldom right for the last fifty. Each dive
takes the whole part of the linear program's answer and solves what is left as a problem of its
own, so that the last nodes fit the last sessions; a handful left at the end is solved exactly.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .columns import Columns, singles
from .exact import settle
from .fills import Grid
from .greedy import Purse, greedy
from .integer import THRESHOLDS, cheapest, rounded, whole_part
from .master import Duals, Unsolved
from .pool import Pool
from .problem import UNLIMITED, Floats, Ints, Load, Problem
from .proof import EXACT, prove
from .search import Pricer

FEW = 20
"""Up to that many sessions are solved exactly."""
_ROUNDS_PER_DIVE = 4
_ROUND_UP = (1.0, 0.9, 0.75, 0.6, 0.45, 0.3)


def dive(
    problem: Problem, pool: Pool, uses: Floats, duals: Duals, steps: int
) -> tuple[list[Load], int]:
    """A plan for everybody, and the steps used; when they run out the rest is rounded."""
    purse, grid = Purse.of(problem), Grid(problem)
    loads: list[Load] = []
    used = 0
    while True:
        taken = _sure(pool, uses, grid.problem, purse)
        loads += taken
        left = grid.problem.demand - grid.problem.served(taken)
        if not left.any():
            return loads, used
        grid = Grid(rest_of(problem, left, purse))
        if not taken or used >= steps:
            return loads + greedy(grid, left, purse, duals.shapes), used
        try:
            columns = Columns(grid, shrunk(grid.problem, pool, uses), Pricer(grid))
        except Unsolved:
            # Under limits there may be no way left to serve everybody; another plan stands.
            return loads + greedy(grid, left, purse, duals.shapes), used
        used += max(columns.run(min(_ROUNDS_PER_DIVE, steps - used)), 1)
        pool, uses, duals = columns.pool, columns.uses, columns.duals
        if left.sum() <= FEW:
            return loads + last_few(grid, columns), used


def _sure(pool: Pool, uses: Floats, problem: Problem, purse: Purse) -> list[Load]:
    for start in _ROUND_UP:
        taken = whole_part(pool, uses, problem.demand, purse, start)
        if taken:
            return taken
    return []


def rest_of(problem: Problem, left: Ints, purse: Purse) -> Problem:
    """The problem of those left, with what may still be bought."""
    limits = np.where(problem.limits < UNLIMITED, purse.left, UNLIMITED)
    return replace(
        problem, demand=left, limits=limits, row_limits=purse.rows_left, budget=purse.money
    )


def shrunk(problem: Problem, pool: Pool, uses: Floats) -> Pool:
    """The patterns that were used, with no more sessions than there are now, and single ones."""
    made = Pool(problem)
    best = np.flatnonzero(uses > 0)
    counts = np.minimum(pool.counts()[best], problem.fits[pool.bins()[best]])
    kept = counts.any(axis=1)
    made.add(pool.bins()[best][kept].tolist(), list(counts[kept]))
    bins, single = singles(Grid(problem))
    made.add(bins.tolist(), list(single.astype(np.int64)))
    return made


def last_few(grid: Grid, columns: Columns) -> list[Load]:
    """The best plan for a handful, starting from columns generated for them."""
    plans = [
        rounded(grid, columns.pool, columns.uses, columns.duals, start) for start in THRESHOLDS
    ]
    if not grid.problem.is_free:
        return plans[0]
    plan = cheapest(grid.problem, plans)
    bound = prove(columns.pricer, columns.duals, EXACT)
    return settle(columns.pricer, plan, columns.duals, bound).loads
