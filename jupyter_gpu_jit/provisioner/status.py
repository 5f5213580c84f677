"""The record on the pod: which stage a start is in, written once per change, and told as an Event.

The annotation is the record; the Event repeats it for whoever reads ``kubectl describe``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from ..core import wire
from ..core.model import NodeClaim, Refusal, SessionPod, SessionStatus
from ..core.progress import ORDER, Stage
from ..core.quantity import format_time, format_usd
from ..errors import Conflict, GpuJitError, NotFound, TransientError
from ..ports import EVENTS, PODS, Clock, Cluster, Ids, Json, Meter
from . import metrics
from .settings import Settings
from .state import BadSession, ClusterState
from .tasks import KeyedTasks

log = logging.getLogger(__name__)

_STEP_OF_CLAIM = (
    (wire.INITIALISED, Stage.INITIALISED),
    (wire.REGISTERED, Stage.REGISTERED),
    (wire.LAUNCHED, Stage.BOOTING),
)


def stage_of(claim: NodeClaim) -> Stage:
    """How far a claim has come, as a stage of its sessions."""
    for condition, stage in _STEP_OF_CLAIM:
        if claim.is_true(condition):
            return stage
    return Stage.PLANNED if claim.condition(wire.LAUNCHED) is None else Stage.LAUNCHING


def remaining_seconds(stage: Stage, stage_seconds: Mapping[Stage, float]) -> int:
    """Expected time from the beginning of a stage to Ready."""
    steps = ORDER[ORDER.index(stage) :]
    return round(sum(stage_seconds.get(step, 0.0) for step in steps))


def on_claim(claim: NodeClaim, *, now: float, settings: Settings) -> SessionStatus:
    """What a session planned onto a claim is told."""
    stage = stage_of(claim)
    best = claim.offerings[0]
    status = SessionStatus(
        stage=stage,
        since=now,
        node=claim.node_name or claim.name,
        instance_type=claim.instance_type or best.instance_type,
        zone=claim.zone or best.zone,
        capacity_type=claim.capacity_type or best.capacity_type.value,
        usd_per_hour_micro=claim.usd_per_hour_micro or best.usd_per_hour_micro,
        eta_seconds=_eta_seconds(claim, stage, now=now, settings=settings),
    )
    return replace(status, message=_sentence(status))


def _eta_seconds(claim: NodeClaim, stage: Stage, *, now: float, settings: Settings) -> int:
    """What is left of a claim's way; somebody who joins late is not told the whole of it."""
    reached = {name: step for step, name in _STEP_OF_CLAIM}
    condition = claim.condition(reached.get(stage, wire.LAUNCHED))
    age = now - (condition.since if condition else claim.created_at)
    whole = remaining_seconds(stage, settings.stage_seconds)
    after = whole - round(settings.stage_seconds.get(stage, 0.0))
    return max(after, round(whole - max(0.0, age)))


def released(claim: NodeClaim, *, now: float, settings: Settings) -> SessionStatus:
    """What a session is told when its gate is removed: the node is there, the image comes next."""
    status = replace(
        on_claim(claim, now=now, settings=settings),
        stage=Stage.INITIALISED,
        eta_seconds=remaining_seconds(Stage.PULLING, settings.stage_seconds),
    )
    return replace(status, message=f"Has a seat on {status.node}; waiting for its container.")


def refused(refusal: Refusal, *, now: float) -> SessionStatus:
    """What a session without a place is told."""
    stage = Stage.WAITING if refusal.temporary else Stage.REFUSED
    return SessionStatus(stage=stage, since=now, reason=refusal.reason, message=refusal.message)


def _sentence(status: SessionStatus) -> str:
    what = f"{status.instance_type} in {status.zone} ({status.capacity_type})"
    price = f"{format_usd(status.usd_per_hour_micro)}/h"
    match status.stage:
        case Stage.PLANNED:
            return f"Planned onto a new {what}, {price}; waiting for the launch."
        case Stage.LAUNCHING:
            return f"Asking the cloud for {what}, {price}."
        case Stage.BOOTING:
            return f"{what} is booting; waiting for it to join the cluster."
        case Stage.REGISTERED:
            return f"Node {status.node} has joined; waiting for its GPUs to be reported."
    return f"Node {status.node} is ready; waiting for a free seat on it."


def says_the_same(old: SessionStatus | None, new: SessionStatus) -> bool:
    """Whether writing ``new`` would tell nobody anything; times and estimates do not count."""
    if old is None:
        return False
    return replace(old, since=new.since, eta_seconds=new.eta_seconds) == new


AT_ONCE = 4
"""How many records and Events are written at once: the writes that sessions wait for go first."""


def _key(session: SessionPod) -> str:
    return f"tell {session.uid}"


