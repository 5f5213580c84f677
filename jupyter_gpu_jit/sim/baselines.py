"""The peer's planner: Karpenter's published algorithm, as what our plans are held against.

Used by ``gpu-jit bench plan`` and by the day of sessions (day.py). Written from the description
of its scheduler (https://karpenter.sh/docs/concepts/scheduling/ and the source of
kubernetes-sigs/karpenter); on the workloads of peer.py it costs what the Go program costs.

Pods are taken by CPU, then memory, the largest first: GPUs are no sort key. Each goes to the
first node that has room; else to the claim in flight with the fewest pods that still has one
instance type for the sum; else to a new claim. A claim keeps every type that still fits, and
only at the end the cheapest of them is its price: while packing, prices are never compared.
It knows no spending caps, no NVLink, and no parts of a GPU: whoever asks for one has a whole one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace

from ..core.gpus import nominal_memory_gib
from ..core.model import (
    InstanceType,
    Offering,
    Placement,
    Plan,
    PlannedClaim,
    Refusal,
    Resources,
    Seat,
    SessionRequest,
    Snapshot,
)
from ..core.nodes import node_labels, node_taints
from ..core.pricing import total_usd_per_hour_micro
from ..core.requirements import CapacityType, Requirements, Taint, untolerated

MOST_OFFERINGS = 60
NO_CLASSES: Mapping[str, str] = {}

_Amount = tuple[int, int, int, int]
"""CPU, memory, GPUs and pods: tuples, because they are added and compared millions of times."""


class KarpenterLike:
    """The peer over one catalogue, for callers who plan often."""

    def __init__(self, types: Iterable[InstanceType]) -> None:
        self._shelf = _Shelf(types)

    def plan(self, snapshot: Snapshot, one_per_node: Mapping[str, str] = NO_CLASSES) -> Plan:
        """Place the waiting sessions on the seats and on new nodes of this catalogue.

        The plan proves no bound. ``one_per_node``: a class for the uid of a session; no two of
        a class may share a node (pod anti-affinity, spread over hosts).
        """
        return _Scheduler(self._shelf, one_per_node).plan(snapshot)


def karpenter_like(snapshot: Snapshot, one_per_node: Mapping[str, str] = NO_CLASSES) -> Plan:
    """The peer's plan over the snapshot's own catalogue."""
    return KarpenterLike(snapshot.instance_types).plan(snapshot, one_per_node)


def in_karpenters_order(sessions: Iterable[SessionRequest]) -> list[SessionRequest]:
    """CPU, then memory, both descending; the oldest first, the uid breaks ties."""
    return sorted(
        sessions,
        key=lambda s: (
            -s.resources.cpu_millicpu,
            -s.resources.memory_bytes,
            s.created_at,
            s.uid,
        ),
    )


def _amount(size: Resources) -> _Amount:
    return (size.cpu_millicpu, size.memory_bytes, size.gpus, size.pods)


def _fits(size: _Amount, room: _Amount) -> bool:
    return size[0] <= room[0] and size[1] <= room[1] and size[2] <= room[2] and size[3] <= room[3]


def _plus(one: _Amount, other: _Amount) -> _Amount:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3])


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a node is or would be, its size aside."""

    gpu_model: str
    gpu_memory_gib: int
    architecture: str
    zone: str
    capacity_type: CapacityType
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]

    def serves(self, needs: Requirements, gpus: int) -> bool:
        """Whether a session with these needs and that many GPUs may run there."""
        if gpus and not self._right_gpu(needs):
            return False
        if needs.architectures and self.architecture not in needs.architectures:
            return False
        if needs.zones and self.zone not in needs.zones:
            return False
        if not needs.capacity.allows(self.capacity_type) or not needs.labels_match(self.labels):
            return False
        return untolerated(self.taints, needs.tolerations) is None

    def _right_gpu(self, needs: Requirements) -> bool:
        if needs.gpu_models and self.gpu_model not in needs.gpu_models:
            return False
        return self.gpu_memory_gib >= needs.gpu_memory_gib


@dataclass(frozen=True, slots=True)
class _Pool:
    """An offering with what its nodes are and hold."""

    offering: Offering
    kind: _Kind
    room: _Amount


