"""The most a bin can be worth: bounds for all bins at once, and an exact search in one of them.

Called with what a session of each shape is worth. ``Pricer.ceilings`` relaxes whole sessions to
parts of them (Lagrange multipliers, one per resource, all bins in one numpy call). Where that is
not enough, ``Pricer.search`` looks through all fillings that lose less than a given amount against
the ceiling: every session left out that pays for its room, every one taken that does not, and
room left empty cost their part, so most of the tree is cut at once. Column generation finds its
patterns here, and the bound its proof.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .fills import Grid
from .master import multipliers
from .problem import Bools, Floats, Ints

# Floats are exact to 1e-16 and some thousand of them are added; money is proven to this part.
SAFETY = 1e-10
_SHRINK = 0.93
_STRIDE = 0.7
# Bins that are low enough are left behind when at least half of those looked at are.
_FEWER = 0.5
# Fewer states than that are not worth comparing.
_MERGED_FROM = 300


@dataclass(frozen=True, slots=True)
class Found:
    """No filling is worth more than ``ceiling``; ``counts`` [N,S] are those above the threshold.

    ``complete`` says that the search came to its end.
    """

    ceiling: float
    counts: Ints
    complete: bool


class Pricer:
    """Ceilings and searches on one grid; multipliers are kept, as worth changes little."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        resources = len(grid.rooms)
        self._multipliers = np.repeat(grid.costs[None] / max(resources, 1), resources, axis=0)

    def ceilings(self, worth: Floats, aim: Floats, rounds: int) -> Floats:
        """What no filling of each bin [B] can exceed, lowered until it is no more than ``aim``."""
        best, worth = np.full(len(aim), np.inf), np.maximum(worth, 0.0)
        part = _Part(self.grid, worth, np.arange(len(aim)), self._multipliers.copy())
        for number in range(rounds):
            value, slope = part.value()
            lower = value < best[part.bins]
            best[part.bins[lower]] = value[lower]
            self._multipliers[:, part.bins[lower]] = part.weights[:, lower]
            above = best[part.bins] > aim[part.bins]
            gap = value - np.minimum(best, aim)[part.bins]
            part.step(np.maximum(gap, 0.01 * value * _SHRINK**number), slope)
            if above.sum() < _FEWER * len(above):
                part = part.only(above)
        return best * (1.0 + SAFETY)

    def search(
        self, bin_: int, worth: Floats, threshold: float, states: int, *, every: bool = False
    ) -> Found:
        """Fillings of a bin worth more than ``threshold``, the best among them.

        ``every`` one of them, or of those that leave the same room only the best. Gives up
        beyond that many states.
        """
        shapes = np.flatnonzero((worth > 0) & (self.grid.fits[bin_] > 0))
        weights = self._multipliers[:, bin_]
        tree = _Tree(self.grid, bin_, shapes, worth[shapes], weights, every=every)
        return tree.search(threshold * (1.0 - SAFETY), states)

    def sharpen(self, bin_: int, worth: Floats) -> float:
        """The ceiling of one bin with the best multipliers there are, which are kept."""
        shapes = np.flatnonzero((worth > 0) & (self.grid.fits[bin_] > 0))
        if not len(shapes):
            return 0.0
        shares, most = self.grid.shares[:, bin_][:, shapes], self.grid.fits[bin_, shapes]
        weights = multipliers(worth[shapes], shares, most)
        self._multipliers[:, bin_] = weights
        gain = np.maximum(worth[shapes] - weights @ shares, 0.0)
        return float((weights.sum() + most @ gain) * (1.0 + SAFETY))


class _Part:
    """The n bins whose ceilings are still being lowered, with multipliers [K,n] to try next."""

    def __init__(self, grid: Grid, worth: Floats, bins: Ints, weights: Floats) -> None:
        self._grid, self._worth, self.bins, self.weights = grid, worth, bins, weights
        self._shares, self._fits = grid.shares[:, bins], grid.fits[bins]

    def value(self) -> tuple[Floats, Floats]:
        """What the bins are worth at most under the multipliers [n], and its slope [K,n]."""
        gain = self._worth[self.bins] - np.einsum("kbs,kb->bs", self._shares, self.weights)
        taken = np.where(gain > 0, self._fits, 0.0)
        value = self.weights.sum(axis=0) + np.einsum("bs,bs->b", taken, gain)
        return value, 1.0 - np.einsum("kbs,bs->kb", self._shares, taken)

    def step(self, gap: Floats, slope: Floats) -> None:
        """Move the multipliers down the slope, so far as to close the gap [n] by a part."""
        square = (slope * slope).sum(axis=0) + 1e-9
        self.weights = np.maximum(self.weights - _STRIDE * gap * slope / square, 0.0)

    def only(self, kept: Bools) -> _Part:
        """The same for some of the bins."""
        return _Part(self._grid, self._worth, self.bins[kept], self.weights[:, kept])


