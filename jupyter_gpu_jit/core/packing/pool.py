"""Patterns found so far: a bin, how many sessions of each shape are on it, and what it costs.

Columns of the master problem. Each pattern is there once; patterns only ever come, so that the
number of a pattern is also the number of its column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .problem import Ints, Load, Problem


class Pool:
    """Patterns of one problem; rows of ``counts`` are [P,S]."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._known: dict[tuple[int, bytes], int] = {}
        self._bins: list[int] = []
        self._counts: list[Ints] = []
        self._costs: list[int] = []

    def __len__(self) -> int:
        return len(self._bins)

    def add(self, bins: Iterable[int], counts: Sequence[Ints]) -> int:
        """Take in what is new; how many that were."""
        before = len(self)
        for bin_, filling in zip(bins, counts, strict=True):
            key = (int(bin_), filling.tobytes())
            if key not in self._known:
                self._known[key] = len(self._bins)
                self._bins.append(int(bin_))
                self._counts.append(filling)
                added = self.problem.extra[bin_] @ filling if self.problem.has_extra else 0
                self._costs.append(int(self.problem.costs[bin_] + added))
        return len(self) - before

    def add_loads(self, loads: Iterable[Load]) -> int:
        """Take in the patterns of a plan."""
        loads = list(loads)
        return self.add(
            [load.bin for load in loads], [np.array(load.counts, dtype=np.int64) for load in loads]
        )

    def bins(self, first: int = 0) -> Ints:
        """Bins of the patterns from that number on."""
        return np.array(self._bins[first:], dtype=np.int64)

    def costs(self, first: int = 0) -> Ints:
        """Costs of one node each."""
        return np.array(self._costs[first:], dtype=np.int64)

    def counts(self, first: int = 0) -> Ints:
        """Sessions of each shape [P,S]."""
        if first >= len(self):
            return np.zeros((0, self.problem.shapes), dtype=np.int64)
        return np.stack(self._counts[first:])

    def load(self, number: int, repeat: int) -> Load:
        """That pattern as nodes."""
        return Load(self._bins[number], tuple(self._counts[number].tolist()), repeat)