def _pools(types: Iterable[InstanceType]) -> Iterator[_Pool]:
    for kind in types:
        memory = nominal_memory_gib(kind.gpu_model, kind.gpu_memory_mib)
        room, taints = _amount(kind.allocatable), node_taints()
        for sold in kind.offerings if not kind.bare_metal else ():
            if sold.available:
                labels = node_labels(kind, sold)
                of = (kind.gpu_model, memory, kind.architecture, sold.zone, sold.capacity_type)
                yield _Pool(sold, _Kind(*of, labels, taints), room)


def _kind_of(seat: Seat) -> _Kind:
    return _Kind(
        seat.gpu_model,
        nominal_memory_gib(seat.gpu_model, seat.gpu_memory_mib),
        seat.architecture,
        seat.zone,
        seat.capacity_type,
        seat.labels,
        seat.taints,
    )


def _by_price(pool: _Pool) -> tuple[int, str, str, str]:
    sold = pool.offering
    return (sold.usd_per_hour_micro, sold.instance_type, sold.zone, sold.capacity_type)


class _Shelf:
    """What is on sale, cheapest first; sets of pools are bit masks in that order."""

    def __init__(self, types: Iterable[InstanceType]) -> None:
        self.pools = sorted(_pools(types), key=_by_price)
        self._masks: dict[tuple[Requirements, int], int] = {}
        self._largest: dict[int, tuple[_Amount, ...]] = {}

    def serving(self, needs: Requirements, gpus: int) -> int:
        """The pools whose nodes may take such a session, if they are large enough."""
        key = (needs, min(gpus, 1))
        if key not in self._masks:
            serving = (i for i, pool in enumerate(self.pools) if pool.kind.serves(needs, gpus))
            self._masks[key] = sum(1 << i for i in serving)
        return self._masks[key]

    def holds(self, mask: int, load: _Amount) -> bool:
        """Whether one of the pools has nodes for that load: only the largest need a look."""
        largest = self._largest.get(mask)
        if largest is None:
            largest = self._largest[mask] = tuple(_maximal(p.room for p in self.of(mask)))
        return any(_fits(load, room) for room in largest)

    def of(self, mask: int) -> Iterator[_Pool]:
        """The pools of a mask, cheapest first."""
        while mask:
            lowest = mask & -mask
            yield self.pools[lowest.bit_length() - 1]
            mask ^= lowest


