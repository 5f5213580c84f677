"""From parts of nodes to whole ones: what the linear program says, rounded.

Whole nodes are taken as they are, those nearly whole are rounded up, and whoever is left is
placed greedily at the linear program's prices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .fills import Grid
from .greedy import Purse, greedy, right_sizes
from .master import Duals
from .pool import Pool
from .problem import Floats, Ints, Load, Problem

# From which fraction on a node is taken whole; 1 only takes nodes that are whole already.
THRESHOLDS = (1.0, 0.6)
_ROUNDING = 1e-6


def whole_part(pool: Pool, uses: Floats, remaining: Ints, purse: Purse, start: float) -> list[Load]:
    """Nodes whose fraction is at least ``start``, the surest first; nobody gets two places."""
    nodes = np.floor(uses + (1.0 - start) + _ROUNDING).astype(np.int64)
    order = np.argsort(-uses, kind="stable")
    loads, counts, costs = [], pool.counts(), pool.costs()
    for number in order[nodes[order] > 0].tolist():
        used = np.flatnonzero(counts[number])
        repeat = min(int(nodes[number]), int((remaining[used] // counts[number, used]).min()))
        load = pool.load(number, 1)
        repeat = min(repeat, purse.most(load.bin, int(costs[number])))
        if repeat > 0:
            loads.append(Load(load.bin, load.counts, repeat))
            purse.pay(load.bin, int(costs[number]), repeat)
            remaining = remaining - repeat * counts[number]
    return loads


def rounded(grid: Grid, pool: Pool, uses: Floats, duals: Duals, start: float) -> list[Load]:
    """A whole plan: rounded at ``start``, the rest greedily."""
    problem = grid.problem
    purse = Purse.of(problem)
    loads = whole_part(pool, uses, problem.demand, purse, start)
    rest = problem.demand - problem.served(loads)
    return loads + greedy(grid, rest, purse, duals.shapes)


def trimmed(problem: Problem, loads: Iterable[Load], *, right_size: bool = True) -> list[Load]:
    """The same nodes without places for more sessions than there are.

    Each is right-sized where there are no limits, as another bin may be taken in its place.
    """
    remaining, bins, kept = problem.demand.copy(), [], []
    for load in loads:
        for _ in range(load.repeat):
            counts = np.minimum(np.array(load.counts, dtype=np.int64), remaining)
            if counts.any():
                bins.append(load.bin)
                kept.append(counts)
                remaining = remaining - counts
    if right_size and problem.is_free:
        fillings = np.array(kept, dtype=np.int64)
        bins = right_sizes(problem, np.array(bins, dtype=np.int64), fillings).tolist()
    nodes = zip(bins, kept, strict=True)
    return merged(Load(bin_, tuple(counts.tolist()), 1) for bin_, counts in nodes)


def merged(loads: Iterable[Load]) -> list[Load]:
    """Equal nodes together, in the order of their first."""
    repeats: dict[tuple[int, tuple[int, ...]], int] = {}
    for load in loads:
        key = (load.bin, load.counts)
        repeats[key] = repeats.get(key, 0) + load.repeat
    return [Load(bin_, counts, repeat) for (bin_, counts), repeat in repeats.items()]


def cheapest(problem: Problem, plans: Sequence[list[Load]]) -> list[Load]:
    """The first of the cheapest plans among those that serve everybody within all limits."""
    able = [
        plan
        for plan in plans
        if bool((problem.served(plan) == problem.demand).all()) and problem.allows(plan)
    ]
    return min(able, key=problem.cost)
