"""Nodes the cloud takes back: from a notice to the last session gone, and its room elsewhere.

A notice is written on the claim (deadline and condition) and only then settled. All else follows
from the claim, step by step, whoever reads it there: the node is marked, its sessions are told,
provisioning plans them another place, and they are ended in time. So a notice may come twice, late
or out of order, and any process may end at any point. Called by runtime.py.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from ..core import wire
from ..core.interruption import DRAIN_SECONDS, NOTICE_SECONDS, farewell, still_kept
from ..core.model import Node, NodeClaim, SessionPod, SessionStatus
from ..core.progress import Stage
from ..core.quantity import format_time
from ..errors import Conflict, NotFound, TransientError
from ..ports import PODS, Clock, Cluster, Meter, Notice, NoticeKind
from . import metrics
from .claims import ClaimWriter
from .lifecycle import instance_id, offering_of
from .settings import Settings
from .state import ClusterState
from .status import StatusWriter
from .stuck import Stuck

log = logging.getLogger(__name__)

SPOT, SCHEDULED, RISK = "SpotInterruption", "ScheduledChange", "RebalanceRecommendation"
_REASONS = {
    NoticeKind.INTERRUPTION: SPOT,
    NoticeKind.SCHEDULED: SCHEDULED,
    NoticeKind.REBALANCE: RISK,
}
# Two sources tell of one end some seconds apart; one that is this much sooner is another.
_SOONER_SECONDS = 30.0
_ATTEMPTS, _AGAIN_SECONDS = 5, 0.3
# An instance is unknown while its launch is still being written down. A notice of it is left to
# come again once, not for ever: others' notices come while we launch, too.
_YOUNG_SECONDS = 15.0
_GRACE_SECONDS = 15


class Interruption:
    """Hears notices, and takes claims of nodes that are taken back to their ends."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        *,
        state: ClusterState,
        claims: ClaimWriter,
        status: StatusWriter,
        stuck: Stuck,
        meter: Meter,
        settings: Settings,
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._state = state
        self._claims = claims
        self._status = status
        self._stuck = stuck
        self._meter = meter
        self._settings = settings
        self._remembered: set[str] = set()

    # --- notices ------------------------------------------------------------------------------

    async def hear(self, notices: Sequence[Notice]) -> Sequence[Notice]:
        """Act on notices; those that need not come again."""
        names = {instance_id(c.provider_id): c.name for c in self._state.claims if c.provider_id}
        return [
            notice for notice in notices if await self._hear(notice, names.get(notice.instance_id))
        ]

    async def _hear(self, notice: Notice, name: str | None) -> bool:
        self._meter.observe(metrics.QUEUE_AGE_SECONDS, max(0.0, self._clock.now() - notice.said_at))
        if name is None:
            if self._may_be_ours_yet(notice):
                return False
            self._meter.count(metrics.NOTICES_DROPPED, reason="unknown")
            return True
        return await self._again(lambda: self._act(notice, name))

    def _may_be_ours_yet(self, notice: Notice) -> bool:
        launching = any(not c.provider_id and not c.deleting for c in self._state.claims)
        return launching and self._clock.now() - notice.said_at < _YOUNG_SECONDS

    async def _again(self, act: Callable[[], Awaitable[None]]) -> bool:
        """Whether it could be done; a few attempts, as others write on the same claim."""
        for _ in range(_ATTEMPTS):
            try:
                await act()
                return True
            except TransientError as error:
                log.info("notice put off", extra={"reason": error.reason})
                await self._clock.sleep(_AGAIN_SECONDS)
        return False

    async def _act(self, notice: Notice, name: str) -> None:
        claim = self._state.claims.get(name)
        if claim is None or claim.deleting or self._is_known(notice, claim):
            self._meter.count(metrics.NOTICES_DROPPED, reason="duplicate")
            return
        if notice.kind is NoticeKind.ENDED:
            await self._claims.delete(claim, "InstanceGone")
        else:
            await self._note(notice, claim)
        self._meter.count(metrics.INTERRUPTIONS, kind=notice.kind.value)
        log.info("notice", extra={"claim": claim.name, "reason": notice.kind.value})

    def _is_known(self, notice: Notice, claim: NodeClaim) -> bool:
        """Whether it says nothing new; of two that say the same the first one counts."""
        if notice.kind is NoticeKind.ENDED:
            return False
        if notice.kind is NoticeKind.REBALANCE:
            return claim.is_true(wire.AT_RISK) or claim.is_true(wire.INTERRUPTED)
        known = claim.deadline if claim.is_true(wire.INTERRUPTED) else None
        return known is not None and known <= _deadline_of(notice) + _SOONER_SECONDS

    async def _note(self, notice: Notice, claim: NodeClaim) -> None:
        """Write it on the claim; from there on it is not forgotten."""
        if notice.kind is NoticeKind.INTERRUPTION:
            self._mark_dry(claim)
        reason = _REASONS[notice.kind]
        if notice.kind is NoticeKind.REBALANCE:
            said = self._claims.condition(wire.AT_RISK, True, reason=reason)
            await self._claims.set_status(claim, {}, said)
            if not self._settings.interruption.at_risk_too:
                self._warn(claim)
            return
        said = self._claims.condition(wire.INTERRUPTED, True, reason=reason)
        deadline = format_time(_deadline_of(notice))
        await self._claims.set_status(claim, {"deadline": deadline}, said)

    def remember(self) -> None:
        """Before each plan: pools that were taken from before our time give nothing either."""
        for claim in self._state.claims:
            said = claim.condition(wire.INTERRUPTED)
            if said is not None and said.reason == SPOT and claim.name not in self._remembered:
                self._mark_dry(claim)

    def _mark_dry(self, claim: NodeClaim) -> None:
        self._remembered.add(claim.name)
        self._state.mark_dry([offering_of(claim)], SPOT)

    # --- room elsewhere -----------------------------------------------------------------------

    async def keep(self, claim: NodeClaim) -> NodeClaim:
        """Write down for whom the claim keeps room, if that has changed; the claim as stored."""
        promising = self._state.kept(claim)
        kept = still_kept(promising, self._state.sessions(), now=self._clock.now())
        if kept == claim.reservations:
            return claim
        rows = [wire.encode_reservation(each) for each in kept]
        return await self._claims.set_status(claim, {"reservations": rows or None})

    # --- the node and its sessions --------------------------------------------------------------

    async def advance(self, claim: NodeClaim) -> float | None:
        """One step of a claim whose node is taken back; when to look again, in epoch seconds.

        Raises TransientError.
        """
        node = self._state.node_of(claim)
        if node is not None:
            await self._mark(node, claim)
        await self._send_back(claim)
        users = self._state.users_of(claim)
        if (not users and claim.name not in self._state.busy) or self._is_over(claim):
            await self._claims.delete(claim, "Interrupted")
            return None
        sitting = [s for s in users if s.ready and s.node_name and not s.deleting]
        for session in sitting:
            self._tell(session, claim)
        return await self._drain(claim, sitting)

    def _is_over(self, claim: NodeClaim) -> bool:
        return claim.deadline is not None and self._clock.now() >= claim.deadline

    async def _mark(self, node: Node, claim: NodeClaim) -> None:
        """Cordon it, and say on it until when it is there."""
        taint = wire.deadline_taint(claim.deadline)
        if node.unschedulable and taint in node.taints:
            return
        others = [t for t in node.taints if t.key != taint.key]
        spec: dict[str, Any] = {
            "unschedulable": True,
            "taints": [wire.taint_json(t) for t in (*others, taint)],
        }
        until = None if claim.deadline is None else format_time(claim.deadline)
        annotations = {wire.DEADLINE_ANNOTATION: until}
        # A node that is gone needs no mark.
        with contextlib.suppress(NotFound):
            await self._claims.patch_node(
                node, {"metadata": {"annotations": annotations}, "spec": spec}
            )

    async def _send_back(self, claim: NodeClaim) -> None:
        """Sessions that are only starting there have nothing to lose: their starts go on anew."""
        for session in self._state.users_of(claim):
            starting = session.pinned_to == claim.name and not session.ready
            if starting and not session.deleting:
                await self._stuck.recreate(session)

    def _warn(self, claim: NodeClaim) -> None:
        """Tell of a risk about which nothing is done."""
        for session in self._state.users_of(claim):
            if session.ready and session.node_name and not session.deleting:
                self._say(session, farewell(None, "If it does, start your server again."))

    def _tell(self, session: SessionPod, claim: NodeClaim) -> None:
        self._say(session, farewell(claim.deadline, self._sequel(session)))

    def _say(self, session: SessionPod, message: str) -> None:
        before = session.status or SessionStatus(stage=Stage.INITIALISED, since=0.0)
        told = replace(
            before,
            since=self._clock.now(),
            reason=wire.INTERRUPTED,
            message=message,
            eta_seconds=None,
        )
        self._status.tell(session, told, claim=session.claim)

    def _sequel(self, session: SessionPod) -> str:
        """Where somebody can go on who has to leave."""
        place = self._replacement_of(session)
        if place is not None and place.is_true(wire.INITIALISED):
            return f"Room is kept for you on {place.node_name}: start your server again there."
        if place is not None:
            return "Another node is being launched for you: start your server again afterwards."
        why = self._state.homeless.get(session.uid)
        return f"There is no other place yet: {why}" if why else "Another place is looked for."

    def _replacement_of(self, session: SessionPod) -> NodeClaim | None:
        rules = self._settings.interruption
        for claim in self._state.kept_claims():
            mine = any(kept.session == session.uid for kept in claim.reservations)
            if mine and not claim.deleting and not rules.empties(claim):
                return claim
        return None

    async def _drain(self, claim: NodeClaim, sitting: Sequence[SessionPod]) -> float | None:
        """End the sessions when it is time; until then, when that will be."""
        if claim.deadline is None:
            return None
        drain_at = claim.deadline - DRAIN_SECONDS
        due_at = self._settings.interruption.due_at(claim)
        leaves = [s for s in sitting if self._clock.now() >= drain_at or self._can_go(s)]
        for session in leaves:
            await self._end(session)
        now = self._clock.now()
        return next((at for at in (due_at, drain_at, claim.deadline) if now < at), None)

    def _can_go(self, session: SessionPod) -> bool:
        place = self._replacement_of(session) if self._settings.drain_once_replaced else None
        return place is not None and place.is_true(wire.INITIALISED)

    async def _end(self, session: SessionPod) -> None:
        """Its pod goes, and by that the hub knows that the server has stopped."""
        self._state.check_settled()
        with contextlib.suppress(NotFound, Conflict):
            await self._cluster.delete(
                PODS,
                session.name,
                namespace=session.namespace,
                uid=session.uid,
                grace_seconds=_GRACE_SECONDS,
            )
            log.warning("session ended", extra={"session": session.uid, "reason": "SpotDeadline"})


def _deadline_of(notice: Notice) -> float:
    return notice.said_at + NOTICE_SECONDS if notice.deadline is None else notice.deadline
