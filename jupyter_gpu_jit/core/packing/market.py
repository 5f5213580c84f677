"""What may be bought: eligible instance types with their pools, and which shape each pool serves.

Every check is written once, as a generator of the requirements that fail: the planner asks only
whether there is a first one, the explanation of a refusal asks for all.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ..layouts import WHOLE, is_foreign, layouts_of, room_of
from ..model import InstanceType, Offering, Probe, Resources
from ..nodes import node_labels, node_taints
from ..pricing import session_share_micro
from ..requirements import CapacityType, untolerated
from ..same import Same
from .hardware import Hardware, hardware_failures, of_type
from .policy import Policy
from .shapes import Shape

NODE, PROBE, INTERRUPTIONS = "node", "probe", "interruptions"
VOLUMES, DISK, SIZE, TAINTS, ZONE, CAPACITY, LABELS, PRICE, AVAILABILITY = (
    "volumes",
    "local-disk",
    "size",
    "taints",
    "zone",
    "capacity",
    "labels",
    "price",
    "availability",
)


_ROOM = frozenset({VOLUMES, DISK, SIZE})


@dataclass(frozen=True, slots=True)
class Entry:
    """An eligible type in a layout: ``total`` of a node, ``room`` of that for sessions.

    Pools come cheapest first.
    """

    type: InstanceType
    layout: str
    total: Resources
    room: Resources
    hardware: Hardware
    pools: tuple[Offering, ...]

    @property
    def key(self) -> tuple[str, str]:
        """Names of type and layout."""
        return self.type.name, self.layout


def eligible(kind: InstanceType, policy: Policy) -> bool:
    """Whether sessions may run on that type at all."""
    return (
        bool(kind.offerings)
        and not kind.bare_metal
        and not is_foreign(kind)
        and kind.name.partition(".")[0] not in policy.excluded_families
    )


def entries(types: Sequence[InstanceType], policy: Policy) -> tuple[Entry, ...]:
    """Eligible types by name; kept for the catalogues asked for last."""
    return _entries(Same(types), policy) if isinstance(types, tuple) else _chosen(types, policy)


@lru_cache(maxsize=4)
def _entries(catalogue: Same[tuple[InstanceType, ...]], policy: Policy) -> tuple[Entry, ...]:
    return _chosen(catalogue.value, policy)


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
        layout=WHOLE,
        total=kind.allocatable,
        room=kind.allocatable - policy.daemons,
        hardware=of_type(kind, WHOLE),
        pools=tuple(sorted(_with_prior(kind.offerings, policy), key=by_price)),
    )


def _with_prior(offerings: Iterable[Offering], policy: Policy) -> Iterator[Offering]:
    """The offerings with the policy's rate of interruption where Spot has none."""
    for pool in offerings:
        rate = policy.rate_of(pool.capacity_type, pool.interruptions_per_hour)
        same = rate == pool.interruptions_per_hour
        yield pool if same else replace(pool, interruptions_per_hour=rate)


def in_layout(entry: Entry, layout: str) -> Entry:
    """The type with its GPUs divided so; it must be able to."""
    if layout == entry.layout:
        return entry
    total = room_of(entry.type, layout)
    return replace(
        entry,
        layout=layout,
        total=total,
        room=replace(entry.room, gpus=total.gpus),
        hardware=of_type(entry.type, layout),
    )


def with_layouts(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Each type in all layouts it can have, whole first; for those whom a share is enough."""
    return _with_layouts(Same(entries))


@lru_cache(maxsize=4)
def _with_layouts(known: Same[tuple[Entry, ...]]) -> tuple[Entry, ...]:
    return tuple(
        in_layout(entry, layout.name) for entry in known.value for layout in layouts_of(entry.type)
    )


def type_failures(shape: Shape, entry: Entry) -> Iterator[str]:
    """Requirements of the shape that no pool of that type can meet."""
    needs = shape.needs
    yield from hardware_failures(shape, entry.hardware)
    yield from room_failures(shape.size, entry.room)
    if untolerated(node_taints(), needs.tolerations) is not None:
        yield TAINTS
    if needs.node:
        yield NODE
    if entry.type.probe in (Probe.IN_FLIGHT, Probe.FAILED):
        yield PROBE


def room_failures(size: Resources, room: Resources) -> Iterator[str]:
    """What of the size is more than the room."""
    if size.volumes > room.volumes:
        yield VOLUMES
    if size.local_disk_bytes > room.local_disk_bytes:
        yield DISK
    rest = replace(size, volumes=room.volumes, local_disk_bytes=room.local_disk_bytes)
    if not rest.fits_in(room):
        yield SIZE


def kind_of(entry: Entry) -> Hashable:
    """All of a type that ``type_failures`` looks at, except its room."""
    return entry.hardware, entry.type.probe


def pool_failures(shape: Shape, entry: Entry, pool: Offering) -> Iterator[str]:
    """Requirements of the shape that this pool does not meet, besides those of its type."""
    needs = shape.needs
    if needs.zones and pool.zone not in needs.zones:
        yield ZONE
    if not needs.capacity.allows(pool.capacity_type):
        yield CAPACITY
    if (needs.node_labels or needs.node_terms) and not needs.labels_match(
        node_labels(entry.type, pool, entry.layout)
    ):
        yield LABELS
    cap = needs.max_usd_per_hour_micro
    if cap is not None and share_micro(shape, entry, pool) > cap:
        yield PRICE
    most = needs.max_interruptions_per_hour
    if most is not None and (pool.interruptions_per_hour or 0.0) > most:
        yield INTERRUPTIONS
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
    return session_share_micro(pool.usd_per_hour_micro, shape.size, entry.total)


class Matcher:
    """Which shapes each type and pool serves, as bit masks over the shapes; answers are kept.

    Pools of one zone, capacity type and availability serve the same shapes, unless a shape has
    a price cap or node labels: only those are looked at pool by pool.
    """

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self._shapes = tuple(enumerate(shapes))
        self._picky = tuple((i, s) for i, s in self._shapes if _is_picky(s))
        self._plain = tuple((i, s) for i, s in self._shapes if not _is_picky(s))
        self._types: dict[tuple[str, str], int] = {}
        self._kinds: dict[Hashable, int] = {}
        self._slots: dict[tuple[str, bool, bool], int] = {}

    def type_mask(self, entry: Entry) -> int:
        """Shapes that the type could serve, whatever the pool."""
        mask = self._types.get(entry.key)
        if mask is None:
            kind = self._kind_mask(entry)
            able = (s for s in self._shapes if kind >> s[0] & 1)
            mask = _mask(s for s in able if s[1].size.fits_in(entry.room))
            self._types[entry.key] = mask
        return mask

    def _kind_mask(self, entry: Entry) -> int:
        """Shapes that the type could serve if it were large enough; types of a kind share it."""
        kind = kind_of(entry)
        mask = self._kinds.get(kind)
        if mask is None:
            mask = _mask(s for s in self._shapes if set(type_failures(s[1], entry)) <= _ROOM)
            self._kinds[kind] = mask
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
    has_cap = (needs.max_usd_per_hour_micro, needs.max_interruptions_per_hour) != (None, None)
    return bool(needs.node_labels or needs.node_terms) or has_cap


def _mask(shapes: Iterable[tuple[int, Shape]]) -> int:
    return sum(1 << i for i, _ in shapes)
