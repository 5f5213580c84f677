"""One session: the cheapest node that may be bought for it, which is the optimum.

Called by the engine. Quotes ask it for every profile at once, so it is a few comparisons.
"""

from __future__ import annotations

from .greedy import Purse
from .problem import Load, Problem


def cheapest_for_one(problem: Problem) -> Load | None:
    """The node for the only session there is; None where nothing that may be bought holds it."""
    shape = int(problem.demand.argmax())
    holds = problem.serves[:, shape] & (problem.rooms >= problem.sizes[shape]).all(axis=1)
    affordable = Purse.of(problem).affordable()
    able = affordable[holds[affordable]]
    costs = problem.costs[able] + problem.extra[able, shape]
    if problem.budget is not None:
        able, costs = able[costs <= problem.budget], costs[costs <= problem.budget]
    if not len(able):
        return None
    return Load(int(able[costs.argmin()]), tuple(problem.demand.tolist()), 1)
