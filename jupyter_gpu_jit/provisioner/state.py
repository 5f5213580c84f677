"""What the provisioner believes about the cluster, and the snapshots it plans from.

Informers (pods, nodes, claims; volumes.py has more) and three memories that may be lost: which
offerings gave nothing lately, the price table, and how large nodes of a type really are.
Everything that matters is in the API server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..core import layouts, learned, snapshot, wire
from ..core.dry import Dry, closed, decode, encode, no_quota
from ..core.interruption import asked_again, place_kept, with_promises
from ..core.model import (
    BoundPod,
    InstanceType,
    Node,
    NodeClaim,
    Offering,
    Refusal,
    Reservation,
    Resources,
    SessionPod,
    Snapshot,
)
from ..errors import TransientError, UserError
from ..ports import CLAIMS, NODES, PODS, Clock, Cloud, Cluster, Json, Kind
from .informer import Informer
from .settings import Settings
from .volumes import Volumes

OfferingKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class BadSession:
    """A pod that asks for a seat in words we cannot read; ``message`` says what is wrong."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    gated: bool
    message: str
    load: BoundPod
    told: bool


Pod = SessionPod | BoundPod | BadSession


def read_pod(pod: Json) -> Pod:
    """Any pod: a session, an unreadable one, or somebody else's."""
    if not wire.is_session(pod):
        return wire.read_bound_pod(pod)
    try:
        return wire.read_session_pod(pod)
    except UserError as error:
        meta = pod["metadata"]
        status = wire.decode_status((meta.get("annotations") or {}).get(wire.STATUS_ANNOTATION))
        return BadSession(
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            resource_version=meta["resourceVersion"],
            gated=bool((pod.get("spec") or {}).get("schedulingGates")),
            message=error.user_message,
            load=wire.read_bound_pod(pod),
            told=status is not None,
        )


def _place_of(
    pod: SessionPod,
    names: Collection[str],
    planned: Mapping[str, str],
    kept: Mapping[tuple[str, str], str],
) -> str:
    """Where a pod is going, or where it is; of those who are seated nothing changes any more."""
    if pod.claim in names or pod.node_name:
        return pod.claim
    return planned.get(pod.uid, "") or kept.get((pod.request.user, pod.request.server), "")


@dataclass(slots=True)
class _Index:
    """Sessions that are not over, by the claim they wait for or the node they are on; nodes."""

    by_claim: dict[str, list[SessionPod]] = field(default_factory=dict)
    by_node: dict[str, list[SessionPod]] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)


def _index(sessions: Iterable[SessionPod], nodes: Iterable[Node]) -> _Index:
    index = _Index(nodes={node.provider_id: node for node in nodes if node.provider_id})
    for session in sessions:
        if session.finished:
            continue
        if session.node_name:
            index.by_node.setdefault(session.node_name, []).append(session)
        elif session.pinned_to:
            index.by_claim.setdefault(session.pinned_to, []).append(session)
        elif session.claim and not session.deleting:
            index.by_claim.setdefault(session.claim, []).append(session)
    return index


