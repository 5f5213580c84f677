"""Capacity: pools that hold so many instances, and vCPU quotas. Used by ``fleet`` and ``control``.

A pool is (zone, instance type, capacity type). Zones belong to one region, so the region is in
the key already. Nothing here knows time or chance; ``weather`` moves pools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .parameters import QUOTAS, Parameters, quota_class

PoolKey = tuple[str, str, str]
"""(zone, instance type, capacity type: ``spot`` or ``on-demand``)."""

NO_CAPACITY = "InsufficientInstanceCapacity"
SPOT_QUOTA, ON_DEMAND_QUOTA = "MaxSpotInstanceCountExceeded", "VcpuLimitExceeded"


@dataclass(slots=True)
class Pool:
    """``free`` more instances could be launched; ``refusal`` is the code of every launch."""

    free: int
    depth: int
    up: bool = True
    refusal: str = ""

    @property
    def room(self) -> int:
        """How many would be given now."""
        return self.free if self.up and not self.refusal else 0


@dataclass(slots=True)
class Market:
    """All pools and quotas. ``vcpus`` tells the vCPUs of a type."""

    parameters: Parameters
    vcpus: Callable[[str], int]
    pools: dict[PoolKey, Pool] = field(default_factory=dict)
    quotas: dict[tuple[str, str], int] = field(default_factory=dict)
    used: dict[tuple[str, str], int] = field(default_factory=dict)
    on_new_pool: Callable[[PoolKey, Pool], None] | None = None

    def pool(self, key: PoolKey) -> Pool:
        """That pool, made with the depth of the parameters when it is new."""
        found = self.pools.get(key)
        if found is None:
            found = self.pools[key] = Pool(self.parameters.depth, self.parameters.depth)
            if self.on_new_pool is not None:
                self.on_new_pool(key, found)
        return found

    def set_pool(self, key: PoolKey, values: Mapping[str, object]) -> Pool:
        """Set ``free``, ``up`` or ``refusal``; ``free`` sets the depth too."""
        pool = self.pool(key)
        if "free" in values:
            pool.free = pool.depth = int(str(values["free"]))
            pool.up = pool.free > 0
        if "up" in values:
            pool.up = bool(values["up"])
        if "refusal" in values:
            pool.refusal = str(values["refusal"])
        return pool

    def take(self, key: PoolKey, wanted: int) -> tuple[int, str]:
        """Up to ``wanted`` instances of a pool; how many, and the code for the rest."""
        pool = self.pool(key)
        within = self._within_quota(key)
        given = max(min(wanted, pool.room, within), 0)
        pool.free -= given
        self._use(key, given)
        if given == wanted:
            return given, ""
        return given, pool.refusal or (NO_CAPACITY if pool.room <= 0 else _quota_code(key))

    def give_back(self, key: PoolKey, count: int = 1) -> None:
        """Instances ended: quota is free at once, capacity only where the pool is up."""
        pool = self.pool(key)
        self._use(key, -count)
        if pool.up:
            pool.free = min(pool.free + count, pool.depth)

    def quota(self, kind: tuple[str, str]) -> int:
        """vCPUs that (class, capacity type) may use."""
        return self.quotas.get(kind, self.parameters.quota_vcpus)

    def _within_quota(self, key: PoolKey) -> int:
        kind = _kind(key)
        if kind not in QUOTAS and kind not in self.quotas:
            return 1_000_000
        left = self.quota(kind) - self.used.get(kind, 0)
        return max(left // max(self.vcpus(key[1]), 1), 0)

    def _use(self, key: PoolKey, count: int) -> None:
        kind = _kind(key)
        self.used[kind] = self.used.get(kind, 0) + count * self.vcpus(key[1])


def _kind(key: PoolKey) -> tuple[str, str]:
    return quota_class(key[1], key[2]), key[2]


def _quota_code(key: PoolKey) -> str:
    return SPOT_QUOTA if key[2] == "spot" else ON_DEMAND_QUOTA


def explain(code: str, key: PoolKey) -> str:
    """AWS's sentence for a code, as far as it is public; it names the zone."""
    zone, instance_type, capacity_type = key
    match code:
        case "InsufficientInstanceCapacity":
            return (
                f"We currently do not have sufficient {instance_type} capacity in the "
                f"Availability Zone you requested ({zone}). Our system will be working on "
                "provisioning additional capacity."
            )
        case "UnfulfillableCapacity":
            return "Unable to fulfill capacity due to your request configuration."
        case "MaxSpotInstanceCountExceeded":
            return "Max spot instance count exceeded"
        case "VcpuLimitExceeded":
            return (
                "You have requested more vCPU capacity than your current vCPU limit allows for "
                "the instance bucket that the specified instance type belongs to."
            )
        case "InsufficientFreeAddressesInSubnet":
            return f"There are not enough free addresses in the subnet in {zone}."
        case "Unsupported":
            return (
                f"Your requested instance type ({instance_type}) is not supported in your "
                f"requested Availability Zone ({zone})."
            )
    return f"{instance_type} ({capacity_type}) in {zone} was refused: {code}."
