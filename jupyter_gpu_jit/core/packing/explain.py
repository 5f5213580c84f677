"""Why nothing serves a session, in one sentence, and the smallest change that would help.

Looked at only for shapes that found no place: every pool is asked for all the requirements it
fails, so the counts and the suggestions come from the same checks that planned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..gpus import compute_capability_tenths
from ..model import Offering, Refusal, Resources
from ..quantity import format_usd
from ..requirements import CapacityPolicy, Requirements
from ..same import Same
from ..texts import plural
from . import hardware as h
from . import market as m
from .market import Entry, pool_failures, share_micro, type_failures
from .shapes import Shape

NO_POOLS, SPENDING_CAP, HELD_BACK = "NoPools", "SpendingCap", "NotReady"
SEAT_MAY_FREE = "it starts when a seat on a running node is free"
REASONS = {
    h.GPU_MODEL: "NoSuchGpuModel",
    h.GPU_MEMORY: "NoSuchGpuMemory",
    h.GPU_SHARE: "NoWholeGpu",
    h.COMPUTE: "NoSuchComputeCapability",
    h.NVLINK: "NoNvlink",
    h.DRIVER: "NoSuchDriver",
    h.EFA: "NoEfa",
    h.ARCHITECTURE: "NoSuchArchitecture",
    m.VOLUMES: "TooManyVolumes",
    m.DISK: "NoSuchLocalDisk",
    m.SIZE: "TooLarge",
    m.NODE: "VolumeInUse",
    m.PROBE: "TypeNotProven",
    m.TAINTS: "TaintNotTolerated",
    m.ZONE: "NoSuchZone",
    m.CAPACITY: "NoSuchCapacityType",
    m.LABELS: "NodeSelectorMismatch",
    m.PRICE: "OverSessionCap",
    m.INTERRUPTIONS: "OverInterruptionCap",
    m.AVAILABILITY: "InsufficientCapacity",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """A refusal's words. ``alternative`` is "" when no single change would help."""

    reason: str
    message: str
    alternative: str
    temporary: bool
    excluded: tuple[tuple[str, int], ...] = ()

    def refusal(self, session: str) -> Refusal:
        """The same for one session."""
        text = f"{self.message}; {self.alternative}." if self.alternative else f"{self.message}."
        return Refusal(
            session=session,
            reason=self.reason,
            message=text,
            temporary=self.temporary,
            excluded=self.excluded,
        )


@dataclass(frozen=True, slots=True)
class _Miss:
    """A pool and the requirements it fails."""

    entry: Entry
    pool: Offering
    failed: tuple[str, ...]


def explained(entries: tuple[Entry, ...], shape: Shape) -> Explanation:
    """The same as ``explain``, kept for the catalogues and shapes asked about last: a hub's
    profiles are quoted again and again.
    """
    return _explanations(Same(entries))(shape.size, shape.needs)


@lru_cache(maxsize=2)
def _explanations(known: Same[tuple[Entry, ...]]) -> Callable[..., Explanation]:
    def work_out(size: Resources, needs: Requirements) -> Explanation:
        return explain(Shape(size, needs, ()), known.value)

    return lru_cache(maxsize=256)(work_out)


def explain(shape: Shape, entries: Sequence[Entry]) -> Explanation:
    """Why none of the pools serves the shape. At least one requirement must fail everywhere."""
    misses = list(_misses(shape, entries))
    if not misses:
        kind = "type with a GPU" if shape.size.gpus else "instance type"
        return Explanation(NO_POOLS, f"No eligible {kind} is on sale", "", False)
    excluded = _excluded(misses)
    last, count = excluded[-1]
    return Explanation(
        reason=REASONS[last],
        message=f"{_asked(shape)}: 0 of {count} pools {_verb(shape, last)}",
        alternative=_alternative(shape, misses),
        # Whoever has the volume will give it back.
        temporary=last == m.NODE or any(miss.failed == (m.AVAILABILITY,) for miss in misses),
        excluded=excluded,
    )


