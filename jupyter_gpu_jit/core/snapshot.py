"""From objects of the cluster to the Snapshot that a plan depends on.

The provisioner calls ``from_objects`` with what its watches hold; the service calls ``build``
with lists of raw JSON. Both get the same answer for the same cluster, in the same order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from ..errors import UserError
from . import wire
from .layouts import room_of, room_on
from .learned import learned, sizes_seen
from .model import (
    BoundPod,
    InstanceType,
    Node,
    NodeClaim,
    Offering,
    Reservation,
    Resources,
    Seat,
    SessionPod,
    SessionRequest,
    Snapshot,
)
from .nodes import seat_of
from .quotas import Limits, free_quotas
from .requirements import CapacityType
from .volumes import Storage, Uses, resolved

Json = Mapping[str, Any]
NO_QUOTAS: Limits = {}
_NOTHING = Resources()
# Before the name of a node, which may be that of a claim as well.
_NODE = "node/"


def build(
    *,
    pods: Iterable[Json],
    nodes: Iterable[Json],
    claims: Iterable[Json],
    instance_types: Sequence[InstanceType],
    now: float,
    max_usd_per_hour_micro: int | None = None,
    excluded: Collection[tuple[str, str, str]] = (),
    quotas: Limits = NO_QUOTAS,
) -> Snapshot:
    """Snapshot of lists of JSON objects; ``pods`` of all namespaces, finished ones included or not.

    ``now`` in epoch seconds, ``excluded`` are keys of offerings that have no capacity now,
    ``quotas`` are the account's. Types are as large as their nodes say.
    Raises Defect for a claim that we cannot have written.
    """
    sessions, others = split_pods(pods)
    seen = [wire.read_node(node) for node in nodes]
    return from_objects(
        sessions=sessions,
        others=others,
        nodes=seen,
        claims=[wire.read_claim(claim) for claim in claims],
        instance_types=learned(instance_types, sizes_seen(seen, instance_types)),
        now=now,
        max_usd_per_hour_micro=max_usd_per_hour_micro,
        excluded=excluded,
        quotas=quotas,
    )


def split_pods(pods: Iterable[Json]) -> tuple[list[SessionPod], list[BoundPod]]:
    """Sessions, and everybody else's pods; a session that cannot be read is only a load."""
    sessions: list[SessionPod] = []
    others: list[BoundPod] = []
    for pod in pods:
        if wire.is_session(pod):
            try:
                sessions.append(wire.read_session_pod(pod))
                continue
            except UserError:
                pass
        others.append(wire.read_bound_pod(pod))
    return sessions, others


def from_objects(
    *,
    sessions: Iterable[SessionPod],
    others: Iterable[BoundPod],
    nodes: Iterable[Node],
    claims: Iterable[NodeClaim],
    instance_types: Sequence[InstanceType],
    now: float,
    max_usd_per_hour_micro: int | None = None,
    excluded: Collection[tuple[str, str, str]] = (),
    quotas: Limits = NO_QUOTAS,
    storage: Storage | None = None,
) -> Snapshot:
    """Snapshot of typed objects, independent of the order in which they come.

    Without ``storage`` nothing is known of volumes, and sessions ask no more than they say.
    """
    sessions, others, claims = list(sessions), list(others), list(claims)
    world = _World.of(sessions, others, nodes, instance_types)
    waiting = _requests(sessions, others, storage)
    # A claim whose launch gave nothing is about to be deleted, and is no place for anybody.
    live = (c for c in claims if not c.deleting and not c.is_false(wire.LAUNCHED))
    return Snapshot(
        now=now,
        waiting=tuple(sorted(waiting, key=lambda r: (r.created_at, r.uid))),
        seats=tuple(world.seat(claim) for claim in sorted(live, key=lambda c: c.name)),
        instance_types=_without(instance_types, excluded),
        max_usd_per_hour_micro=max_usd_per_hour_micro,
        quotas=free_quotas(quotas, _launched(claims), world.vcpus),
        groups=tuple(sorted(_seated(sessions))),
    )


def _requests(
    sessions: Sequence[SessionPod], others: Sequence[BoundPod], storage: Storage | None
) -> list[SessionRequest]:
    """What each session that waits asks for; where storage is known, its volumes included."""
    waiting = [pod for pod in sessions if is_waiting(pod)]
    if storage is None or not any(pod.volume_claims for pod in waiting):
        return [pod.request for pod in waiting]
    uses = Uses.of((*sessions, *others), in_line=(*filter(_is_released, sessions), *waiting))
    return [resolved(pod, storage, uses) for pod in waiting]


