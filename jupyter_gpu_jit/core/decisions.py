"""The log of decisions: what changed between two looks at the cluster, when, and why.

The service calls ``news`` after each look and keeps the last few hundred. What is written on
pods and claims carries its own time, so a service that was restarted, or that nobody watched,
tells the last step of everything that is still there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import wire
from .model import Condition, NodeClaim, SessionPod
from .overview import Facts, Viewer, session_stage
from .progress import Stage
from .quantity import format_time, format_usd

_CONDITIONS = {
    (wire.LAUNCHED, None): "Launch asked for",
    (wire.LAUNCHED, True): "Launched",
    (wire.LAUNCHED, False): "Launch failed",
    (wire.REGISTERED, True): "Node joined",
    (wire.INITIALISED, True): "Node ready",
    (wire.AT_RISK, True): "May be taken back",
    (wire.INTERRUPTED, True): "Taken back by the cloud",
    (wire.TERMINATING, True): "Being given back",
}
_SEATED = (Stage.PULLING, Stage.STARTING, Stage.READY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One line of the log: ``at`` in epoch seconds, ``what`` a few words, ``why`` a sentence or "".

    ``user`` and ``server`` say whose session it is about; of a node, ``claim`` says which.
    """

    at: float
    what: str
    why: str = ""
    user: str = ""
    server: str = ""
    claim: str = ""


def news(before: Facts | None, after: Facts, now: float) -> list[Decision]:
    """What is new, oldest first; with nothing before, the last known step of everything."""
    lines = [*_of_sessions(before, after, now), *_of_claims(before, after, now)]
    return sorted(lines, key=lambda line: line.at)


def shown(log: Iterable[Decision], viewer: Viewer) -> list[dict[str, Any]]:
    """The lines that viewer may see, newest first, ready for JSON."""
    seen = [line for line in log if _may_see(line, viewer)]
    newest = sorted(seen, key=lambda line: line.at, reverse=True)
    return [
        {
            "at": format_time(line.at),
            "what": line.what,
            "why": line.why,
            "user": line.user,
            "server": line.server,
            "claim": line.claim,
        }
        for line in newest
    ]


def _may_see(line: Decision, viewer: Viewer) -> bool:
    return viewer.everything or (not line.claim and viewer.sees(line.user, line.server))


# --- sessions --------------------------------------------------------------------------------


def _of_sessions(before: Facts | None, after: Facts, now: float) -> Iterator[Decision]:
    old = {pod.uid: pod for pod in before.sessions} if before else {}
    for pod in after.sessions:
        yield from _of_session(old.get(pod.uid), pod)
        yield from _seen(old.get(pod.uid), pod, after.ready_since.get(pod.uid), now)
    left = {pod.uid for pod in after.sessions}
    for pod in old.values():
        if pod.uid not in left:
            yield _session(pod, at=now, what="Ended")


def _of_session(old: SessionPod | None, new: SessionPod) -> Iterator[Decision]:
    """What the hub and the provisioner wrote, at the time they wrote it."""
    if old is None:
        yield _session(new, at=new.request.created_at, what=Stage.REQUESTED.value)
    told = new.status
    if told is not None and (old is None or old.status != told) and told.stage != Stage.REQUESTED:
        yield _session(new, at=told.since, what=told.stage, why=told.message or told.reason)


def _seen(
    old: SessionPod | None, new: SessionPod, ready_since: float | None, now: float
) -> Iterator[Decision]:
    """What only the pod shows, at the time it was seen; Ready when the kubelet says since when."""
    stage, before = session_stage(new), session_stage(old) if old else None
    at = ready_since if stage is Stage.READY else None
    known = old is not None or at is not None
    if known and stage in _SEATED and before is not stage:
        when = now if at is None else at
        yield _session(new, at=when, what=stage.value, why=f"On {new.node_name}.")
    if old is not None and new.deleting and not old.deleting:
        yield _session(new, at=now, what="Ending")


def _session(pod: SessionPod, *, at: float, what: str, why: str = "") -> Decision:
    return Decision(at=at, what=what, why=why, user=pod.request.user, server=pod.request.server)


# --- claims ----------------------------------------------------------------------------------


def _of_claims(before: Facts | None, after: Facts, now: float) -> Iterator[Decision]:
    old = {claim.name: claim for claim in before.claims} if before else {}
    for claim in after.claims:
        yield from _of_claim(old.get(claim.name), claim)
    left = {claim.name for claim in after.claims} | set(after.unreadable)
    for name in old:
        if name not in left:
            yield Decision(at=now, what="Given back", claim=name)


def _of_claim(old: NodeClaim | None, new: NodeClaim) -> Iterator[Decision]:
    if old is None:
        yield Decision(at=new.created_at, what="Node planned", why=_intent(new), claim=new.name)
    known = _by_kind(old)
    for condition in new.conditions:
        what = _CONDITIONS.get((condition.type, condition.status))
        was = known.get(condition.type)
        if what and (was is None or was.status != condition.status):
            yield _condition(new, condition, what)
    if new.empty_since is not None and (old is None or old.empty_since != new.empty_since):
        yield Decision(at=new.empty_since, what="Empty", why="Nobody sits here.", claim=new.name)


def _by_kind(claim: NodeClaim | None) -> Mapping[str, Condition]:
    return {condition.type: condition for condition in claim.conditions} if claim else {}


def _condition(claim: NodeClaim, condition: Condition, what: str) -> Decision:
    why = condition.message or ("" if condition.reason == condition.type else condition.reason)
    if condition.type == wire.LAUNCHED and condition.status:
        price = format_usd(claim.usd_per_hour_micro)
        why = f"{claim.instance_type} in {claim.zone} ({claim.capacity_type}), {price}/h."
    if condition.type == wire.INTERRUPTED and claim.deadline is not None:
        why = f"{condition.reason}, until {format_time(claim.deadline)}."
    if condition.type in (wire.REGISTERED, wire.INITIALISED):
        why = claim.node_name
    return Decision(at=condition.since, what=what, why=why, claim=claim.name)


def _intent(claim: NodeClaim) -> str:
    """What was planned, for how many, and from how much choice."""
    if not claim.offerings:
        return ""
    best = claim.offerings[0]
    sessions = _count(len(claim.sessions), "session")
    price = format_usd(best.usd_per_hour_micro)
    choice = _count(len(claim.offerings), "offering")
    return (
        f"{best.instance_type} in {best.zone} ({best.capacity_type.value}), {price}/h, "
        f"for {sessions}; {choice} would serve."
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