def over_budget(cheapest_micro: int, left_micro: int, cap_micro: int) -> Explanation:
    """Why a session waits that pools would serve, had the hub's spending cap room for one."""
    message = (
        f"A node for it costs {format_usd(cheapest_micro)}/h or more, and the hub's cap of "
        f"{format_usd(cap_micro)}/h leaves {format_usd(max(left_micro, 0))}/h now"
    )
    return Explanation(SPENDING_CAP, message, "it starts when others stop", True)


def held_back(waits_for: str) -> Explanation:
    """Why a session waits that cannot be planned before something else is there."""
    return Explanation(HELD_BACK, f"It waits: {waits_for}", "", True)


def _misses(shape: Shape, entries: Sequence[Entry]) -> Iterator[_Miss]:
    for entry, of_type in _nearest_layouts(shape, entries):
        for pool in entry.pools:
            yield _Miss(entry, pool, of_type + tuple(pool_failures(shape, entry, pool)))


def _nearest_layouts(
    shape: Shape, entries: Sequence[Entry]
) -> Iterable[tuple[Entry, tuple[str, ...]]]:
    """Each type once, in the layout that fails least of what is asked, and what it fails."""
    nearest: dict[str, tuple[Entry, tuple[str, ...]]] = {}
    for entry in entries:
        if shape.cpu_only or entry.total.gpus > 0:
            failed = tuple(type_failures(shape, entry))
            known = nearest.get(entry.type.name)
            if known is None or len(failed) < len(known[1]):
                nearest[entry.type.name] = entry, failed
    return nearest.values()


def _excluded(misses: Sequence[_Miss]) -> tuple[tuple[str, int], ...]:
    """How many pools each requirement removed of those the earlier ones left."""
    counts = Counter(miss.failed[0] for miss in misses)
    return tuple((check, counts[check]) for check in REASONS if counts[check])


def _asked(shape: Shape) -> str:
    """What restricts the choice, in words."""
    needs = shape.needs
    words = _gpus_asked(shape) if shape.size.gpus else [_cpu(shape.size), _gib(shape.size)]
    if needs.efa:
        words.append("EFA")
    if shape.size.local_disk_bytes:
        words.append(f"{_gb(shape.size.local_disk_bytes)} of local disk")
    if needs.zones:
        words.append(f"in {' or '.join(needs.zones)}")
    if needs.capacity is not CapacityPolicy.SPOT_THEN_ON_DEMAND:
        words.append(f"{needs.capacity.value} only")
    if needs.max_usd_per_hour_micro is not None:
        words.append(f"at most {format_usd(needs.max_usd_per_hour_micro)}/h")
    return _and(words)


def _gpus_asked(shape: Shape) -> list[str]:
    needs, count = shape.needs, shape.size.gpus
    models = " or ".join(needs.gpu_models)
    if needs.share:
        words = [f"a share of {models or 'a GPU'} with {needs.share.memory_gib} GB"]
    else:
        words = [f"{count} x {models}" if models else plural(count, "GPU")]
    if needs.gpu_memory_gib and not needs.share:
        words.append(f"{needs.gpu_memory_gib} GB per GPU")
    if needs.min_compute_capability_tenths:
        words.append(f"compute capability {needs.min_compute_capability_tenths / 10:.1f}")
    return [*words, "NVLink"] if needs.nvlink else words


def _verb(shape: Shape, check: str) -> str:
    """What the last pools that were left do not do."""
    return {
        h.GPU_MODEL: "have that GPU",
        h.GPU_MEMORY: "have that much memory per GPU",
        h.GPU_SHARE: "have whole GPUs",
        h.COMPUTE: "have that compute capability",
        h.NVLINK: "connect its GPUs by NVLink",
        h.DRIVER: f"work with {' or '.join(shape.needs.driver_families)} drivers",
        h.EFA: "have EFA",
        h.ARCHITECTURE: f"are {' or '.join(shape.needs.architectures)}",
        m.VOLUMES: f"attach {shape.size.volumes} volumes",
        m.DISK: f"have {_gb(shape.size.local_disk_bytes)} of local disk",
        m.SIZE: f"hold {_size(shape.size)}",
        m.NODE: f"are the node {shape.needs.node}, where its volume is in use",
        m.PROBE: "are of a type that is proven to work here",
        m.TAINTS: "have only taints that the pod tolerates",
        m.ZONE: "are in that zone",
        m.CAPACITY: f"are sold as {shape.needs.capacity.value}",
        m.LABELS: "match the pod's node selector and affinity",
        m.PRICE: "are within the session's price cap",
        m.INTERRUPTIONS: "are taken back that seldom",
        m.AVAILABILITY: "have capacity now",
    }[check]


