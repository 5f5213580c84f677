"""What a session costs: its share of a node, sums, and money spent over time.

All money is integer micro-USD, rounded up so that shown and capped figures are never too low.
Used by the planner (caps), quotes, progress messages and the session panel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from .model import Offering, Resources

PRIOR_INTERRUPTIONS_PER_HOUR = 0.01
"""How often a Spot node is taken back where nothing better is known: once in four days.

Between what the cloud's advisor publishes for GPU types (5 to 20 % of nodes a month, 0.0001 to
0.0003 an hour) and the public traces of NSDI'24 "Can't Be Late" (V100 pools in 2023, 19 % of
nodes within the hour): nearer to the advisor, which is newer and counts nodes, not probes.
"""


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
    return share_micro(node_usd_per_hour_micro, dominant_share(taken, total))


def share_micro(node_usd_per_hour_micro: int, share: Fraction) -> int:
    """That share of a node's price, micro-USD per hour, rounded up."""
    return -(-node_usd_per_hour_micro * share.numerator // share.denominator)


def total_usd_per_hour_micro(offerings: Iterable[Offering]) -> int:
    """What these offerings cost together, micro-USD per hour."""
    return sum(offering.usd_per_hour_micro for offering in offerings)


def spent_micro(usd_per_hour_micro: int, seconds: float) -> int:
    """Micro-USD spent in that time, billed per second begun; never negative."""
    whole_seconds = -int(-max(seconds, 0.0) // 1)
    return -(-usd_per_hour_micro * whole_seconds // 3600)


@dataclass(frozen=True, slots=True)
class NodeCosts:
    """What a node costs beyond its offering's price; 0 everywhere is the catalogue alone.

    ``root_disk`` in micro-USD per hour; a restart of the node and of each session on it in
    micro-USD, paid as often as the cloud is expected to take the node back.
    """

    root_disk: int = 0
    node_restart: int = 0
    session_restart: int = 0

    @property
    def depends_on_pool(self) -> bool:
        """Whether a pool's rate of interruption makes a difference."""
        return bool(self.node_restart or self.session_restart)

    def of_node(self, offering: Offering) -> int:
        """Price, root disk and expected restarts of the node, micro-USD per hour; at least 1.

        A price of 0 would make every filling equally good.
        """
        risk = round(self.node_restart * _rate(offering))
        return max(offering.usd_per_hour_micro + self.root_disk + risk, 1)

    def of_session(self, offering: Offering) -> int:
        """Expected restarts of one session there, micro-USD per hour."""
        return round(self.session_restart * _rate(offering))

    def together(self, offering: Offering, sessions: int) -> int:
        """The node with that many sessions, micro-USD per hour."""
        return self.of_node(offering) + sessions * self.of_session(offering)


def _rate(offering: Offering) -> float:
    return offering.interruptions_per_hour or 0.0
