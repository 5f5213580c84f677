"""One pass: plan everybody who waits, write the intents, release who has a seat, tell the others.

Called by runtime.py after each change, never twice at the same time, and only once doubt is
settled (a write without an answer): a plan never rests on a view that lacks its own writes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..core import wire
from ..core.interruption import reservation
from ..core.model import (
    LaunchBatch,
    LaunchTerms,
    Node,
    NodeClaim,
    Offering,
    Plan,
    PlannedClaim,
    Refusal,
    SessionPod,
)
from ..core.quantity import format_time
from ..errors import Conflict, NotFound
from ..ports import CLAIMS, NODES, PODS, Clock, Cluster, Ids, Meter
from . import metrics
from .planning import Planning
from .settings import Settings
from .state import ClusterState
from .status import StatusWriter, on_claim, refused, released
from .tasks import together

log = logging.getLogger(__name__)
# Who has to leave has two minutes: a place is looked for more often than for those who wait.
_HOMELESS_SECONDS = 10.0


class Provisioning:
    """Plans and carries out; the only writer of claims and releaser of gates."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        ids: Ids,
        *,
        state: ClusterState,
        status: StatusWriter,
        meter: Meter,
        settings: Settings,
    ) -> None:
        self._meter = meter
        self._cluster = cluster
        self._clock = clock
        self._ids = ids
        self._state = state
        self._status = status
        self._settings = settings
        self._planning = Planning(settings.policy, meter, clock.now)

    async def pass_once(self) -> float | None:
        """Plan and carry out once; when to try again for those refused, in epoch seconds.

        Raises TransientError when the API server is away.
        """
        for pod in self._state.unreadable():
            await self._status.tell_unreadable(pod)
        if not self._state.anybody_waits():
            return None
        snapshot, began = self._state.snapshot(), self._clock.now()
        sessions = {session.uid: session for session in self._state.sessions()}
        plan = self._planning.plan(snapshot)
        await self._carry_out(plan, sessions)
        self._meter.observe(metrics.SCHEDULING_SECONDS, self._clock.now() - began)
        if not plan.refused:
            return None
        soon = _HOMELESS_SECONDS if self._state.homeless else self._settings.prices_age_seconds
        return self._clock.now() + soon

    def settle(self) -> float | None:
        """See Planning.settle."""
        return self._planning.settle()

    async def _carry_out(self, plan: Plan, sessions: Mapping[str, SessionPod]) -> None:
        self._state.busy = {p.place for p in plan.placements}
        homeless = [r for r in plan.refused if sessions[r.session].node_name]
        self._state.homeless = {r.session: self._state.plainly(r).message for r in homeless}
        try:
            names = await self._write_intents(plan.claims)
            for refusal in plan.refused:
                if refusal not in homeless:
                    self._refuse(sessions[refusal.session], refusal)
            await together(
                self._seat(place, those) for place, those in _by_place(plan, sessions, names)
            )
        finally:
            self._state.busy = set()

    def _refuse(self, session: SessionPod, refusal: Refusal) -> None:
        told = self._state.plainly(refusal)
        self._status.tell(session, refused(told, now=self._clock.now()))

    # --- intents ------------------------------------------------------------------------------

    async def _write_intents(self, planned: Iterable[PlannedClaim]) -> dict[str, str]:
        """Write a claim for each planned one; the names by plan key. Launching is lifecycle's.

        Nodes that may be served by the same offerings in the same layout on the same terms are
        asked for in one fleet request, so they share a launch batch, and no batch is acted on
        before it is written whole.
        """
        batches: dict[tuple[tuple[Offering, ...], str, LaunchTerms], list[PlannedClaim]] = {}
        for claim in planned:
            key = (claim.offerings, claim.layout, claim.terms)
            batches.setdefault(key, []).append(claim)
        names: dict[str, str] = {}
        await together([self._write_batch(members, names) for members in batches.values()])
        return names

    async def _write_batch(self, members: Sequence[PlannedClaim], names: dict[str, str]) -> None:
        fresh = sorted(self._ids.new("gnc-") for _ in members)
        batch = LaunchBatch(id=self._ids.new("batch-"), claims=tuple(fresh))
        self._state.writing.add(batch.id)
        try:
            await together(
                [
                    self._create(name, batch, claim)
                    for name, claim in zip(fresh, members, strict=True)
                ]
            )
        finally:
            self._state.writing.discard(batch.id)
        names.update({claim.key: name for name, claim in zip(fresh, members, strict=True)})

    async def _create(self, name: str, batch: LaunchBatch, planned: PlannedClaim) -> None:
        claim = NodeClaim(
            name=name,
            uid="",
            resource_version="",
            created_at=self._clock.now(),
            cluster_id=self._settings.cluster_id,
            hub_id=self._settings.hub_id,
            batch=batch,
            offerings=planned.offerings,
            layout=planned.layout,
            terms=self._in_this_cluster(planned.terms),
            sessions=planned.sessions,
        )
        self._state.observe(CLAIMS, await self._cluster.create(CLAIMS, wire.encode_claim(claim)))
        log.info("claim written", extra={"claim": name, "reason": "Planned"})

    def _in_this_cluster(self, terms: LaunchTerms) -> LaunchTerms:
        """Names of placement groups are unique in an account, where other clusters may be."""
        if not terms.placement_group:
            return terms
        name = f"{self._settings.cluster_id}-{terms.placement_group}"
        return replace(terms, placement_group=name)

    # --- seats --------------------------------------------------------------------------------

    async def _seat(self, place: str, members: Sequence[SessionPod]) -> None:
        claim = self._state.claims.get(place)
        if claim is None or claim.deleting:
            return
        self._promise(place, [session for session in members if session.node_name])
        members = [session for session in members if not session.node_name]
        if claim.is_true(wire.INITIALISED):
            await self._release_all(claim, members)
            return
        status = on_claim(claim, now=self._clock.now(), settings=self._settings)
        for session in members:
            self._status.tell(session, status, claim=place)

    def _promise(self, place: str, leaving: Sequence[SessionPod]) -> None:
        """Keep room for those who sit on nodes that are taken back; their pods cannot move."""
        rules, now = self._settings.interruption, self._clock.now()
        by_node = {c.node_name: c for c in self._state.claims if leaving and c.node_name}
        for session in leaving:
            if session.node_name in by_node:
                leaves = by_node[session.node_name]
                self._state.promise(place, reservation(session, leaves, rules, now=now))

    async def _release_all(self, claim: NodeClaim, members: Sequence[SessionPod]) -> None:
        """One after the other, so that each sees the room the last one left."""
        node = await self._check_node(claim)
        if node is None:
            return
        for session in members:
            if session.request.resources.fits_in(self._state.room_on(node, claim)):
                await self._release(session, claim)

    async def _check_node(self, claim: NodeClaim) -> Node | None:
        """The claim's node as it is this moment, or None when nobody may be sent there."""
        try:
            node_json = await self._cluster.get(NODES, claim.node_name)
        except NotFound:
            return None
        node = wire.read_node(self._state.observe(NODES, node_json))
        usable = node.ready and not node.unschedulable and not node.deleting
        mine = node.claim == claim.name and node.provider_id == claim.provider_id
        return node if usable and mine else None

    async def _release(self, session: SessionPod, claim: NodeClaim) -> None:
        """Remove the gate and pin the pod, in one patch that fails if the pod has changed."""
        session = await self._as_told(session)
        now = self._clock.now()
        status = released(claim, now=now, settings=self._settings)
        others = [{"name": gate} for gate in session.gates if gate != wire.GATE]
        patch = {
            "metadata": {
                "resourceVersion": session.resource_version,
                "annotations": {
                    wire.CLAIM_ANNOTATION: claim.name,
                    wire.RELEASED_ANNOTATION: format_time(now),
                    wire.STATUS_ANNOTATION: wire.encode_status(status),
                },
            },
            "spec": {
                "schedulingGates": others or None,
                "nodeSelector": {wire.PIN_LABEL: claim.name},
            },
        }
        try:
            pod = await self._cluster.patch(PODS, session.name, patch, namespace=session.namespace)
        except (Conflict, NotFound):
            # Changed or gone since the plan: the watch brings it, and the next pass looks again.
            return
        self._state.observe(PODS, pod)
        log.info("session released", extra={"session": session.uid, "claim": claim.name})
        self._status.announce(session, status)

    async def _as_told(self, session: SessionPod) -> SessionPod:
        """The session once its record is written: with the version that our own write gave it."""
        await self._status.hush(session)
        now = self._state.pods.get(session.name, session.namespace)
        if not isinstance(now, SessionPod):
            return session
        told = replace(session, resource_version=now.resource_version, status=now.status)
        request = replace(now.request, place=session.request.place)
        # Anything else that changed is for the next pass: the old version makes ours a Conflict.
        return told if replace(now, claim=told.claim, request=request) == told else session


def _by_place(
    plan: Plan, sessions: Mapping[str, SessionPod], names: Mapping[str, str]
) -> Iterable[tuple[str, list[SessionPod]]]:
    """Sessions by the claim they go to, once the new claims have names."""
    places: dict[str, list[SessionPod]] = {}
    for placement in plan.placements:
        place = names.get(placement.place, placement.place)
        places.setdefault(place, []).append(sessions[placement.session])
    return places.items()
