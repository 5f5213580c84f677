"""Limits on how much may be bought of something, as side rows of the packing problem.

An account's vCPU quotas; one node of a type that is tried for the first time; the part of all
Spot nodes that may be in one pool or zone. Pools of a type that use different limits are bins of
their own, and a claim lists only pools that use no more of any limit than the one it was planned
for. The market asks what a pool uses, the solver which limits there are and why somebody waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from ..model import InstanceType, Offering, Probe, Snapshot
from ..pricing import NodeCosts
from ..quotas import vcpu_class
from ..requirements import CapacityType
from .explain import Explanation
from .market import Entry
from .problem import Bools, Ints

QUOTA_REACHED, PROBE_RUNNING = "QuotaReached", "ProbeRunning"


class Kind(StrEnum):
    """What a limit counts: vCPUs of a class, nodes of a new type, Spot nodes of a pool or zone."""

    QUOTA = "quota"
    PROBE = "probe"
    POOL = "pool"
    ZONE = "zone"


@dataclass(frozen=True, slots=True)
class Row:
    """One limit: ``name`` is a vCPU class or a type; what is empty holds for all."""

    kind: Kind
    name: str = ""
    zone: str = ""
    capacity_type: CapacityType = CapacityType.SPOT

    def uses(self, kind: InstanceType, pool: Offering) -> int:
        """How much one node of the pool takes of it."""
        if self.kind is Kind.PROBE:
            return int(kind.name == self.name)
        if pool.capacity_type is not self.capacity_type:
            return 0
        if self.kind is Kind.QUOTA:
            counted = vcpu_class(kind.name, pool.capacity_type) == self.name
            return kind.vcpu if counted else 0
        return int(pool.zone == self.zone and self.name in ("", kind.name))


@dataclass(frozen=True, slots=True)
class Rules:
    """What a market depends on besides catalogue and shapes: costs of a node, and limits."""

    costs: NodeCosts = field(default_factory=NodeCosts)
    rows: tuple[Row, ...] = ()

    def uses(self, kind: InstanceType, pool: Offering) -> tuple[int, ...]:
        """How much one node of the pool takes of each limit."""
        return tuple(row.uses(kind, pool) for row in self.rows)

    @property
    def by_price_alone(self) -> bool:
        """Whether the cheaper of two pools that serve the same is always the better one."""
        return not self.rows and not self.costs.depends_on_pool


@dataclass(frozen=True, slots=True)
class Limits:
    """Rules, and how much of each limit is free: the numbers change with every plan."""

    rules: Rules = field(default_factory=Rules)
    free: tuple[int, ...] = ()

    def and_also(self, rows: Iterable[tuple[Row, int]]) -> Limits:
        """With more limits."""
        more = tuple(rows)
        rules = Rules(self.rules.costs, self.rules.rows + tuple(row for row, _ in more))
        return Limits(rules, self.free + tuple(free for _, free in more))


def limits_of(snapshot: Snapshot, costs: NodeCosts, entries: Sequence[Entry]) -> Limits:
    """The limits that hold for every plan of that snapshot."""
    quotas = [
        (Row(Kind.QUOTA, quota.vcpu_class, capacity_type=quota.capacity_type), quota.free_vcpus)
        for quota in snapshot.quotas
    ]
    new = {entry.type.name for entry in entries if entry.type.probe is Probe.FIRST}
    probes = [(Row(Kind.PROBE, name), 1) for name in sorted(new)]
    return Limits(Rules(costs)).and_also([*quotas, *probes])


def is_limited(limits: Limits, uses: Ints, bought: Ints) -> bool:
    """Whether no node of the bins that use [bins, rows] can be had once so much is ``bought``."""
    return bool(limits.free) and bool(_kept_back(limits, uses, bought).any(axis=1).all())


def why_limited(limits: Limits, uses: Ints, bought: Ints) -> Explanation:
    """Why nobody gets a node of the bins that use [bins, rows], when so much is ``bought``.

    Told is the limit that keeps most of them back; there must be one that is no mere wish.
    """
    kept = _kept_back(limits, uses, bought).sum(axis=0)
    number = int(kept.argmax())
    used = uses[:, number]
    least = int(used[used > 0].min(initial=used.max(initial=0)))
    return _told(limits.rules.rows[number], limits.free[number] - int(bought[number]), least)


def _kept_back(limits: Limits, uses: Ints, bought: Ints) -> Bools:
    """Which limits keep which bins back; shares of pools are wishes, for which nobody waits."""
    left = np.array(limits.free, dtype=np.int64) - bought
    hard = [row.kind in (Kind.QUOTA, Kind.PROBE) for row in limits.rules.rows]
    return np.asarray((uses > left) & (uses > 0) & hard)


def _told(row: Row, left: int, least: int) -> Explanation:
    if row.kind is Kind.QUOTA:
        message = (
            f"The account's quota of {row.capacity_type.value} vCPUs of class {row.name} has "
            f"{max(left, 0)} left, and a node for it takes {least} or more"
        )
        return Explanation(QUOTA_REACHED, message, "it starts when others stop", True)
    message = f"{row.name} is new here and is tried with one node first"
    return Explanation(PROBE_RUNNING, message, "it starts when that node is up", True)
