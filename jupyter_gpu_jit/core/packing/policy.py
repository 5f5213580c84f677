"""What the admin lets the planner do, and what one plan hands to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ...errors import Defect
from ..model import Resources
from ..pricing import PRIOR_INTERRUPTIONS_PER_HOUR, NodeCosts
from ..requirements import CapacityType

# Before Nitro: today's images are not made for them.
_OLD = ("c1", "c3", "c4", "d2", "g2", "g3", "g3s", "h1", "i2", "i3", "m1", "m2", "m3", "m4")
_OLDER = ("p2", "p3", "r3", "r4", "t1", "t2", "x1", "x1e")
# Priced for another accelerator that a session could not use.
_ACCELERATED = ("dl1", "dl2q", "f1", "f2", "inf1", "inf2", "trn1", "trn1n", "trn2", "trn2u", "vt1")
# Not for ordinary nodes: no Spot, a cluster of their own.
_HPC = ("hpc6a", "hpc6id", "hpc7a", "hpc7g", "hpc8a")
DEFAULT_EXCLUDED_FAMILIES = frozenset((*_OLD, *_OLDER, *_ACCELERATED, *_HPC))


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Limits on what may be bought, and what it costs beyond the offering's price.

    ``price_factor``: a claim may list offerings up to that many times its cheapest one's price.
    ``daemons``: what DaemonSets take of each new node. ``node_restart_usd_micro`` and
    ``session_restart_usd_micro`` are paid per interruption, ``prior_interruptions_per_hour`` is
    the rate of a Spot pool of which none is known. ``max_pool_share`` and ``max_zone_share``: the
    part of a profile's sessions that may be in one Spot pool (type and zone) and in one zone of
    Spot nodes; 1 is off. ``spread_price_factor``: that may make the new nodes so many times
    dearer at most.
    """

    excluded_families: frozenset[str] = DEFAULT_EXCLUDED_FAMILIES
    price_factor: float = 1.2
    max_offerings: int = 60
    daemons: Resources = field(default_factory=Resources)
    root_disk_usd_per_hour_micro: int = 0
    node_restart_usd_micro: int = 0
    session_restart_usd_micro: int = 0
    prior_interruptions_per_hour: float = 0.0
    max_pool_share: float = 1.0
    max_zone_share: float = 1.0
    spread_price_factor: float = math.inf

    def __post_init__(self) -> None:
        """Raise Defect for limits under which nothing could be listed."""
        if self.price_factor < 1 or self.max_offerings < 1:
            raise Defect("A policy needs price_factor >= 1 and max_offerings >= 1.")
        if self.spread_price_factor < 1:
            raise Defect("A policy needs spread_price_factor >= 1.")
        if not (0 < self.max_pool_share <= 1 and 0 < self.max_zone_share <= 1):
            raise Defect("A policy needs shares of pools and zones above 0 and at most 1.")

    @property
    def spreads(self) -> bool:
        """Whether sessions are to be spread over Spot pools or zones."""
        return min(self.max_pool_share, self.max_zone_share) < 1

    def rate_of(self, capacity_type: CapacityType, known: float | None) -> float | None:
        """How often the cloud takes a node back per hour, by what is known of its pool."""
        if known is not None or capacity_type is CapacityType.ON_DEMAND:
            return known
        return self.prior_interruptions_per_hour or None

    @property
    def node_costs(self) -> NodeCosts:
        """The same for core.pricing."""
        return NodeCosts(
            root_disk=self.root_disk_usd_per_hour_micro,
            node_restart=self.node_restart_usd_micro,
            session_restart=self.session_restart_usd_micro,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """What an earlier plan found (its ``Plan.patterns``), as a head start for the next."""

    patterns: tuple[Any, ...] = ()


EMPTY = Warm()
BARE = DEFAULT = Policy()
"""The catalogue's figures alone."""
USUAL = Policy(
    root_disk_usd_per_hour_micro=11_000,
    node_restart_usd_micro=20_000,
    session_restart_usd_micro=250_000,
    prior_interruptions_per_hour=PRIOR_INTERRUPTIONS_PER_HOUR,
    max_pool_share=0.5,
    spread_price_factor=1.25,
)
"""What a hub should plan with unless its admin says otherwise.

Root disk: 100 GB of gp3 at 0.08 USD a month per GB. Restart of a node: some three minutes of a
small GPU node in which nobody computes; of a session: a quarter of a dollar, the price of a
move. Half of a profile's sessions in one pool: an interruption takes a whole pool within minutes
(92 % of those seen in the 2026 study Spot-and-Scoot), and then half of the class goes on working.
Not at any price: two shares of an A100 are not worth two nodes of eight.
"""
