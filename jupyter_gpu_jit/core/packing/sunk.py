"""The bound of a plan when there are seats: they are bins that cost nothing, each there once.

The plan itself fills seats by rule (seats.py). Its bound must hold for every other way to share
out seats and new nodes, so it is proven anew for all sessions that have a place, with the seats
among the bins. Called by the solver where some seat could take somebody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from ..model import Resources, Seat
from .engine import Answer
from .fillings import Market, sizes
from .fills import Grid
from .master import Duals
from .problem import Ints, Problem
from .proof import FAIR, THOROUGH, prove
from .search import Pricer
from .served import Served

# Up to so many sessions the bound is proven thoroughly.
_LOOKED_AT_CLOSELY = 300


def bound_with_seats(
    market: Market,
    placed: Sequence[int],
    seats: Sequence[Seat],
    served: Served,
    packed: Answer,
    *,
    priced: Callable[[Problem], Problem] = lambda problem: problem,
) -> int:
    """Micro-USD per hour that any plan seating ``placed`` sessions of each shape spends on new
    nodes at least; ``priced`` puts something on top of what sessions cost there, and may add
    resources, of which seats have plenty.
    """
    kinds = _useful(market, placed, seats, served)
    if not kinds or packed.duals is None:
        return packed.lower_bound
    rooms = sizes([room for room, _ in kinds])[:, market.counted]
    asked = priced(market.problem(placed))
    plenty = np.full((len(rooms), asked.sizes.shape[1] - rooms.shape[1]), sum(placed))
    extended = _extended(asked, kinds, np.hstack([rooms, plenty]))
    duals = Duals(packed.duals, np.zeros(extended.bins), np.zeros(len(extended.rows)))
    effort = THOROUGH if sum(placed) <= _LOOKED_AT_CLOSELY else FAIR
    return prove(Pricer(Grid(extended)), duals, effort).value


def seats_matter(
    market: Market, placed: Sequence[int], seats: Sequence[Seat], served: Served
) -> bool:
    """Whether any of them could take one of those placed."""
    return bool(_useful(market, placed, seats, served))


def _useful(
    market: Market, placed: Sequence[int], seats: Sequence[Seat], served: Served
) -> Counter[tuple[Resources, int]]:
    """How many seats there are of each room and set of shapes, of those that could take any."""
    kinds: Counter[tuple[Resources, int]] = Counter()
    asked = [i for i, count in enumerate(placed) if count]
    for seat in seats:
        able = (i for i in asked if market.shapes[i].size.fits_in(seat.residual))
        mask = sum(1 << i for i in able if served.serves(i, seat))
        if mask:
            kinds[seat.residual, mask] += 1
    return kinds


def _extended(problem: Problem, kinds: Counter[tuple[Resources, int]], rooms: Ints) -> Problem:
    """The problem with seats among its bins."""
    shapes, nothing = range(problem.shapes), np.zeros(len(kinds), dtype=np.int64)
    serves = [[bool(mask >> shape & 1) for shape in shapes] for _, mask in kinds]
    return problem.with_bins(
        rooms=rooms,
        costs=nothing,
        serves=np.array(serves, dtype=np.bool_),
        risks=nothing,
        limits=np.array(list(kinds.values()), dtype=np.int64),
    )