def _is_released(pod: SessionPod) -> bool:
    """Whether it has its place and is not bound to it yet."""
    return bool(pod.pinned_to and not pod.node_name and not pod.deleting and not pod.finished)


def _seated(sessions: Iterable[SessionPod]) -> Iterator[tuple[str, str]]:
    """Group and place of those who belong to one and have their place."""
    for pod in sessions:
        if pod.request.group and pod.pinned_to and not pod.finished and not pod.deleting:
            yield pod.request.group, pod.pinned_to


def _launched(claims: Iterable[NodeClaim]) -> Iterator[tuple[str, CapacityType]]:
    """What each claim runs or is to run, whether it is ending or not, unless it got nothing."""
    for claim in claims:
        if not claim.is_false(wire.LAUNCHED):
            for sold in _as_launched(claim).offerings[:1]:
                yield sold.instance_type, sold.capacity_type


def is_waiting(pod: SessionPod) -> bool:
    """Whether the pod wants a place: held by our gate alone, and still wanted.

    While somebody else's gate is there too, that somebody may still change the pod.
    """
    ours_alone = pod.gates == (wire.GATE,) and not pod.pinned_to
    return ours_alone and not pod.deleting and not pod.finished


def _without(
    kinds: Sequence[InstanceType], excluded: Collection[tuple[str, str, str]]
) -> tuple[InstanceType, ...]:
    """The types with those offerings marked; the very same tuple when there is nothing to mark."""
    names = {name for name, _, _ in excluded}
    if not names:
        return tuple(kinds)
    return tuple(_marked(kind, excluded) if kind.name in names else kind for kind in kinds)


def _marked(kind: InstanceType, excluded: Collection[tuple[str, str, str]]) -> InstanceType:
    offerings = tuple(
        replace(o, available=False) if o.key in excluded else o for o in kind.offerings
    )
    return replace(kind, offerings=offerings)


@dataclass(frozen=True, slots=True)
class _World:
    """The objects by the keys that a claim refers to them by."""

    by_pin: Mapping[str, Node]
    by_provider: Mapping[str, Node]
    types: Mapping[str, InstanceType]
    bound: Mapping[str, Resources]
    released: Mapping[str, Resources]
    uids: Mapping[tuple[str, str], frozenset[str]]
    there: Mapping[str, tuple[SessionRequest, ...]]

    @classmethod
    def of(
        cls,
        sessions: Iterable[SessionPod],
        others: Iterable[BoundPod],
        nodes: Iterable[Node],
        types: Iterable[InstanceType],
    ) -> _World:
        nodes, sessions = list(nodes), list(sessions)
        bound, released = _loads(sessions, others)
        uids: dict[tuple[str, str], frozenset[str]] = {}
        for pod in sessions:
            who = (pod.request.user, pod.request.server)
            uids[who] = uids.get(who, frozenset()) | {pod.uid}
        return cls(
            by_pin={node.claim: node for node in nodes if node.claim},
            by_provider={node.provider_id: node for node in nodes if node.provider_id},
            types={kind.name: kind for kind in types},
            bound=bound,
            released=released,
            uids=uids,
            there=_there(sessions),
        )

    @property
    def vcpus(self) -> dict[str, int]:
        """Of each type."""
        return {name: kind.vcpu for name, kind in self.types.items()}

    def seat(self, claim: NodeClaim) -> Seat:
        """The claim as a place with the room left on it; zero room when it must not be offered."""
        node = self.by_pin.get(claim.name) or self.by_provider.get(claim.provider_id)
        seat = replace(self._promised(_as_launched(claim)), sessions=self._on(claim, node))
        if claim.is_true(wire.INITIALISED):
            seat = self._on_node(seat, node)
        elif node is not None and (node.unschedulable or node.deleting):
            seat = replace(seat, residual=_NOTHING)
        if claim.is_true(wire.INTERRUPTED):
            seat = replace(seat, residual=_NOTHING)
        if seat.residual == _NOTHING:
            return seat
        taken = self.released.get(claim.name, _NOTHING)
        if node is not None:
            taken = taken + self.bound.get(node.name, _NOTHING)
        taken = sum(map(self._kept, claim.reservations), taken)
        return replace(seat, residual=seat.residual - taken)

    def _kept(self, kept: Reservation) -> Resources:
        """What is kept for somebody, until a pod of theirs is here to ask for it itself."""
        uids = self.uids.get((kept.user, kept.server), frozenset())
        return _NOTHING if uids - {kept.session} else kept.resources

    def _on(self, claim: NodeClaim, node: Node | None) -> tuple[SessionRequest, ...]:
        """Sessions that are there; one that is bound is known by its node alone."""
        bound = self.there.get(_NODE + node.name, ()) if node is not None else ()
        return (*self.there.get(claim.name, ()), *bound)

    def _on_node(self, seat: Seat, node: Node | None) -> Seat:
        """The seat on its initialised node: what the node says replaces what we expected."""
        if node is None:
            return replace(seat, residual=_NOTHING)
        ready = _takes_sessions(node)
        room = room_on(node, self.types.get(seat.instance_type), seat.layout)
        return replace(
            seat,
            ready=ready,
            total=room,
            residual=room if ready else _NOTHING,
            labels=node.labels,
            taints=node.taints,
            node_name=node.name,
        )

    def _promised(self, claim: NodeClaim) -> Seat:
        """What to expect of a claim: its most preferred offering, with the room all of them have.

        Every offering serves every session the claim was planned for, so the first one does:
        those sessions find their place again in the next plan. Somebody else who is planned
        onto it is still gated when the launch turns out differently, and is planned again.
        """
        kinds = [self.types.get(offering.instance_type) for offering in claim.offerings]
        known = [kind for kind in kinds if kind is not None]
        if not known or len(known) < len(kinds):
            return _unknown(claim)
        kind, best = known[0], claim.offerings[0]
        seat = seat_of(
            kind,
            replace(best, interruptions_per_hour=_rate(kind, best)),
            claim.layout,
            place=claim.name,
            ready=False,
            total=room_of(kind, claim.layout),
            residual=reduce(Resources.at_most, (room_of(each, claim.layout) for each in known)),
        )
        pinned = {**seat.labels, wire.PIN_LABEL: claim.name}
        return replace(seat, labels=pinned, node_name=claim.node_name)


