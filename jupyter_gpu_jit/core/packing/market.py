"""What may be bought: eligible instance types with their pools, and which shape each pool serves.

Every check is written once, as a generator of the requirements that fail: the planner asks only
whether there is a first one, the explanation of a refusal asks for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..gpus import nominal_memory_gib
from ..model import InstanceType, Offering, Resources
from ..nodes import node_labels, node_taints
from ..pricing import session_share_micro
from ..requirements import CapacityType, untolerated
from .policy import Policy
from .shapes import Shape

GPU_MODEL, GPU_MEMORY, ARCHITECTURE, SIZE, TAINTS, ZONE, CAPACITY, LABELS, PRICE, AVAILABILITY = (
    "gpu-model",
    "gpu-memory",
    "architecture",
    "size",
    "taints",
    "zone",
    "capacity",
    "labels",
    "price",
    "availability",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """An eligible type: ``room`` for sessions, nominal memory of a GPU, pools cheapest first."""

    type: InstanceType
    room: Resources
    gpu_memory_gib: int
    pools: tuple[Offering, ...]


def eligible(kind: InstanceType, policy: Policy) -> bool:
    """Whether sessions may run on that type at all."""
    return (
        bool(kind.offerings)
        and not kind.bare_metal
        and kind.gpu_interconnect != "fraction"
        and not kind.gpu_model.startswith("radeon")
        and kind.name.partition(".")[0] not in policy.excluded_families
    )


class _Same:
    """A catalogue by identity: comparing thousands of offerings would cost what is to be saved."""

    def __init__(self, types: Sequence[InstanceType]) -> None:
        self.types = types

    def __hash__(self) -> int:
        return id(self.types)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.types is other.types


def entries(types: Sequence[InstanceType], policy: Policy) -> tuple[Entry, ...]:
    """Eligible types by name; kept for the catalogues asked for last."""
    return _entries(_Same(types), policy) if isinstance(types, tuple) else _chosen(types, policy)


@lru_cache(maxsize=4)
def _entries(catalogue: _Same, policy: Policy) -> tuple[Entry, ...]:
    return _chosen(catalogue.types, policy)


def _chosen(types: Iterable[InstanceType], policy: Policy) -> tuple[Entry, ...]:
    chosen = sorted((t for t in types if eligible(t, policy)), key=lambda t: t.name)
    return tuple(_entry(kind, policy) for kind in chosen)


def by_price(offering: Offering) -> tuple[int, str, str, str]:
    """Sort key: the cheapest first, names break ties."""
    return (
        offering.usd_per_hour_micro,
        offering.instance_type,
        offering.zone,
        offering.capacity_type,
    )


def _entry(kind: InstanceType, policy: Policy) -> Entry:
    return Entry(
        type=kind,
        room=kind.allocatable - policy.daemons,
        gpu_memory_gib=nominal_memory_gib(kind.gpu_model, kind.gpu_memory_mib),
        pools=tuple(sorted(kind.offerings, key=by_price)),
    )


def type_failures(shape: Shape, entry: Entry) -> Iterator[str]:
    """Requirements of the shape that no pool of that type can meet."""
    needs = shape.needs
    if not shape.cpu_only:
        if needs.gpu_models and entry.type.gpu_model not in needs.gpu_models:
            yield GPU_MODEL
        if entry.gpu_memory_gib < needs.gpu_memory_gib:
            yield GPU_MEMORY
    if needs.architectures and entry.type.architecture not in needs.architectures:
        yield ARCHITECTURE
    if not shape.size.fits_in(entry.room):
        yield SIZE
    if untolerated(node_taints(), needs.tolerations) is not None:
        yield TAINTS


def pool_failures(shape: Shape, entry: Entry, pool: Offering) -> Iterator[str]:
    """Requirements of the shape that this pool does not meet, besides those of its type."""
    needs = shape.needs
    if needs.zones and pool.zone not in needs.zones:
        yield ZONE
    if not needs.capacity.allows(pool.capacity_type):
        yield CAPACITY
    if (needs.node_labels or needs.node_terms) and not needs.labels_match(
        node_labels(entry.type, pool)
    ):
        yield LABELS
    cap = needs.max_usd_per_hour_micro
    if cap is not None and share_micro(shape, entry, pool) > cap:
        yield PRICE
    if not pool.available:
        yield AVAILABILITY


def is_stranded(shape: Shape, entries: Iterable[Entry]) -> bool:
    """Whether a CPU-only shape can be served by GPU nodes alone, so that it may use them."""
    return shape.cpu_only and not any(
        not any(pool_failures(shape, entry, pool))
        for entry in entries
        if entry.room.gpus <= 0 and not any(type_failures(shape, entry))
        for pool in entry.pools
    )


def share_micro(shape: Shape, entry: Entry, pool: Offering) -> int:
    """What one session of the shape costs there, micro-USD per hour."""
    return session_share_micro(pool.usd_per_hour_micro, shape.size, entry.type.allocatable)


class Matcher:
    """Which shapes each type and pool serves, as bit masks over the shapes; answers are kept.

    Pools of one zone, capacity type and availability serve the same shapes, unless a shape has
    a price cap or node labels: only those are looked at pool by pool.
    """

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self._shapes = tuple(enumerate(shapes))
        self._picky = tuple((i, s) for i, s in self._shapes if _is_picky(s))
        self._plain = tuple((i, s) for i, s in self._shapes if not _is_picky(s))
        self._types: dict[str, int] = {}
        self._slots: dict[tuple[str, bool, bool], int] = {}

    def type_mask(self, entry: Entry) -> int:
        """Shapes that the type could serve, whatever the pool."""
        mask = self._types.get(entry.type.name)
        if mask is None:
            mask = _mask(s for s in self._shapes if not any(type_failures(s[1], entry)))
            self._types[entry.type.name] = mask
        return mask

    def pool_mask(self, entry: Entry, pool: Offering) -> int:
        """Shapes that this pool serves now."""
        of_type = self.type_mask(entry)
        slot = (pool.zone, pool.capacity_type is CapacityType.SPOT, pool.available)
        plain = self._slots.get(slot)
        if plain is None:
            plain = _mask(s for s in self._plain if not any(pool_failures(s[1], entry, pool)))
            self._slots[slot] = plain
        if not self._picky:
            return of_type & plain
        picky = _mask(s for s in self._picky if not any(pool_failures(s[1], entry, pool)))
        return of_type & (plain | picky)


def _is_picky(shape: Shape) -> bool:
    needs = shape.needs
    return bool(needs.node_labels or needs.node_terms) or needs.max_usd_per_hour_micro is not None


def _mask(shapes: Iterable[tuple[int, Shape]]) -> int:
    return sum(1 << i for i, _ in shapes)
