"""Profiles that just miss an instance type, and what trimming them would save.

"8 CPU" does not fit a node of 8 vCPU, of which pods can have 7.91: the session gets a node twice
as large. Called by ``gpu-jit plan --lint`` with an admin's profiles or a file of requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .model import InstanceType, Profile, Resources
from .nodes import SESSION_TOLERATIONS
from .packing.market import Entry, entries, pool_failures, type_failures
from .packing.policy import Policy
from .packing.shapes import Shape, how_many
from .quantity import GIB, MIB, format_bytes, format_cpu, format_usd
from .requirements import CapacityPolicy

# A profile asks for a round number; giving up more than a tenth of it is no trimming.
MOST_TRIMMED = 10
_LEAST_SAVED_PERMILLE = 10
_MOST_SHARING = 64
# Finest first: each is taken if the next, rounder one is too much.
_CPU_STEPS, _MEMORY_STEPS = (10, 100), (MIB, GIB // 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """``sharing`` sessions of the trimmed size fill one node of ``instance_type``.

    Prices are of one session, micro-USD per hour: now, and once trimmed.
    """

    slug: str
    asked: Resources
    trimmed: Resources
    instance_type: str
    room: Resources
    sharing: int
    now_type: str
    now_usd_per_hour_micro: int
    then_usd_per_hour_micro: int

    @property
    def saved_micro(self) -> int:
        """What a session costs less, micro-USD per hour."""
        return self.now_usd_per_hour_micro - self.then_usd_per_hour_micro

    @property
    def saved_percent(self) -> float:
        """The same in per cent of what it costs now."""
        return 100 * self.saved_micro / self.now_usd_per_hour_micro

    def sentence(self) -> str:
        """The finding for an admin."""
        return (
            f"{self.slug}: {self._misses()} of {self.instance_type}. With {self._with()} "
            f"{self._seated()} {format_usd(self.then_usd_per_hour_micro)}/h instead of "
            f"{format_usd(self.now_usd_per_hour_micro)}/h on {self.now_type}: "
            f"{format_usd(self.saved_micro)}/h ({self.saved_percent:.0f} %) less."
        )

    def _misses(self) -> str:
        times = f"{self.sharing} x " if self.sharing > 1 else ""
        what = [
            f"{times}{asked} just misses the {room}" for asked, room in self._changes(self.room)
        ]
        return " and ".join(what)

    def _with(self) -> str:
        return " and ".join(after for _, after in self._changes(self.trimmed))

    def _changes(self, other: Resources) -> Iterator[tuple[str, str]]:
        if self.trimmed.cpu_millicpu != self.asked.cpu_millicpu:
            yield _cpu(self.asked), _cpu(other)
        if self.trimmed.memory_bytes != self.asked.memory_bytes:
            yield _gib(self.asked), _gib(other)

    def _seated(self) -> str:
        if self.sharing == 1:
            return "a session alone there costs"
        return f"{self.sharing} sessions share it and each costs"


def lint(
    profiles: Sequence[Profile], types: tuple[InstanceType, ...], policy: Policy
) -> tuple[Finding, ...]:
    """The best trimming of each profile that has one worth 1 % or more, in their order."""
    eligible = entries(types, policy)
    found = (_Look(profile, eligible).best() for profile in profiles)
    return tuple(finding for finding in found if finding is not None)


class _Look:
    """One profile against the market: what a session costs on a full node, now and trimmed."""

    def __init__(self, profile: Profile, eligible: Sequence[Entry]) -> None:
        self.slug, self.asked = profile.slug, profile.resources
        needs = replace(profile.requirements, tolerations=SESSION_TOLERATIONS)
        self.offers = list(self._offers(Shape(self.asked, needs, ()), eligible))
        if not self.offers:
            # Nothing of its capacity type is sold here: on what there is, then.
            needs = replace(needs, capacity=CapacityPolicy.SPOT_THEN_ON_DEMAND)
            self.offers = list(self._offers(Shape(self.asked, needs, ()), eligible))

    def _offers(self, shape: Shape, eligible: Sequence[Entry]) -> Iterator[tuple[Entry, int]]:
        """Types that would serve the profile if its size were right, with their least price."""
        # A probe of no size at all: only what trimming cannot mend keeps a type out.
        small = replace(shape, size=Resources(gpus=shape.size.gpus, pods=1))
        for entry in eligible:
            idle = shape.cpu_only and entry.room.gpus > 0
            if idle or any(type_failures(small, entry)):
                continue
            pools = [p for p in entry.pools if not any(pool_failures(small, entry, p))]
            if pools:
                yield entry, max(pools[0].usd_per_hour_micro, 1)

    def best(self) -> Finding | None:
        """What saves most for a session alone on its node; else for sessions that fill one."""
        for alone in (True, False):
            now = self._now(alone=alone)
            found = [] if now is None else list(self._trimmings(*now, alone=alone))
            if found:
                return min(found, key=self._order)
        return None

    def _order(self, finding: Finding) -> tuple[int, int, int, str]:
        """The cheapest, then what trims least."""
        trimmed = finding.trimmed
        return (
            finding.then_usd_per_hour_micro,
            -trimmed.cpu_millicpu,
            -trimmed.memory_bytes,
            finding.instance_type,
        )

    def _now(self, *, alone: bool) -> tuple[int, str] | None:
        """The least a session costs as asked, and the type: alone, or on a full node."""
        prices = (
            (price if alone else -(-price // count), entry.type.name)
            for entry, price in self.offers
            if (count := how_many(self.asked, entry.room, _MOST_SHARING))
        )
        return min(prices, default=None)

    def _trimmings(self, price: int, kind: str, *, alone: bool) -> Iterator[Finding]:
        """Types that one more session would fit if it were trimmed, where that saves enough."""
        for entry, cost in self.offers:
            sharing = how_many(self.asked, entry.room, _MOST_SHARING) + 1
            trimmed = self._trimmed(entry.room, sharing) if (sharing == 1) is alone else None
            then = -(-cost // sharing)
            if trimmed is not None and then * 1000 <= price * (1000 - _LEAST_SAVED_PERMILLE):
                yield Finding(
                    slug=self.slug,
                    asked=self.asked,
                    trimmed=trimmed,
                    instance_type=entry.type.name,
                    room=entry.room,
                    sharing=sharing,
                    now_type=kind,
                    now_usd_per_hour_micro=price,
                    then_usd_per_hour_micro=then,
                )

    def _trimmed(self, room: Resources, sharing: int) -> Resources | None:
        """The size at which that many fit; None when that is more than trimming."""
        asked = self.asked
        if asked.gpus * sharing > room.gpus or sharing > room.pods:
            return None
        cpu = min(asked.cpu_millicpu, room.cpu_millicpu // sharing)
        memory = min(asked.memory_bytes, room.memory_bytes // sharing)
        size = replace(asked, cpu_millicpu=cpu, memory_bytes=memory)
        return self._rounded(size) if self._is_trimming(size) else None

    def _is_trimming(self, size: Resources) -> bool:
        kept = 100 - MOST_TRIMMED
        return (
            size.cpu_millicpu * 100 >= self.asked.cpu_millicpu * kept
            and size.memory_bytes * 100 >= self.asked.memory_bytes * kept
        )

    def _rounded(self, size: Resources) -> Resources:
        """Down to numbers that people write, where that is still no more than trimming."""
        for step in _CPU_STEPS if size.cpu_millicpu != self.asked.cpu_millicpu else ():
            size = self._down(size, cpu_millicpu=size.cpu_millicpu // step * step)
        for step in _MEMORY_STEPS if size.memory_bytes != self.asked.memory_bytes else ():
            size = self._down(size, memory_bytes=size.memory_bytes // step * step)
        return size

    def _down(self, size: Resources, **less: int) -> Resources:
        smaller = replace(size, **less)
        return smaller if self._is_trimming(smaller) else size


def report(found: Sequence[Finding], looked_at: int, source: str) -> str:
    """All findings as text."""
    if not found:
        return f"None of {looked_at} just misses an instance type, on {source}."
    head = f"{len(found)} of {looked_at} just miss an instance type, on {source}:"
    return "\n".join([head, *(f"- {finding.sentence()}" for finding in found)])


def report_json(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """All findings as plain data; prices of one session in USD per hour."""
    return [
        {
            "slug": finding.slug,
            "instance_type": finding.instance_type,
            "sharing": finding.sharing,
            "asked": _plain(finding.asked),
            "trimmed": _plain(finding.trimmed),
            "usd_per_hour_now": finding.now_usd_per_hour_micro / 1_000_000,
            "usd_per_hour_trimmed": finding.then_usd_per_hour_micro / 1_000_000,
            "saved_percent": round(finding.saved_percent, 1),
            "message": finding.sentence(),
        }
        for finding in found
    ]


def _plain(size: Resources) -> dict[str, str]:
    return {"cpu": format_cpu(size.cpu_millicpu), "memory": format_bytes(size.memory_bytes)}


def _cpu(size: Resources) -> str:
    return f"{size.cpu_millicpu / 1000:.5g} CPU"


def _gib(size: Resources) -> str:
    return f"{size.memory_bytes / GIB:.5g} GiB"
