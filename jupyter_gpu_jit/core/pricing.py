"""What a session costs: its share of a node, sums, and money spent over time.

All money is integer micro-USD, rounded up so that shown and capped figures are never too low.
Used by the planner (caps), quotes, progress messages and the session panel.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from .model import Offering, Resources


def dominant_share(taken: Resources, total: Resources) -> Fraction:
    """Largest share of GPUs, CPU and memory that ``taken`` is of ``total``: 0 to 1.

    Taking something of which the node reports none counts as the whole node.
    """
    pairs = (
        (taken.gpus, total.gpus),
        (taken.cpu_millicpu, total.cpu_millicpu),
        (taken.memory_bytes, total.memory_bytes),
    )
    shares = (Fraction(used, of) if of > 0 else Fraction(1) for used, of in pairs if used > 0)
    return min(max(shares, default=Fraction(0)), Fraction(1))


def session_share_micro(node_usd_per_hour_micro: int, taken: Resources, total: Resources) -> int:
    """A session's part of a node's price, micro-USD per hour, rounded up."""
    share = dominant_share(taken, total)
    return -(-node_usd_per_hour_micro * share.numerator // share.denominator)


def total_usd_per_hour_micro(offerings: Iterable[Offering]) -> int:
    """What these offerings cost together, micro-USD per hour."""
    return sum(offering.usd_per_hour_micro for offering in offerings)


def spent_micro(usd_per_hour_micro: int, seconds: float) -> int:
    """Micro-USD spent in that time, billed per second begun; never negative."""
    whole_seconds = -int(-max(seconds, 0.0) // 1)
    return -(-usd_per_hour_micro * whole_seconds // 3600)