class StatusWriter:
    """Writes records and Events beside the work, which never waits for them nor fails with them.

    Per session one record is written at a time, and the next says what is so by then; Events
    keep their order.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        ids: Ids,
        *,
        state: ClusterState,
        tasks: KeyedTasks,
        meter: Meter,
        settings: Settings,
    ) -> None:
        self._meter = meter
        self._cluster = cluster
        self._clock = clock
        self._ids = ids
        self._state = state
        self._settings = settings
        self._tasks = tasks
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._due: dict[str, tuple[SessionPod, SessionStatus, str]] = {}
        self._writing: set[str] = set()
        self._events: dict[str, deque[tuple[str, Json]]] = {}

    def tell(self, session: SessionPod, status: SessionStatus, *, claim: str = "") -> None:
        """Write the record, and where the session is planned, if either is news."""
        if not says_the_same(session.status, status) or claim != session.claim:
            self._due[session.uid] = (session, status, claim)
            self._tasks.start(_key(session), partial(self._record_due, session.uid))

    async def hush(self, session: SessionPod) -> None:
        """Drop what waits to be told; return when no record of the session is being written."""
        self._due.pop(session.uid, None)
        if session.uid in self._writing:
            await self._tasks.idle(_key(session))

    async def _record_due(self, uid: str) -> None:
        """Write the newest record of a session, when it is its turn."""
        async with self._turn:
            due = self._due.pop(uid, None)
            if due is None:
                return
            self._writing.add(uid)
            try:
                await self._record(*due)
            finally:
                self._writing.discard(uid)

    async def _record(self, session: SessionPod, status: SessionStatus, claim: str) -> None:
        annotations = {
            wire.STATUS_ANNOTATION: wire.encode_status(status),
            wire.CLAIM_ANNOTATION: claim or None,
        }
        # A Conflict goes on to the task: it looks again soon, whether or not the watch brings news.
        with contextlib.suppress(NotFound):
            await self._annotate(session, annotations)
            self.announce(session, status)

    async def tell_unreadable(self, pod: BadSession) -> None:
        """Refuse a pod whose request cannot be read."""
        status = SessionStatus(
            stage=Stage.REFUSED,
            since=self._clock.now(),
            reason="BadSession",
            message=pod.message,
        )
        annotations = {wire.STATUS_ANNOTATION: wire.encode_status(status)}
        with contextlib.suppress(NotFound, Conflict):
            # Gone or changed: the watch brings what it is now, and the next pass tells it again.
            await self._annotate(pod, annotations)

    async def _annotate(
        self, pod: SessionPod | BadSession, annotations: Mapping[str, str | None]
    ) -> None:
        # With its version: a pod of the same name that was created meanwhile is another's record.
        metadata = {"resourceVersion": pod.resource_version, "annotations": dict(annotations)}
        body = await self._cluster.patch(
            PODS, pod.name, {"metadata": metadata}, namespace=pod.namespace
        )
        self._state.observe(PODS, body)

    def announce(self, session: SessionPod, status: SessionStatus) -> None:
        """The same as an Event on the pod; losing one loses nothing."""
        self._observe(session, status)
        line = self._events.setdefault(session.uid, deque())
        line.append((session.namespace, self._event(session, status)))
        if len(line) == 1:
            self._tasks.start(f"events {session.uid}", partial(self._post, session.uid))

    def _observe(self, session: SessionPod, status: SessionStatus) -> None:
        """How long the stage took that is over."""
        before = session.status
        stage = before.stage if before else Stage.REQUESTED.value
        since = before.since if before else session.request.created_at
        if stage != status.stage and stage in metrics.STAGES:
            self._meter.observe(metrics.STAGE_SECONDS, max(0.0, status.since - since), stage=stage)

    async def _post(self, uid: str) -> None:
        """Post the Events of one session, the oldest first."""
        line = self._events[uid]
        try:
            while line:
                namespace, event = line[0]
                async with self._turn:
                    await self._create_event(namespace, event)
                line.popleft()
        finally:
            del self._events[uid]

    async def _create_event(self, namespace: str, event: Json) -> None:
        name = event["metadata"]["name"]
        try:
            await self._cluster.create(EVENTS, event, namespace=namespace)
        except TransientError as error:
            log.info("event not written", extra={"reason": error.reason, "event": name})
        except GpuJitError:
            log.exception("event refused", extra={"event": name})

    def _event(self, session: SessionPod, status: SessionStatus) -> Json:
        now = format_time(self._clock.now())
        seconds = now[: now.index(".")] + "Z"
        taken = status.reason == wire.INTERRUPTED
        warning = taken or status.stage in (Stage.WAITING, Stage.REFUSED, Stage.FAILED)
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{session.name}.{self._ids.new('e')}",
                "namespace": session.namespace,
            },
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": session.name,
                "namespace": session.namespace,
                "uid": session.uid,
            },
            "reason": status.reason if taken else status.stage,
            "message": status.message[:1000],
            "type": "Warning" if warning else "Normal",
            "source": {"component": "gpu-jit"},
            "firstTimestamp": seconds,
            "lastTimestamp": seconds,
            "count": 1,
        }