@dataclass
class _Front:
    """Fillings decided up to some shape [N]: what they lost so far, and the room left [N,K]."""

    counts: Ints
    room: Ints
    lost: Floats


class _Tree:
    """The search in one bin, shape by shape; those whose choice costs most come first."""

    def __init__(
        self,
        grid: Grid,
        bin_: int,
        shapes: Ints,
        worth: Floats,
        weights: Floats,
        *,
        every: bool,
    ) -> None:
        self._every = every
        self._sizes = grid.problem.sizes[shapes]
        self._room = grid.problem.rooms[bin_]
        self._shares = grid.shares[:, bin_][:, shapes]
        self._most = grid.fits[bin_, shapes]
        self._gain = worth - weights @ self._shares
        self._worth, self._weights, self._shapes = worth, weights, shapes
        self._width = grid.problem.shapes
        self.ceiling = float(weights.sum() + self._most @ np.maximum(self._gain, 0.0))

    def search(self, threshold: float, states: int) -> Found:
        budget = self.ceiling - threshold
        nothing = np.zeros((0, self._width), dtype=np.int64)
        if budget <= 0:
            return Found(threshold, nothing, True)
        least, most = self._ranges(budget)
        order = np.argsort(-np.abs(self._gain), kind="stable")
        rest = self._rest(order, most)
        front = _Front(
            np.zeros((1, len(order)), dtype=np.int64), self._room[None].copy(), np.zeros(1)
        )
        for step, shape in enumerate(order.tolist()):
            choices = np.arange(least[shape], most[shape] + 1)
            front = self._decided(front, shape, choices, budget, rest[step + 1])
            if len(front.lost) > _MERGED_FROM and not self._every:
                front = self._merged(front, order[step + 1 :], most)
            if not len(front.lost):
                return Found(threshold, nothing, True)
            if len(front.lost) > states:
                return Found((self.ceiling - front.lost.min()) * (1 + SAFETY), nothing, False)
        value = float((front.counts @ self._worth).max())
        counts = np.zeros((len(front.lost), self._width), dtype=np.int64)
        counts[:, self._shapes] = front.counts
        return Found(max(value, threshold) * (1.0 + SAFETY), counts, True)

    def _merged(self, front: _Front, later: Ints, most: Ints) -> _Front:
        """Of those that leave the same room to whoever comes later only the one worth most."""
        usable = np.minimum(front.room, most[later] @ self._sizes[later])
        order = np.lexsort((-(front.counts @ self._worth), *usable.T))
        usable = usable[order]
        first = np.ones(len(order), dtype=np.bool_)
        first[1:] = (usable[1:] != usable[:-1]).any(axis=1)
        kept = order[first]
        return _Front(front.counts[kept], front.room[kept], front.lost[kept])

    def _ranges(self, budget: float) -> tuple[Ints, Ints]:
        """The least and the most of each shape that lose no more than ``budget`` alone."""
        with np.errstate(divide="ignore"):
            spare = np.minimum(budget / np.abs(self._gain), self._most)
        least = np.where(self._gain > 0, np.ceil(self._most - spare - 1e-6), 0.0)
        most = np.where(self._gain < 0, np.floor(spare + 1e-6), self._most)
        return np.maximum(least, 0).astype(np.int64), most.astype(np.int64)

    def _rest(self, order: Ints, most: Ints) -> Floats:
        """Shares of the bin that the shapes from each step on can still take [steps + 1, K]."""
        shares = (self._shares * most)[:, order].T
        sums = np.cumsum(shares[::-1], axis=0)[::-1]
        return np.vstack([sums, np.zeros((1, len(self._room)))])

    def _decided(
        self, front: _Front, shape: int, choices: Ints, budget: float, rest: Floats
    ) -> _Front:
        gain = self._gain[shape]
        loss = (self._most[shape] - choices) * gain if gain > 0 else choices * -gain
        lost = front.lost[:, None] + loss
        possible = lost < budget
        for resource, size in enumerate(self._sizes[shape].tolist()):
            if size:
                possible &= front.room[:, resource, None] >= choices * size
        row, choice = np.nonzero(possible)
        room = front.room[row] - choices[choice, None] * self._sizes[shape]
        lost = lost[row, choice]
        empty = np.maximum(room / np.maximum(self._room, 1) - rest, 0.0)
        kept = lost + empty @ self._weights < budget
        counts = front.counts[row[kept]]
        counts[:, shape] = choices[choice[kept]]
        return _Front(counts, room[kept], lost[kept])
