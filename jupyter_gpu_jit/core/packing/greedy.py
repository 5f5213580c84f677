"""The first answer: buy what is worth most for its price, until nobody waits.

A session is worth what one of its shape costs at best. Every bin is filled in several orders at
once; the fillings worth most are bought as often as they repeat; then worth is reckoned again for
those left. Always run, so that there is a plan whatever happens to the finer methods; also
places what is left over when the integer plan has taken whole nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .fills import Grid, distinct
from .problem import UNLIMITED, Bools, Floats, Ints, Load, Problem

# A filling is bought in the same round as the best one when it is worth that part of it.
_NEARLY = 0.94
# So many kinds of bins are filled in a round, each in all its zones.
_LOOKED_AT = 20


@dataclass
class Purse:
    """What may still be bought: nodes of each bin, of each side row, and money."""

    problem: Problem
    left: Ints
    rows_left: Ints
    money: int | None

    @classmethod
    def of(cls, problem: Problem) -> Purse:
        """Nothing bought yet."""
        return cls(problem, problem.limits.copy(), problem.row_limits.copy(), problem.budget)

    @property
    def is_bottomless(self) -> bool:
        """Whether everything may be bought any number of times."""
        return self.problem.is_free and self.money is None

    def most(self, bin_: int, cost: int) -> int:
        """How many nodes of the bin may be bought at that cost each."""
        most = int(self.left[bin_])
        if self.money is not None and cost:
            most = min(most, self.money // cost)
        column = self.problem.rows[:, bin_]
        uses = column > 0
        return min(most, int((self.rows_left[uses] // column[uses]).min(initial=most)))

    def pay(self, bin_: int, cost: int, nodes: int) -> None:
        """Take that many nodes."""
        self.left[bin_] -= nodes
        self.rows_left = self.rows_left - self.problem.rows[:, bin_] * nodes
        if self.money is not None:
            self.money -= cost * nodes

    def affordable(self) -> Ints:
        """Bins of which at least one may be bought."""
        fine = self.left > 0
        if self.money is not None:
            fine &= self.problem.costs <= self.money
        if len(self.rows_left):
            fine &= (self.problem.rows <= self.rows_left[:, None]).all(axis=0)
        return np.flatnonzero(fine)


@dataclass
class Greedy:
    """One run: ``remaining`` falls and ``loads`` grow."""

    grid: Grid
    remaining: Ints
    purse: Purse
    duals: Floats | None = None
    loads: list[Load] = field(default_factory=list)

    def run(self) -> list[Load]:
        """Buy until nobody waits or nothing more may be bought."""
        while self.remaining.any() and self._round():
            pass
        return self.loads

    def _round(self) -> bool:
        bins = self.purse.affordable()
        if self.purse.is_bottomless:
            bins = bins[self.grid.sensible]
        caps = np.minimum(self.grid.fits[bins], self.remaining)
        useful = caps.any(axis=1)
        bins, caps = bins[useful], caps[useful]
        if not len(bins):
            return False
        worth = self._worth(bins, caps)
        best = self._promising(bins, np.where(caps > 0, worth, 0.0))
        bins, worth, caps = bins[best], worth[best], caps[best]
        ways = range(len(self.grid.weighed))
        densities = [worth / self.grid.weighed[way, bins] for way in ways]
        rows, counts = self.grid.fill_all(bins, densities, caps)
        value = np.einsum("ns,ns->n", counts, np.concatenate([worth] * len(ways)))
        return self._buy(rows, counts, value / self.grid.costs[rows])

    def _promising(self, bins: Ints, worth: Floats) -> Ints:
        """Bins that could be worth most for their price if one resource were all that counts."""
        if len(bins) <= _LOOKED_AT:
            return np.arange(len(bins))
        most = np.full(len(bins), np.inf)
        for resource in self._scarce(worth > 0):
            densest = (worth * self.grid.per_unit[resource]).max(axis=1)
            most = np.minimum(most, densest * self.grid.rooms[resource, bins])
        order = np.argsort(-(most / self.grid.costs[bins]), kind="stable")
        firsts = np.sort(np.unique(self.grid.kinds[bins[order]], return_index=True)[1])
        return np.sort(order[: firsts[_LOOKED_AT]] if len(firsts) > _LOOKED_AT else order)

    def _scarce(self, useful: Bools) -> list[int]:
        """Resources that in some bin [n,S] everybody useful needs; all if there are none."""
        others = (self.grid.sizes == 0).astype(np.float32)
        spared = (useful.astype(np.float32) @ others.T > 0).all(axis=0)
        return np.flatnonzero(~spared | spared.all()).tolist()

    def _worth(self, bins: Ints, caps: Floats) -> Floats:
        """What a session is worth in each bin [n,S]: what it would cost at best."""
        with np.errstate(divide="ignore"):
            alone = self.grid.costs[bins, None] / caps
        if self.grid.problem.has_extra:
            alone = alone + self.grid.extra[bins]
        cheapest = alone.min(axis=0)
        cheapest[~np.isfinite(cheapest)] = 0.0
        if self.duals is not None:
            cheapest = np.maximum(np.minimum(self.duals, cheapest), 1e-6 * cheapest)
        return np.maximum(self.grid.worth(cheapest)[bins], 1e-9)

    def _buy(self, rows: Ints, counts: Floats, ratio: Floats) -> bool:
        good = np.flatnonzero(ratio >= ratio.max() * _NEARLY)
        order = good[np.argsort(-ratio[good], kind="stable")]
        bought = False
        bins, fillings = distinct(rows[order], counts[order].astype(np.int64))
        if self.purse.is_bottomless:
            bins = right_sizes(self.grid.problem, bins, fillings)
        for bin_, filling in zip(bins.tolist(), fillings, strict=True):
            bought |= self._take(bin_, filling)
        return bought

    def _take(self, bin_: int, filling: Ints) -> bool:
        used = np.flatnonzero(filling)
        repeat = int((self.remaining[used] // filling[used]).min())
        if not repeat:
            return False
        cost = int(self.grid.problem.costs[bin_] + self.grid.problem.extra[bin_] @ filling)
        repeat = min(repeat, self.purse.most(bin_, cost))
        if repeat < 1:
            return False
        self.loads.append(Load(bin_, tuple(filling.tolist()), repeat))
        self.purse.pay(bin_, cost, repeat)
        self.remaining = self.remaining - repeat * filling
        return True


def right_sizes(problem: Problem, bins: Ints, counts: Ints) -> Ints:
    """For each filling the cheapest bin that serves and holds it; its own unless that is dearer."""
    holds = (counts > 0).astype(np.float32) @ problem.refuses == 0
    for room, needed in zip(problem.rooms.T, (counts @ problem.sizes).T, strict=True):
        holds &= room >= needed[:, None]
    costs = np.where(holds, problem.costs, UNLIMITED)
    if problem.has_extra:
        costs = np.where(holds, problem.costs + counts @ problem.extra.T, UNLIMITED)
    every = np.arange(len(bins))
    best = costs.argmin(axis=1)
    return np.where(costs[every, best] < costs[every, bins], best, bins)


def greedy(grid: Grid, remaining: Ints, purse: Purse, duals: Floats | None = None) -> list[Load]:
    """Nodes for whom remains; worth by ``duals`` where they are known."""
    return Greedy(grid, remaining.copy(), purse, duals).run()
