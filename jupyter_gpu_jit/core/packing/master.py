"""The master problem in HiGHS: how often to use each pattern, and what a session is worth.

One thread, a fixed seed, no time limit: equal problems give equal answers. HiGHS is told nothing
it must not be trusted with: objective values it reports are never read, and every integer program
gets a fresh object (1.16.0 answers wrongly when an object that solved a linear program is reused).
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray

from .pool import Pool
from .problem import UNLIMITED, Floats, Ints, Problem

_MICRO = 1e6


class Unsolved(Exception):
    """HiGHS found no optimum where there must be one; the plan at hand stands."""


@dataclass(frozen=True, slots=True)
class Duals:
    """What the last session of each shape costs, and what one node more of a limit saves.

    All in micro-USD per hour; ``limits[B]`` and ``rows[R]`` are 0 or more.
    """

    shapes: Floats
    limits: Floats
    rows: Floats

    def toward(self, other: Duals, part: float) -> Duals:
        """A point between this one and the other."""
        return Duals(
            self.shapes + part * (other.shapes - self.shapes),
            self.limits + part * (other.limits - self.limits),
            self.rows + part * (other.rows - self.rows),
        )


class _Rows:
    """Rows of the master: demand of each shape, then limited bins, then side rows."""

    def __init__(self, problem: Problem) -> None:
        self.limited = np.flatnonzero(problem.limits < UNLIMITED)
        self.problem = problem
        count = np.zeros((len(self.limited), problem.bins))
        count[np.arange(len(self.limited)), self.limited] = 1.0
        self.of_bin: Floats = np.vstack([count, problem.rows.astype(np.float64)])

    def bounds(self, demand: Ints) -> tuple[Floats, Floats]:
        """Lower and upper bounds of all rows."""
        limits = self.problem.limits[self.limited]
        most = np.concatenate([limits, self.problem.row_limits]).astype(np.float64)
        infinite = np.full(len(demand), highspy.kHighsInf)
        return (
            np.concatenate([demand.astype(np.float64), np.full(len(most), -highspy.kHighsInf)]),
            np.concatenate([infinite, most]),
        )

    def columns(self, bins: Ints, counts: Ints) -> Floats:
        """Coefficients of patterns [P, rows]."""
        return np.hstack([counts.astype(np.float64), self.of_bin[:, bins].T])

    def duals(self, row_duals: Floats) -> Duals:
        """Split the duals of all rows, in micro-USD."""
        shapes, limited = self.problem.shapes, len(self.limited)
        limits = np.zeros(self.problem.bins)
        limits[self.limited] = np.maximum(-row_duals[shapes : shapes + limited], 0) * _MICRO
        return Duals(
            np.maximum(row_duals[:shapes], 0) * _MICRO,
            limits,
            np.maximum(-row_duals[shapes + limited :], 0) * _MICRO,
        )


def _quiet() -> highspy.Highs:
    highs = highspy.Highs()  # type: ignore[no-untyped-call]  # its own annotation is missing
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    highs.setOptionValue("random_seed", 0)
    return highs


def _run(highs: highspy.Highs) -> None:
    highs.run()
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise Unsolved


def _sparse(columns: Floats) -> tuple[NDArray[np.int32], NDArray[np.int32], Floats]:
    """Starts, row numbers and values of columns given as dense rows."""
    where, rows = np.nonzero(columns)
    starts = np.searchsorted(where, np.arange(len(columns)))
    return starts.astype(np.int32), rows.astype(np.int32), columns[where, rows]


def _add_rows(highs: highspy.Highs, lower: Floats, upper: Floats) -> None:
    none = np.zeros(0, dtype=np.int32)
    starts = np.zeros(len(lower), dtype=np.int32)
    highs.addRows(len(lower), lower, upper, 0, starts, none, np.zeros(0))


def _add_columns(highs: highspy.Highs, costs: Ints, columns: Floats) -> None:
    starts, rows, values = _sparse(columns)
    size = len(costs)
    upper = np.full(size, highspy.kHighsInf)
    highs.addCols(size, costs / _MICRO, np.zeros(size), upper, len(values), starts, rows, values)


class Master:
    """The linear program over a pool; keeps its basis while the pool grows."""

    def __init__(self, pool: Pool, demand: Ints) -> None:
        self.pool = pool
        self._rows = _Rows(pool.problem)
        self._known = 0
        self._highs = _quiet()
        # Primal: columns come in, the basis stays feasible.
        self._highs.setOptionValue("presolve", "off")
        self._highs.setOptionValue("solver", "simplex")
        self._highs.setOptionValue("simplex_strategy", 4)
        _add_rows(self._highs, *self._rows.bounds(demand))

    def solve(self) -> tuple[Floats, Duals]:
        """How often each pattern is used, and the duals. Raises Unsolved."""
        if self._known < len(self.pool):
            columns = self._rows.columns(self.pool.bins(self._known), self.pool.counts(self._known))
            _add_columns(self._highs, self.pool.costs(self._known), columns)
            self._known = len(self.pool)
        _run(self._highs)
        solution = self._highs.getSolution()
        uses = np.maximum(np.array(solution.col_value), 0.0)
        return uses, self._rows.duals(np.array(solution.row_dual))


def whole_uses(pool: Pool, demand: Ints, *, nodes: int) -> Ints | None:
    """How often to use each pattern in whole nodes; None if that many search nodes find nothing."""
    rows = _Rows(pool.problem)
    columns = rows.columns(pool.bins(), pool.counts())
    return whole(pool.costs(), columns, *rows.bounds(demand), nodes=nodes)


def _in_whole_numbers(highs: highspy.Highs, size: int, nodes: int, gap: float) -> Ints | None:
    highs.setOptionValue("mip_rel_gap", gap)
    highs.setOptionValue("mip_abs_gap", 0.0)
    highs.setOptionValue("mip_max_nodes", nodes)
    every = np.arange(size, dtype=np.int32)
    integers = np.full(size, highspy.HighsVarType.kInteger)
    highs.changeColsIntegrality(size, every, integers)
    highs.run()
    if highs.getInfo().primal_solution_status != 2:
        return None
    uses: Ints = np.rint(np.array(highs.getSolution().col_value)).astype(np.int64)
    return uses


def relaxed(costs: Ints, columns: Floats, lower: Floats, upper: Floats) -> Floats:
    """Duals of the rows of a linear program, micro-USD; columns [P, rows]. Raises Unsolved."""
    highs = _quiet()
    _add_rows(highs, lower, upper)
    _add_columns(highs, costs, columns)
    _run(highs)
    return np.array(highs.getSolution().row_dual, dtype=np.float64) * _MICRO


def whole(
    costs: Ints, columns: Floats, lower: Floats, upper: Floats, *, nodes: int, gap: float = 0.0
) -> Ints | None:
    """How often to use each column in whole numbers; None if so many search nodes find nothing.

    The search ends where the answer is known to be within ``gap`` of the best.
    """
    highs = _quiet()
    _add_rows(highs, lower, upper)
    _add_columns(highs, costs, columns)
    return _in_whole_numbers(highs, len(costs), nodes, gap)


def multipliers(worth: Floats, shares: Floats, most: Floats) -> Floats:
    """What each resource of a bin is worth when sessions may be cut. Raises Unsolved."""
    highs = _quiet()
    highs.setOptionValue("presolve", "off")
    resources, scale = len(shares), float(worth.max(initial=1e-9))
    _add_rows(highs, np.full(resources, -highspy.kHighsInf), np.ones(resources))
    starts, rows, values = _sparse(shares.T)
    size = len(worth)
    highs.addCols(size, -worth / scale, np.zeros(size), most, len(values), starts, rows, values)
    _run(highs)
    return np.asarray(np.maximum(-np.array(highs.getSolution().row_dual), 0.0) * scale)
