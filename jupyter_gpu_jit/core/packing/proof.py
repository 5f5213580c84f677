"""What any plan costs at least, proven by our own arithmetic, and reported with every plan.

Whatever a session of each shape is said to be worth (the duals): if no filling of any bin is worth
more than the bin costs, then all sessions together are worth no more than any plan costs. If
fillings are worth up to ``theta`` times their bin, everything is divided by that. A bin with a
count limit, such as a seat that exists, may be worth more than it costs; the surplus counts once
per node that there may be.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .master import Duals
from .problem import UNLIMITED, Bools, Floats, Ints, Problem
from .search import Pricer

# Duals are cut to multiples of one over this many micro-USD, so that their sum is exact.
_FINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Bound:
    """Micro-USD per hour; ``patterns`` are fillings worth more than their bin, found on the way."""

    value: int
    theta: float
    patterns: tuple[tuple[int, Ints], ...] = ()


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to look: fillings within ``tolerance`` of their price are let pass.

    At most ``bins`` that may be bought freely are searched, and for ``limited`` others the best
    multipliers are found.
    """

    tolerance: float = 0.0005
    rounds: int = 40
    states: int = 20_000
    bins: int = 400
    limited: int = 0


QUICK = Effort(tolerance=0.01, rounds=15, states=600, bins=8)
FAIR = Effort(tolerance=0.003, rounds=25, states=4_000, bins=24)
THOROUGH = Effort()
EXACT = Effort(tolerance=0.0, states=50_000)


def prove(pricer: Pricer, duals: Duals, effort: Effort = THOROUGH) -> Bound:
    """A bound from these duals: the better they are, the higher it is, but it always holds."""
    problem = pricer.grid.problem
    worth = pricer.grid.worth(duals.shapes)
    rent = np.asarray(duals.rows @ problem.rows, dtype=np.float64)
    aim = problem.costs * (1 + effort.tolerance) + rent
    ceilings = pricer.ceilings(worth, np.maximum(problem.costs + rent, 1.0), effort.rounds)
    free = problem.limits >= UNLIMITED
    patterns = _sharpened(pricer, worth, aim, ceilings=ceilings, effort=effort, free=free)
    if effort.limited:
        dear = aim + duals.limits * (1 + effort.tolerance)
        over = np.flatnonzero((ceilings > dear) & ~free)
        order = over[np.argsort(dear[over] - ceilings[over], kind="stable")]
        for bin_ in order[: effort.limited].tolist():
            ceilings[bin_] = min(ceilings[bin_], pricer.sharpen(bin_, worth[bin_]))
    theta = _theta(problem, ceilings - rent, free)
    surplus = _surplus(problem, (ceilings - rent) / theta, free)
    return Bound(_total(problem, duals, theta, surplus), theta, tuple(patterns))


def _sharpened(
    pricer: Pricer,
    worth: Floats,
    aim: Floats,
    *,
    ceilings: Floats,
    effort: Effort,
    free: Bools,
) -> list[tuple[int, Ints]]:
    """Lower the ceilings that are above their aim by searching; the fillings that really are."""
    above = np.flatnonzero((ceilings > aim) & free)
    order = above[np.argsort(-(ceilings[above] / aim[above]), kind="stable")]
    patterns: list[tuple[int, Ints]] = []
    for bin_ in order[: effort.bins].tolist():
        ceilings[bin_] = min(ceilings[bin_], pricer.sharpen(bin_, worth[bin_]))
        if ceilings[bin_] > aim[bin_]:
            found = pricer.search(bin_, worth[bin_], float(aim[bin_]), effort.states)
            ceilings[bin_] = min(ceilings[bin_], found.ceiling)
            best = np.argsort(-(found.counts @ worth[bin_]), kind="stable")[:4]
            patterns += [(bin_, found.counts[row]) for row in best.tolist()]
    return patterns


def _theta(problem: Problem, ceilings: Floats, free: Bools) -> float:
    """How many times its cost the most overvalued bin may be worth, at least 1."""
    ratios = ceilings[free] / np.maximum(problem.costs[free], 1)
    return max(1.0, float(ratios.max(initial=1.0)))


def _surplus(problem: Problem, ceilings: Floats, free: Bools) -> float:
    """What bins with a limit can be worth beyond their cost, all their nodes together."""
    beyond = np.maximum(ceilings - problem.costs, 0.0)[~free]
    nodes = np.minimum(problem.limits[~free], int(problem.demand.sum()))
    return float(beyond @ nodes)


def _total(problem: Problem, duals: Duals, theta: float, surplus: float) -> int:
    """Worth of all sessions less what limits allow beyond it, rounded up to whole micro-USD.

    A plan costs whole micro-USD, so the least whole number above a bound is one as well.
    """
    worth = np.floor(duals.shapes * _FINE).astype(np.int64).tolist()
    asked = sum(w * d for w, d in zip(worth, problem.demand.tolist(), strict=True))
    rents = np.ceil(duals.rows * _FINE).astype(np.int64).tolist()
    rent = sum(w * d for w, d in zip(rents, problem.row_limits.tolist(), strict=True))
    scaled = Fraction(asked - rent, _FINE) / Fraction(theta * (1 + 1e-10))
    scaled -= Fraction(surplus * (1 + 1e-9))
    return max(0, -(-scaled.numerator // scaled.denominator))
