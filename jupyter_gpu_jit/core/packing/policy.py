"""What the admin lets the planner do, and what one plan hands to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...errors import Defect
from ..model import Resources

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
    """Limits on what may be bought.

    ``price_factor``: a claim may list offerings up to that many times its cheapest one's price.
    ``daemons``: what DaemonSets take of each new node.
    """

    excluded_families: frozenset[str] = DEFAULT_EXCLUDED_FAMILIES
    price_factor: float = 1.2
    max_offerings: int = 60
    daemons: Resources = field(default_factory=Resources)

    def __post_init__(self) -> None:
        """Raise Defect for limits under which nothing could be listed."""
        if self.price_factor < 1 or self.max_offerings < 1:
            raise Defect("A policy needs price_factor >= 1 and max_offerings >= 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """What an earlier plan found (its ``Plan.patterns``), as a head start for the next."""

    patterns: tuple[Any, ...] = ()


EMPTY = Warm()
DEFAULT = Policy()
