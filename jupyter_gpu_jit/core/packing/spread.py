"""Not all Spot nodes in one pool: the pools and zones that a plan crowds, as further limits.

An interruption takes a whole pool, so the policy says what part of the Spot nodes may be in one
pool, and in one zone. A plan is made without such limits first; where it crowds a pool that pool
gets a limit, and the plan is made again. Nobody is refused for it: see the solver.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ..model import Offering, Seat
from ..requirements import CapacityType
from .limits import Kind, Row
from .policy import Policy

Sold = tuple[Offering, int]
"""What a plan buys, and how often."""


def crowded(
    sold: Sequence[Sold], seats: Iterable[Seat], policy: Policy, known: Iterable[Row]
) -> list[tuple[Row, int]]:
    """Limits for pools and zones that have more than their part of the Spot nodes.

    Spot nodes that exist count as well; they stay where they are. ``known`` limits hold already.
    """
    there = Counter(row for seat in seats if _is_spot(seat) for row in _rows(seat))
    planned: Counter[Row] = Counter()
    for offering, count in sold:
        if _is_spot(offering):
            for row in _rows(offering):
                planned[row] += count
    return sorted(_too_many(there, planned, policy, set(known)), key=_by_name)


def _is_spot(each: Seat | Offering) -> bool:
    return each.capacity_type is CapacityType.SPOT


def _rows(each: Seat | Offering) -> tuple[Row, Row]:
    """The pool and the zone it is in."""
    return Row(Kind.POOL, each.instance_type, each.zone), Row(Kind.ZONE, zone=each.zone)


def _too_many(
    there: Counter[Row], planned: Counter[Row], policy: Policy, known: set[Row]
) -> Iterator[tuple[Row, int]]:
    shares = {Kind.POOL: policy.max_pool_share, Kind.ZONE: policy.max_zone_share}
    for kind, share in shares.items():
        nodes = sum(count for row, count in (there + planned).items() if row.kind is kind)
        most = math.ceil(share * nodes - 1e-9)
        for row, count in planned.items():
            if row.kind is kind and row not in known and there[row] + count > most:
                yield row, max(0, most - there[row])


def _by_name(each: tuple[Row, int]) -> tuple[str, str, str]:
    return each[0].kind, each[0].name, each[0].zone
