"""Released pods that did not get in: a released pod cannot be gated again, so it is made anew.

Marked first, then deleted: the hub, seeing its pod deleted with that mark inside a start,
creates it again, gated, and the start goes on.
"""

from __future__ import annotations

import logging

from ..core import wire
from ..core.model import SessionPod
from ..errors import Conflict, NotFound
from ..ports import PODS, Clock, Cluster
from .settings import Settings
from .state import ClusterState
from .volumes import MAKING_SECONDS

log = logging.getLogger(__name__)

# How a kubelet refuses a pod on admission (pod status.reason).
_REFUSED_BY_KUBELET = ("UnexpectedAdmissionError", "NodeAffinity", "NodeShutdown", "Preempting")


def refused_by_kubelet(session: SessionPod) -> bool:
    """Whether the pod failed before any of its containers ran."""
    reason = session.failure_reason
    return session.phase == "Failed" and (
        reason.startswith("OutOf") or reason in _REFUSED_BY_KUBELET
    )


class Stuck:
    """Finds and ends stuck pods."""

    def __init__(
        self, cluster: Cluster, clock: Clock, *, state: ClusterState, settings: Settings
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._state = state
        self._settings = settings

    async def look(self) -> float | None:
        """End what is stuck; epoch seconds of the next deadline, or None. Raises TransientError."""
        deadlines = []
        for session in list(self._state.sessions()):
            deadline = self._deadline(session)
            if deadline is None:
                continue
            if self._clock.now() >= deadline:
                await self.recreate(session)
            else:
                deadlines.append(deadline)
        return min(deadlines, default=None)

    def _deadline(self, session: SessionPod) -> float | None:
        if session.deleting:
            return None
        if refused_by_kubelet(session):
            return self._clock.now()
        if session.pinned_to and not session.node_name and session.phase == "Pending":
            released = session.released_at or session.request.created_at
            making = MAKING_SECONDS if self._state.volumes.are_made_for(session) else 0.0
            return released + self._settings.release_deadline_seconds + making
        return None

    async def recreate(self, session: SessionPod) -> None:
        """Have the pod of a start made anew, by the hub. Raises TransientError."""
        mark = {
            "metadata": {
                "resourceVersion": session.resource_version,
                "annotations": {wire.RECREATE_ANNOTATION: "true"},
            }
        }
        self._state.check_settled()
        try:
            marked = await self._cluster.patch(
                PODS, session.name, mark, namespace=session.namespace
            )
            self._state.observe(PODS, marked)
            # Records are written beside this: one of them may have gone unanswered meanwhile.
            self._state.check_settled()
            await self._cluster.delete(
                PODS, session.name, namespace=session.namespace, uid=session.uid
            )
        except (Conflict, NotFound):
            return
        log.warning("session re-created", extra={"session": session.uid, "reason": "Stuck"})
