"""What gave nothing lately, and for how long it is left alone: the memory of refused launches.

The provisioner keeps one value (state.py), hands what it excludes to the planner, and writes it
on its Lease, where the service reads it for quotes and the next leader goes on from it. It is a
cache: without it a dry pool is asked once more, which costs one refused fleet request per list of
offerings and the seconds until its answer.

A refusal is about one pool, about a whole zone (no addresses left in its subnets), about a whole
class of types (an account's quota), or about all that is sold in a way (no role for Spot); a
throttle is about nothing. First 3 minutes, twice
as long each time it happens again, 30 minutes at most; a success forgets it. (In public Spot
traces 23 % of pools are back 10 minutes after an outage began, and half after 29.)
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ..errors import UserError
from .annotations import WIRE_VERSION, canonical
from .model import InstanceType, Offering
from .quantity import format_time, parse_time
from .quotas import STANDARD, Quota, vcpu_class
from .requirements import CapacityType

FIRST_SECONDS, LONGEST_FACTOR = 180.0, 10.0

THROTTLE_CODES: Collection[str] = frozenset(
    (
        "EC2ThrottledException",
        "InternalError",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "Unavailable",
    )
)
QUOTA_CODES: Collection[str] = frozenset(("MaxSpotInstanceCountExceeded", "VcpuLimitExceeded"))
ADDRESS_CODES: Collection[str] = frozenset(("InsufficientFreeAddressesInSubnet",))
ROLE_CODES: Collection[str] = frozenset(("AuthFailure.ServiceLinkedRoleCreationNotPermitted",))


class Scope(StrEnum):
    """What a refusal is about."""

    POOL = "pool"
    ZONE = "zone"
    CLASS = "class"
    CAPACITY_TYPE = "capacity type"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What is left alone; only what the scope is about is set. ``name``: of the type or class."""

    scope: Scope
    name: str = ""
    zone: str = ""
    capacity_type: str = ""


@dataclass(frozen=True, slots=True)
class Spell:
    """Until when (epoch seconds), and how many times in a row it has come to that."""

    until: float
    times: int


@dataclass(frozen=True, slots=True)
class Dry:
    """The memory; every change gives a new one. A first spell lasts ``first_seconds``."""

    first_seconds: float = FIRST_SECONDS
    spells: Mapping[Key, Spell] = field(default_factory=dict)

    def failed(self, offering: Offering, code: str, *, now: float) -> Dry:
        """The offering was refused with the cloud's ``code``.

        One more refusal during a spell is the same shortage seen again and makes it no longer.
        """
        key = key_of(offering, code)
        if key is None:
            return self
        old = self.spells.get(key)
        if old is not None and now < old.until:
            return self
        times = old.times + 1 if old is not None else 1
        spell = Spell(now + self._length(times), times)
        return Dry(self.first_seconds, {**self._kept(now), key: spell})

    def succeeded(self, offering: Offering) -> Dry:
        """The offering was launched: whatever was said of it, its zone or its class is over."""
        over = {_key(scope, offering) for scope in Scope}
        if not over & self.spells.keys():
            return self
        kept = {key: spell for key, spell in self.spells.items() if key not in over}
        return Dry(self.first_seconds, kept)

    def excluded(self, types: Iterable[InstanceType], *, now: float) -> list[tuple[str, str, str]]:
        """Keys of the offerings to leave out for want of capacity or of addresses, sorted.

        Classes without quota are not among them: see ``without_quota``.
        """
        dry = {key for key in self._now(now) if key.scope is not Scope.CLASS}
        pools = {(key.name, key.zone, key.capacity_type) for key in dry if key.scope is Scope.POOL}
        zones = {key.zone for key in dry if key.scope is Scope.ZONE}
        sold = {key.capacity_type for key in dry if key.scope is Scope.CAPACITY_TYPE}
        offerings = (o for kind in types if zones or sold for o in kind.offerings)
        closed = {o.key for o in offerings if o.zone in zones or o.capacity_type in sold}
        return sorted(pools | closed)

    def without_quota(self, *, now: float) -> list[tuple[str, CapacityType]]:
        """Classes of vCPUs of which the account may have no more now, sorted."""
        classes = (key for key in self._now(now) if key.scope is Scope.CLASS)
        return sorted((key.name, CapacityType(key.capacity_type)) for key in classes)

    def next_end(self, *, now: float) -> float | None:
        """When the first spell that runs now is over, in epoch seconds."""
        return min((self.spells[key].until for key in self._now(now)), default=None)

    def _now(self, now: float) -> list[Key]:
        return [key for key, spell in self.spells.items() if now < spell.until]

    def _length(self, times: int) -> float:
        return self.first_seconds * min(2.0 ** (times - 1), LONGEST_FACTOR)

    def _kept(self, now: float) -> dict[Key, Spell]:
        """Without those that have been over for as long as a spell can last."""
        most = self.first_seconds * LONGEST_FACTOR
        return {key: spell for key, spell in self.spells.items() if now < spell.until + most}