def _rate(kind: InstanceType, sold: Offering) -> float | None:
    """How often the cloud takes such a node back, as far as the catalogue knows now."""
    rates = (each.interruptions_per_hour for each in kind.offerings if each.key == sold.key)
    return next(rates, None)


def _unknown(claim: NodeClaim) -> Seat:
    """A claim of a type the catalogue does not have: no room before its node says how much."""
    seat = Seat(
        place=claim.name,
        ready=False,
        residual=_NOTHING,
        total=_NOTHING,
        labels={},
        layout=claim.layout,
    )
    for best in claim.offerings[:1]:
        seat = replace(
            seat,
            instance_type=best.instance_type,
            zone=best.zone,
            capacity_type=best.capacity_type,
            usd_per_hour_micro=best.usd_per_hour_micro,
        )
    return seat


def _as_launched(claim: NodeClaim) -> NodeClaim:
    """The claim with what was launched as its only offering, once that is known."""
    if not claim.instance_type:
        return claim
    launched = Offering(
        instance_type=claim.instance_type,
        zone=claim.zone,
        capacity_type=CapacityType(claim.capacity_type or CapacityType.ON_DEMAND),
        usd_per_hour_micro=claim.usd_per_hour_micro,
    )
    return replace(claim, offerings=(launched,))


def _loads(
    sessions: Iterable[SessionPod], others: Iterable[BoundPod]
) -> tuple[dict[str, Resources], dict[str, Resources]]:
    """What is taken: by node name, and by claim for sessions released but not bound yet.

    A terminating pod holds its room until it is gone; a finished one holds none.
    """
    bound: defaultdict[str, Resources] = defaultdict(Resources)
    released: defaultdict[str, Resources] = defaultdict(Resources)
    for pod in sessions:
        if pod.finished:
            continue
        if pod.node_name:
            bound[pod.node_name] += pod.request.resources
        elif pod.pinned_to:
            released[pod.pinned_to] += pod.request.resources
    for other in others:
        if other.node_name and not other.finished:
            bound[other.node_name] += other.resources
    return bound, released


def _there(sessions: Iterable[SessionPod]) -> dict[str, tuple[SessionRequest, ...]]:
    """Who holds room: by node once bound, by claim before that; in order."""
    found: defaultdict[str, list[SessionRequest]] = defaultdict(list)
    for pod in sorted(sessions, key=lambda pod: pod.uid):
        place = _NODE + pod.node_name if pod.node_name else pod.pinned_to
        if place and not pod.finished:
            found[place].append(pod.request)
    return {place: tuple(those) for place, those in found.items()}


def _takes_sessions(node: Node) -> bool:
    barred = node.unschedulable or node.deleting or wire.UNREGISTERED_TAINT in node.taints
    return node.ready and not barred