class ClusterState:
    """The caches; ``changed`` is called after each change of any of them."""

    def __init__(
        self,
        cluster: Cluster,
        cloud: Cloud,
        clock: Clock,
        *,
        settings: Settings,
        changed: Callable[[], None],
        not_before: int = 0,
    ) -> None:
        self._cloud = cloud
        self._clock = clock
        self._settings = settings
        self._tell = changed
        self._index: _Index | None = None
        self._sessions: tuple[SessionPod, ...] | None = None
        self.pods: Informer[Pod] = Informer(
            cluster, clock, PODS, read=read_pod, changed=self._changed
        )
        self.nodes: Informer[Node] = Informer(
            cluster, clock, NODES, read=wire.read_node, changed=self._nodes_changed
        )
        self.claims: Informer[NodeClaim] = Informer(
            cluster,
            clock,
            CLAIMS,
            read=wire.read_claim,
            changed=self._changed,
            label_selector=settings.own_selector,
        )
        self.volumes = Volumes(cluster, clock, namespace=settings.namespace, changed=changed)
        # All kinds but events are versioned together: the term's lease is a mark for each of them.
        for informer in self._all_informers:
            informer.not_before = not_before
        self._dry = Dry(settings.dry_seconds)
        self._trouble: tuple[float, str] = (0.0, "")
        # Room kept for sessions that have to leave their nodes, by claim and pod uid, until it
        # stands on the claim; and why some of them have no room.
        self._promised: dict[str, dict[str, Reservation]] = {}
        self._kept: dict[str, NodeClaim] | None = None
        self.homeless: dict[str, str] = {}
        self._types: tuple[InstanceType, ...] = ()
        self._type_of: dict[str, InstanceType] = {}
        self._types_at = self._asked_at = float("-inf")
        self._sizes: learned.Sizes = ()
        self._has_learnt = False
        self._doubts = self._settled = 0
        # Agreed between the pass and the lifecycle, which run side by side in one process:
        # places being filled (not to be closed), claims being closed (not to be filled), and
        # batches being written (not to be launched or given up yet).
        self.busy: set[str] = set()
        self.closing: set[str] = set()
        self.writing: set[str] = set()

    def _nodes_changed(self) -> None:
        self._has_learnt = False
        self._changed()

    def _changed(self) -> None:
        self._index = self._sessions = self._kept = None
        self._tell()

    # --- keeping up ---------------------------------------------------------------------------

    @property
    def _informers(self) -> tuple[Informer[Pod], Informer[Node], Informer[NodeClaim]]:
        """Of the kinds we write."""
        return (self.pods, self.nodes, self.claims)

    @property
    def _all_informers(self) -> tuple[Informer[Any], ...]:
        return (*self._informers, *self.volumes.informers)

    async def run(self) -> None:
        """Keep all caches up to date, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for informer in self._all_informers:
                tasks.create_task(informer.run())

    async def wait_synced(self) -> None:
        """Until each cache has been filled once."""
        for informer in self._all_informers:
            await informer.synced.wait()

    def doubt(self) -> None:
        """A write may or may not have taken effect: look before the next decision."""
        self._doubts += 1

    def check_settled(self) -> None:
        """Before anything is deleted. Raises TransientError while a write of ours is unanswered."""
        if self._doubts != self._settled:
            raise TransientError("An own write is still in doubt.", reason="InDoubt")

    async def settle(self) -> None:
        """Relist if in doubt, refresh old prices, learn of nodes. Raises TransientError."""
        doubts = self._doubts
        if doubts != self._settled:
            for informer in self._informers:
                await informer.relist()
            # A doubt that came up meanwhile is not settled by a list that began before it.
            self._settled = doubts
        await self._refresh_prices()
        if not self._has_learnt:
            # Also while nobody waits: the node may be gone when somebody does.
            self._sizes = learned.sizes_seen(self.nodes, self._types, self._sizes)
            self._has_learnt = True

    async def _refresh_prices(self) -> None:
        if self._clock.now() - self._asked_at < self._settings.prices_age_seconds:
            return
        try:
            self._types = tuple(await self._cloud.instance_types())
            self._types_at = self._clock.now()
        except TransientError:
            if not self._types:
                raise
        self._type_of = {kind.name: kind for kind in self._types}
        self._asked_at = self._clock.now()

    def observe(self, kind: Kind, obj: Json) -> Json:
        """Take in the answer to one of our own writes or reads, and pass it on."""
        informers: dict[Kind, Informer[Any]] = {
            PODS: self.pods,
            NODES: self.nodes,
            CLAIMS: self.claims,
        }
        informers[kind].observe(obj)
        return obj

    # --- questions ----------------------------------------------------------------------------

    def sessions(self) -> Sequence[SessionPod]:
        """All session pods of our namespace, with the place each was planned for.

        A claim written for a pod counts before the pod itself says so; a claim that is gone
        or going counts for nothing.
        """
        if self._sessions is None:
            self._sessions = tuple(self._placed_sessions())
        return self._sessions

    def _placed_sessions(self) -> Iterable[SessionPod]:
        rules = self._settings.interruption
        live = [c for c in self.claims if not c.deleting and not rules.empties(c)]
        names = {c.name for c in live}
        planned = {uid: c.name for c in live for uid in c.sessions}
        kept = place_kept(live, rules)
        for pod in self.pods:
            if isinstance(pod, SessionPod) and pod.namespace == self._settings.namespace:
                place = _place_of(pod, names, planned, kept)
                yield replace(pod, claim=place, request=replace(pod.request, place=place))

    def unreadable(self) -> Iterable[BadSession]:
        """Gated pods that nobody has told yet that they cannot be read."""
        return [p for p in self.pods if isinstance(p, BadSession) and p.gated and not p.told]

    def users_of(self, claim: NodeClaim) -> list[SessionPod]:
        """Sessions that sit on a claim, are released onto it, or wait for it."""
        index = self._indexed()
        found = index.by_claim.get(claim.name, [])
        return found + (index.by_node.get(claim.node_name, []) if claim.node_name else [])

    def node_of(self, claim: NodeClaim) -> Node | None:
        """The node whose provider id is the claim's; names are never trusted for this."""
        return self._indexed().nodes.get(claim.provider_id) if claim.provider_id else None

    def _indexed(self) -> _Index:
        """By claim, node and provider id; made anew after a change, and only when asked for."""
        if self._index is None:
            self._index = _index(self.sessions(), self.nodes)
        return self._index

    @property
    def types(self) -> Sequence[InstanceType]:
        """The catalogue at the prices of ``priced_at``."""
        return self._types

    @property
    def priced_at(self) -> float:
        """When the prices came, in epoch seconds; minus infinity before."""
        return self._types_at

    def instance_type(self, name: str) -> InstanceType | None:
        """The catalogue's row of that name."""
        return self._type_of.get(name)

    def room_on(self, node: Node, claim: NodeClaim) -> Resources:
        """What is left on a node after all that is bound or released to it."""
        room = layouts.room_on(node, self.instance_type(claim.instance_type), claim.layout)
        for pod in self.pods:
            room = room - self._load(pod, node, claim)
        return room

    def _load(self, pod: Pod, node: Node, claim: NodeClaim) -> Resources:
        if isinstance(pod, SessionPod):
            here = pod.node_name == node.name or (not pod.node_name and pod.pinned_to == claim.name)
            return pod.request.resources if here and not pod.finished else Resources()
        load = pod.load if isinstance(pod, BadSession) else pod
        return load.resources if load.node_name == node.name and not load.finished else Resources()

    # --- offerings ----------------------------------------------------------------------------

    def mark_dry(self, offerings: Iterable[Offering], code: str) -> None:
        """These were refused with the cloud's ``code``: leave them out of plans for a while."""
        for offering in offerings:
            self._dry = self._dry.failed(offering, code, now=self._clock.now())

    def mark_wet(self, offering: Offering) -> None:
        """It was launched: whatever was remembered of it is over."""
        self._dry = self._dry.succeeded(offering)

    def note_trouble(self, sentence: str) -> None:
        """The cloud refuses our requests as such; whoever waits meanwhile is told this."""
        self._trouble = (self._clock.now() + self._settings.dry_seconds, sentence)

    def dry(self) -> list[OfferingKey]:
        """Offerings to leave out now."""
        return self._dry.excluded(self._types, now=self._clock.now())

    def dry_text(self) -> str:
        """What is left alone now, for those who quote prices and for the next leader."""
        return encode(self._dry, now=self._clock.now())

    def recall_dry(self, text: str) -> None:
        """Go on from what the last leader left alone."""
        self._dry = decode(text, self._settings.dry_seconds)

    def next_wet_at(self) -> float | None:
        """When the first dry offering may be asked again, in epoch seconds."""
        return self._dry.next_end(now=self._clock.now())

    def plainly(self, refusal: Refusal) -> Refusal:
        """The refusal in the words of what the cloud itself said, where it said something."""
        now = self._clock.now()
        for name, sold in self._dry.without_quota(now=now):
            if f"quota of {sold.value} vCPUs of class {name} " in refusal.message:
                return replace(refusal, message=no_quota(name, sold))
        until, sentence = self._trouble
        if refusal.reason == "InsufficientCapacity" and now < until:
            return replace(refusal, message=sentence)
        return refusal

    # --- who has to leave -----------------------------------------------------------------------

    def promise(self, place: str, kept: Reservation) -> None:
        """That claim is to keep room for a session."""
        self._promised.setdefault(place, {})[kept.session] = kept
        self._kept = None
        self._tell()

    def kept(self, claim: NodeClaim) -> NodeClaim:
        """The claim with the room it is to keep, written on it yet or not."""
        return self._kept_by_name().get(claim.name, claim)

    def kept_claims(self) -> Collection[NodeClaim]:
        """All of our claims like that."""
        return self._kept_by_name().values()

    def _kept_by_name(self) -> dict[str, NodeClaim]:
        if self._kept is None:
            claims = with_promises(self.claims, self.sessions(), self._settings.interruption)
            self._forget_promises({claim.name for claim in claims})
            self._kept = {claim.name: self._with_promised(claim) for claim in claims}
        return self._kept

    def _forget_promises(self, names: Collection[str]) -> None:
        """Those by claims or to sessions that are gone."""
        if self._promised:
            uids = {session.uid for session in self.sessions()}
            self._promised = {
                name: {uid: one for uid, one in kept.items() if uid in uids}
                for name, kept in self._promised.items()
                if name in names
            }

    def _with_promised(self, claim: NodeClaim) -> NodeClaim:
        if claim.name not in self._promised:
            return claim
        noted = {kept.session for kept in claim.reservations}
        more = self._promised[claim.name]
        new = tuple(kept for uid, kept in more.items() if uid not in noted)
        return replace(claim, reservations=(*claim.reservations, *new)) if new else claim

    def anybody_waits(self) -> bool:
        """Whether there is anything to plan; most changes leave nobody waiting."""
        return any(map(snapshot.is_waiting, self._asking()))

    def _asking(self) -> list[SessionPod]:
        """The sessions, those that have to leave as if they waited."""
        rules, now = self._settings.interruption, self._clock.now()
        return asked_again(self.sessions(), self.kept_claims(), rules, now=now)

    def snapshot(self) -> Snapshot:
        """Everything a plan may depend on, now."""
        now, pods, kept = self._clock.now(), list(self.pods), self.kept_claims()
        loads = [p.load if isinstance(p, BadSession) else p for p in pods]
        made = snapshot.from_objects(
            sessions=self._asking(),
            others=[p for p in loads if isinstance(p, BoundPod)],
            nodes=list(self.nodes),
            claims=[c for c in kept if c.name not in self.closing],
            # Sizes as nodes tell them; those of types without a node are kept.
            instance_types=learned.learned(self._types, self._sizes),
            now=now,
            max_usd_per_hour_micro=self._settings.max_usd_per_hour_micro,
            excluded=self.dry(),
            quotas=self._settings.vcpu_quotas,
            storage=self.volumes.storage(),
        )
        return replace(made, quotas=closed(made.quotas, self._dry.without_quota(now=now)))