def encode(dry: Dry, *, now: float) -> str:
    """What is left alone now, as an annotation."""
    rows = [
        {
            "scope": key.scope.value,
            "name": key.name,
            "zone": key.zone,
            "capacity_type": key.capacity_type,
            "until": format_time(spell.until),
            "times": spell.times,
        }
        for key, spell in sorted(dry.spells.items())
        if now < spell.until
    ]
    return canonical({"v": WIRE_VERSION, "spells": rows})


def decode(text: str, first_seconds: float = FIRST_SECONDS) -> Dry:
    """The memory as it was written; empty when there is none or it cannot be read.

    A quote or a plan that misses it is only as good as one was before the refusal.
    """
    try:
        rows = json.loads(text)["spells"]
        return Dry(first_seconds, {_read_key(row): _read_spell(row) for row in rows})
    except (ValueError, KeyError, TypeError, UserError):
        return Dry(first_seconds)


def _read_spell(row: Mapping[str, Any]) -> Spell:
    return Spell(parse_time(row["until"]), int(row["times"]))


def _read_key(row: Mapping[str, str]) -> Key:
    return Key(
        Scope(row["scope"]),
        name=row["name"],
        zone=row["zone"],
        capacity_type=row["capacity_type"],
    )


def closed(
    quotas: Iterable[Quota], classes: Collection[tuple[str, CapacityType]]
) -> tuple[Quota, ...]:
    """The quotas, with none left of those classes, whatever was thought of them before."""
    free = {(quota.vcpu_class, quota.capacity_type): quota.free_vcpus for quota in quotas}
    free |= dict.fromkeys(classes, 0)
    return tuple(
        Quota(vcpu_class=name, capacity_type=sold, free_vcpus=left)
        for (name, sold), left in sorted(free.items())
    )


def no_quota(name: str, capacity_type: CapacityType) -> str:
    """What somebody reads who waits for a class of types that the account may not have."""
    letters = name.partition("-")[0].upper() if name != STANDARD else name
    sold = "Spot" if capacity_type is CapacityType.SPOT else "on-demand"
    return f"Your cluster has no {sold} quota left for {letters} instances: ask your admin."


def key_of(offering: Offering, code: str) -> Key | None:
    """What such a refusal of that offering is about; None when it says nothing of it."""
    if code in THROTTLE_CODES:
        return None
    if code in QUOTA_CODES:
        return _key(Scope.CLASS, offering)
    if code in ROLE_CODES:
        return _key(Scope.CAPACITY_TYPE, offering)
    return _key(Scope.ZONE if code in ADDRESS_CODES else Scope.POOL, offering)


def _key(scope: Scope, offering: Offering) -> Key:
    sold = offering.capacity_type
    match scope:
        case Scope.ZONE:
            return Key(scope, zone=offering.zone)
        case Scope.CLASS:
            found = vcpu_class(offering.instance_type, sold)
            return Key(scope, name=found, capacity_type=sold.value)
        case Scope.CAPACITY_TYPE:
            return Key(scope, capacity_type=sold.value)
    return Key(scope, name=offering.instance_type, zone=offering.zone, capacity_type=sold.value)
