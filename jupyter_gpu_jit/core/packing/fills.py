"""Filling bins by the thousand: many bins, each in several orders, in a few numpy calls.

A filling takes the shapes of a bin one after the other, each as often as room and demand allow.
What makes it good is the order: what a session is worth for the share of the bin it takes, where
the share is weighed in several ways. Used by the greedy planner and by column generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from .problem import Bools, Floats, Ints, Problem

# Added to a room so that rounding cannot turn an exact fit into a miss, nor a miss into a fit.
_HALF = 0.5
# Stands for "any number of them" where a shape uses none of a resource.
_PLENTY = 1e9
TINY = 1e-12
Numbers = TypeVar("Numbers", Floats, Ints)
# A bin with more than that many times a node's part of everything is larger than needed.
_AMPLE = 4
# Orders that lean to one resource; to a third or fourth gained nothing in any mix tried.
_LEANING = 2
# So many shapes are tried on a bin, the densest; of the others hardly one ever finds room.
_TRIED = 128


@dataclass(frozen=True, eq=False)
class Grid:
    """A problem as floats, laid out for filling: resources first."""

    problem: Problem

    @cached_property
    def sizes(self) -> Floats:
        """[K,S]."""
        return np.ascontiguousarray(self.problem.sizes.T, dtype=np.float64)

    @cached_property
    def per_unit(self) -> Floats:
        """One over the size [K,S]."""
        return np.where(self.sizes > 0, 1.0 / np.maximum(self.sizes, 1.0), _PLENTY)

    @cached_property
    def rooms(self) -> Floats:
        """[K,B]."""
        return np.ascontiguousarray(self.problem.rooms.T, dtype=np.float64)

    @cached_property
    def fits(self) -> Floats:
        """[B,S]."""
        return self.problem.fits.astype(np.float64)

    @cached_property
    def costs(self) -> Floats:
        """[B]; never 0, so that worth per cost is a number."""
        return np.maximum(self.problem.costs, 1).astype(np.float64)

    @cached_property
    def extra(self) -> Floats:
        """[B,S]."""
        return self.problem.extra.astype(np.float64)

    @cached_property
    def shares(self) -> Floats:
        """The share of each resource of a bin that one session takes [K,B,S]."""
        rooms = np.maximum(self.rooms, 1.0)
        return self.sizes[:, None, :] / rooms[:, :, None]

    @cached_property
    def weighed(self) -> Floats:
        """Shares summed under each fixed weighing of the resources [W,B,S]."""
        largest = self.shares.max(axis=0)
        mean = self.shares.mean(axis=0)
        leaning = [0.5 * share + 0.5 * mean for share in self.shares[:_LEANING]]
        return np.stack([mean, largest, *leaning]) + TINY

    @cached_property
    def kinds(self) -> Ints:
        """A number for each bin [B]; those of one room and cost (zones of a type) have the same."""
        looks = np.column_stack([self.problem.rooms, self.problem.costs])
        return np.unique(looks, axis=0, return_inverse=True)[1].ravel()

    @cached_property
    def sensible(self) -> Bools:
        """Bins [B] that are not needlessly large.

        Where every bin has equally little of something, as with "one of us per node", that says
        how many nodes there must be, and so how much of everything else each can use. Larger bins
        only help some nodes to more than their part, and leave the others empty.
        """
        every = np.ones(self.problem.bins, dtype=np.bool_)
        needed = self.sizes @ self.problem.demand
        least = self.rooms.min(axis=1, initial=np.inf)
        most = self.rooms.max(axis=1, initial=0.0)
        same, grows = (needed > 0) & (least == most), (needed > 0) & (least < most)
        nodes = float((needed[same] / np.maximum(most[same], 1.0)).max(initial=0.0))
        if not nodes or not grows.any():
            return every
        room = self.rooms[grows] * nodes
        small = (room <= _AMPLE * needed[grows, None]).any(axis=0)
        all_served = (self.fits[small] > 0).any(axis=0) | ~(self.fits > 0).any(axis=0)
        return small if all_served.all() else every

    def worth(self, duals: Floats) -> Floats:
        """What a session is worth in each bin, less what it adds to the cost there [B,S]."""
        if self.problem.has_extra:
            return np.asarray(duals - self.extra)
        return np.broadcast_to(duals, self.fits.shape)

    def fill(self, bins: Ints, density: Floats, caps: Floats) -> Floats:
        """Fill ``bins[n]`` with at most ``caps[n,S]``, densest first; only what has density > 0."""
        useful = (caps > 0) & (density > 0)
        order = np.argsort(np.where(useful, -density, 0.0), axis=1, kind="stable")
        depth = min(int(useful.sum(axis=1).max(initial=0)), _TRIED)
        ranked = np.ascontiguousarray(order[:, :depth].T)
        every = np.arange(len(bins))
        most = np.where(useful, caps, 0.0)[every, ranked]
        room = self.rooms[:, bins] + _HALF
        counts = np.zeros_like(caps)
        for shape, limit in zip(ranked, most, strict=True):
            taken = (room * self.per_unit.take(shape, axis=1)).min(axis=0)
            taken = np.minimum(np.floor(taken), limit)
            room -= taken * self.sizes.take(shape, axis=1)
            counts[every, shape] = taken
        return counts

    def fill_all(
        self, bins: Ints, densities: Sequence[Floats], caps: Floats
    ) -> tuple[Ints, Floats]:
        """The same bins once in each order: bins [n] and counts [n,S]."""
        rows = np.concatenate([bins] * len(densities))
        density = np.concatenate(list(densities))
        return rows, self.fill(rows, density, np.concatenate([caps] * len(densities)))


def distinct(bins: Ints, counts: Numbers) -> tuple[Ints, Numbers]:
    """Without rows that say the same as an earlier one, and without empty ones."""
    seen: dict[bytes, int] = {}
    keys = np.column_stack([bins.astype(np.int16), counts.astype(np.int16)])
    for row in np.flatnonzero(counts.sum(axis=1)).tolist():
        seen.setdefault(keys[row].tobytes(), row)
    kept = np.array(list(seen.values()), dtype=np.int64)
    return bins[kept], counts[kept]
