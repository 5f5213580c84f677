"""Nodes the cloud takes back: who has to leave, what is kept for them elsewhere, what they read.

Called by provisioner/state.py before each plan and by provisioner/interruption.py. A session that
has to leave is planned once more, as if its pod were waiting; the place found is reserved for the
next pod of that user and server, because the pod itself cannot move.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from . import wire
from .model import NodeClaim, Reservation, SessionPod

DRAIN_SECONDS = 20.0
"""Sessions are ended this long before their instance is, so that they end in order."""
NOTICE_SECONDS = 120.0
"""From a Spot notice to the end, where the notice does not say."""
_CLOCK_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """``lead_seconds``: a replacement is asked for when less is left (maintenance is announced
    weeks ahead). ``at_risk_too``: also for nodes that the cloud only thinks it may take.
    ``hold_seconds``: how long room is kept after the deadline.
    """

    lead_seconds: float = 900.0
    at_risk_too: bool = False
    hold_seconds: float = 600.0

    def empties(self, claim: NodeClaim) -> bool:
        """Whether nobody new may sit there: sooner or later everybody has to leave."""
        return claim.is_true(wire.INTERRUPTED) or (self.at_risk_too and claim.is_true(wire.AT_RISK))

    def is_due(self, claim: NodeClaim, now: float) -> bool:
        """Whether those who sit there need another place by now."""
        return self.empties(claim) and now >= self.due_at(claim)

    def due_at(self, claim: NodeClaim) -> float:
        """From when on those who sit there need another place; without a deadline, always."""
        return float("-inf") if claim.deadline is None else claim.deadline - self.lead_seconds


def asked_again(
    sessions: Sequence[SessionPod], claims: Iterable[NodeClaim], rules: Rules, *, now: float
) -> list[SessionPod]:
    """The sessions, those that have to leave and have no other place yet as if they waited.

    A session that is not Ready has nothing to lose; its pod is simply created again.
    """
    known = list(claims)
    due = {c.node_name for c in known if c.node_name and rules.is_due(c, now)}
    if not due:
        return list(sessions)
    placed = {r.session for c in known if _lasts(c, rules) for r in c.reservations}
    return [
        _as_waiting(pod) if _sits(pod) and pod.node_name in due and pod.uid not in placed else pod
        for pod in sessions
    ]


def with_promises(
    claims: Iterable[NodeClaim], sessions: Iterable[SessionPod], rules: Rules
) -> list[NodeClaim]:
    """The claims with what they are to keep, whether that has been written on them yet or not.

    A claim that was planned for a session which sits on a node that is taken back, and after that
    was known, is its replacement: its own intent says so, should we be ended before we note it.
    """
    known = list(claims)
    leaving = {c.node_name: c for c in known if c.node_name and rules.empties(c)}
    if not leaving:
        return known
    sitting = {pod.uid: pod for pod in sessions if _sits(pod) and pod.node_name in leaving}
    return [_promising(claim, sitting, leaving, rules) for claim in known]


def reservation(pod: SessionPod, leaves: NodeClaim, rules: Rules, *, now: float) -> Reservation:
    """What is kept for a session that leaves that claim."""
    end = now + NOTICE_SECONDS if leaves.deadline is None else leaves.deadline
    return Reservation(
        session=pod.uid,
        user=pod.request.user,
        server=pod.request.server,
        resources=pod.request.resources,
        until=end + rules.hold_seconds,
    )


def still_kept(
    claim: NodeClaim, sessions: Iterable[SessionPod], *, now: float
) -> tuple[Reservation, ...]:
    """The claim's reservations but for those used or out of date."""
    if not claim.reservations:
        return ()
    seated = {_whose(pod): pod.uid for pod in sessions if pod.pinned_to or pod.node_name}
    return tuple(
        kept
        for kept in claim.reservations
        if now < kept.until and seated.get((kept.user, kept.server), kept.session) == kept.session
    )


def place_kept(claims: Iterable[NodeClaim], rules: Rules) -> dict[tuple[str, str], str]:
    """The claim that keeps room for a user and server."""
    return {
        (kept.user, kept.server): claim.name
        for claim in claims
        if _lasts(claim, rules)
        for kept in claim.reservations
    }


def farewell(deadline: float | None, sequel: str) -> str:
    """What a session on a node that is taken back is told; ``sequel`` is where it can go on."""
    if deadline is None:
        return f"The cloud may take this node back soon: save your work. {sequel}"
    at = datetime.fromtimestamp(deadline, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"The cloud takes this node back at {at}: save your work before. {sequel}"


def _promising(
    claim: NodeClaim,
    sitting: Mapping[str, SessionPod],
    leaving: Mapping[str, NodeClaim],
    rules: Rules,
) -> NodeClaim:
    noted = {kept.session for kept in claim.reservations}
    new = [
        reservation(sitting[uid], leaves, rules, now=claim.created_at)
        for uid in claim.sessions
        if uid in sitting and uid not in noted
        for leaves in (leaving[sitting[uid].node_name],)
        if leaves.name != claim.name and claim.created_at >= _known_since(leaves) - _CLOCK_SECONDS
    ]
    return replace(claim, reservations=(*claim.reservations, *new)) if new else claim


def _known_since(claim: NodeClaim) -> float:
    """Since when it is known that the instance will or may be taken."""
    times = (claim.condition(kind) for kind in (wire.INTERRUPTED, wire.AT_RISK))
    return min((c.since for c in times if c is not None), default=claim.created_at)


def _lasts(claim: NodeClaim, rules: Rules) -> bool:
    """Whether room on it is worth anything."""
    failed = claim.is_false(wire.LAUNCHED)
    return not (claim.deleting or failed or rules.empties(claim))


def _sits(pod: SessionPod) -> bool:
    """Whether its user works in it: on a node, Ready, and not ending."""
    return bool(pod.node_name) and pod.ready and not pod.deleting and not pod.finished


def _as_waiting(pod: SessionPod) -> SessionPod:
    asked = replace(pod.request, place="")
    return replace(pod, node_name="", pinned_to="", claim="", gates=(wire.GATE,), request=asked)


def _whose(pod: SessionPod) -> tuple[str, str]:
    return pod.request.user, pod.request.server