def _maximal(rooms: Iterable[_Amount]) -> list[_Amount]:
    """Those rooms that no other contains."""
    kept: list[_Amount] = []
    for room in sorted(set(rooms), reverse=True):
        if not any(_fits(room, other) for other in kept):
            kept.append(room)
    return kept


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the scheduler sees of a session; ``alone`` is its class of one per node, or ""."""

    needs: Requirements
    size: _Amount
    pools: int
    alone: str


@dataclass(slots=True)
class _Open:
    """A node or a claim in flight that may take more. ``pools`` is 0 for a node."""

    pools: int = 0
    load: _Amount = (0, 0, 0, 0)
    sessions: list[str] = field(default_factory=list)
    alone: set[str] = field(default_factory=set)

    def take(self, uid: str, shape: _Shape) -> None:
        """Add the session."""
        self.sessions.append(uid)
        self.load = _plus(self.load, shape.size)
        self.pools &= shape.pools
        if shape.alone:
            self.alone.add(shape.alone)


@dataclass(slots=True)
class _Waiting:
    """Claims that may still take a shape, by pods and age, as far as known when last looked.

    A claim only fills up, so whoever fails once is out for good, and a count that has grown
    since is put right when its claim comes up.
    """

    heap: list[tuple[int, int]] = field(default_factory=list)
    known: int = 0


class _Scheduler:
    """One solve."""

    def __init__(self, shelf: _Shelf, one_per_node: Mapping[str, str]) -> None:
        self._shelf = shelf
        self._one_per_node = one_per_node
        self._claims: list[_Open] = []
        self._waiting: dict[_Shape, _Waiting] = {}

    def plan(self, snapshot: Snapshot) -> Plan:
        """Place every session of the snapshot, one after the other."""
        nodes = _Nodes(snapshot.seats)
        placed: list[Placement] = []
        refused: list[Refusal] = []
        for session in in_karpenters_order(snapshot.waiting):
            shape = self._shape(session)
            if (place := nodes.take(session.uid, shape)) is not None:
                placed.append(Placement(session=session.uid, place=place, reason="Existing"))
            elif not self._into_claim(session.uid, shape):
                refused.append(_refusal(session.uid))
        return self._told(placed, refused)

    def _shape(self, session: SessionRequest) -> _Shape:
        pools = self._shelf.serving(session.requirements, session.resources.gpus)
        alone = self._one_per_node.get(session.uid, "")
        return _Shape(session.requirements, _amount(session.resources), pools, alone)

    def _into_claim(self, uid: str, shape: _Shape) -> bool:
        claim = self._in_flight(shape)
        if claim is None:
            if not self._shelf.holds(shape.pools, shape.size):
                return False
            claim = _Open(pools=shape.pools)
            self._claims.append(claim)
        claim.take(uid, shape)
        return True

    def _in_flight(self, shape: _Shape) -> _Open | None:
        """The claim with the fewest pods, the oldest of these, that can take one more."""
        waiting = self._waiting.setdefault(shape, _Waiting())
        for index in range(waiting.known, len(self._claims)):
            heappush(waiting.heap, (len(self._claims[index].sessions), index))
        waiting.known = len(self._claims)
        while waiting.heap:
            count, index = waiting.heap[0]
            claim = self._claims[index]
            if count != len(claim.sessions):
                heapreplace(waiting.heap, (len(claim.sessions), index))
            elif self._can_take(claim, shape):
                return claim
            else:
                heappop(waiting.heap)
        return None

    def _can_take(self, claim: _Open, shape: _Shape) -> bool:
        if shape.alone in claim.alone:
            return False
        return self._shelf.holds(claim.pools & shape.pools, _plus(claim.load, shape.size))

    def _told(self, placed: list[Placement], refused: Sequence[Refusal]) -> Plan:
        claims = tuple(self._claim(n, claim) for n, claim in enumerate(self._claims, start=1))
        new = [Placement(session=u, place=c.key, reason="New") for c in claims for u in c.sessions]
        return Plan(
            placements=tuple(sorted([*placed, *new], key=lambda p: p.session)),
            claims=claims,
            refused=tuple(sorted(refused, key=lambda r: r.session)),
            usd_per_hour_micro=total_usd_per_hour_micro(c.offerings[0] for c in claims),
        )

    def _claim(self, number: int, claim: _Open) -> PlannedClaim:
        fitting = (p.offering for p in self._shelf.of(claim.pools) if _fits(claim.load, p.room))
        offerings = tuple(sold for _, sold in zip(range(MOST_OFFERINGS), fitting, strict=False))
        return PlannedClaim(
            key=f"new-{number}", offerings=offerings, sessions=tuple(claim.sessions)
        )


class _Nodes:
    """Nodes that exist or are joining: initialised ones first, then by name; first fit."""

    def __init__(self, seats: Sequence[Seat]) -> None:
        ranked = sorted(seats, key=lambda seat: (not seat.ready, seat.place))
        self._nodes = [(seat, _kind_of(seat), _Open()) for seat in ranked]
        # Nodes only fill up too: for each shape, those before this one have failed it.
        self._first: dict[_Shape, int] = {}

    def take(self, uid: str, shape: _Shape) -> str | None:
        """Seat the session; the place, or None."""
        for index in range(self._first.get(shape, 0), len(self._nodes)):
            seat, kind, node = self._nodes[index]
            self._first[shape] = index
            if shape.alone in node.alone or not kind.serves(shape.needs, shape.size[2]):
                continue
            if _fits(_plus(node.load, shape.size), _amount(seat.residual)):
                node.take(uid, shape)
                return seat.place
        self._first[shape] = len(self._nodes)
        return None


def _refusal(uid: str) -> Refusal:
    return Refusal(
        session=uid, reason="NoInstanceType", message="No instance type fits.", temporary=False
    )