def _alternative(shape: Shape, misses: Sequence[_Miss]) -> str:
    """The first requirement, of those easiest to give up, that alone stands in the way."""
    for check, words in _RELAXATIONS.items():
        near = [miss for miss in misses if miss.failed == (check,)]
        if near:
            best = min(near, key=lambda miss: _nearness(shape, check, miss))
            price = format_usd(share_micro(shape, best.entry, best.pool))
            return f"{words(best)} from {price}/h"
    return ""


def _nearness(shape: Shape, check: str, miss: _Miss) -> tuple[int, int, str, str]:
    """The least to give up where that can be measured, then the cheapest for the session."""
    price = share_micro(shape, miss.entry, miss.pool)
    away = {
        h.GPU_MEMORY: -miss.entry.hardware.unit_memory_gib,
        h.COMPUTE: -compute_capability_tenths(miss.entry.type.gpu_model),
        m.VOLUMES: -miss.entry.room.volumes,
        m.DISK: -miss.entry.room.local_disk_bytes,
        m.SIZE: _excess(shape.size, miss.entry.room),
    }
    return (away.get(check, 0), price, miss.entry.type.name, miss.pool.zone)


def _excess(size: Resources, room: Resources) -> int:
    """By how much the size exceeds the room in the worst dimension, per mille of the room."""
    return max(
        size.gpus * 1000 // max(room.gpus, 1),
        size.cpu_millicpu * 1000 // max(room.cpu_millicpu, 1),
        size.memory_bytes * 1000 // max(room.memory_bytes, 1),
    )


_RELAXATIONS: dict[str, Callable[[_Miss], str]] = {
    m.CAPACITY: lambda miss: miss.pool.capacity_type.value,
    m.ZONE: lambda miss: f"in {miss.pool.zone}",
    m.PRICE: lambda miss: "without the cap",
    m.INTERRUPTIONS: lambda miss: "with more interruptions",
    h.GPU_MEMORY: lambda miss: f"with {miss.entry.hardware.unit_memory_gib} GB per GPU",
    h.GPU_SHARE: lambda miss: f"with a share of a GPU ({miss.entry.hardware.unit_memory_gib} GB)",
    h.DRIVER: lambda miss: f"with an image for {miss.entry.type.driver_family} drivers",
    h.GPU_MODEL: lambda miss: f"with {miss.entry.type.gpu_model}",
    h.COMPUTE: lambda miss: f"with {miss.entry.type.gpu_model}",
    h.NVLINK: lambda miss: "without NVLink",
    h.EFA: lambda miss: "without EFA",
    h.ARCHITECTURE: lambda miss: f"on {miss.entry.type.architecture}",
    m.LABELS: lambda miss: "without its node selector and affinity",
    m.TAINTS: lambda miss: "with tolerations for GPU and user nodes",
    m.VOLUMES: lambda miss: f"with at most {miss.entry.room.volumes} volumes",
    m.DISK: lambda miss: f"with {_gb(miss.entry.room.local_disk_bytes)} of local disk",
    m.SIZE: lambda miss: f"with at most {_size(miss.entry.room)}",
}


def _size(size: Resources) -> str:
    words = [plural(size.gpus, "GPU")] if size.gpus else []
    return _and([*words, _cpu(size), _gib(size)])


def _cpu(size: Resources) -> str:
    return f"{size.cpu_millicpu / 1000:g} CPU"


def _gib(size: Resources) -> str:
    return f"{size.memory_bytes / (1 << 30):.4g} GiB"


def _gb(size_bytes: int) -> str:
    """As disks are sold."""
    return f"{size_bytes / 10**9:.4g} GB" if size_bytes else "nothing"


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
