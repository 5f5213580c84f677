"""The rules about nodes the cloud takes back, as code; checked with the others in invariants.py.

P5: whoever sits on such a node is told and has another place asked for within seconds of the
notice. I4: nobody's session is ended before its node has to be left.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..core import wire
from ..core.interruption import DRAIN_SECONDS
from ..core.model import NodeClaim, SessionPod
from .truth import Step, Tick, Truth, is_live

TAKEOVER_SECONDS = 20.0
Complaints = Iterator[str]


class ReplacedInTime:
    """Every Ready session of a noticed instance is told, and promised room or told why not."""

    name = "P5 replaced in time"

    def __init__(self) -> None:
        self._judged: set[tuple[str, str]] = set()

    def __call__(self, truth: Truth, step: Step) -> Complaints:
        """What is wrong after this step."""
        if not isinstance(step, Tick) or truth.acting_since is None:
            return
        now = truth.clock.now()
        for instance, heard_at in truth.noticed.items():
            since = max(heard_at, truth.acting_since + TAKEOVER_SECONDS)
            if since == heard_at or now > since:
                late = now - since > truth.shown_within_seconds
                yield from self._sessions(truth, instance) if late else ()

    def _sessions(self, truth: Truth, instance_id: str) -> Complaints:
        """Judged once, as things are when it should have been done."""
        instance = truth.instances.get(instance_id)
        node = truth.node_of(instance.provider_id) if instance is not None else None
        for pod in truth.active():
            key = (instance_id, pod.uid)
            if node is None or pod.node_name != node.name or not pod.ready:
                continue
            if key in self._judged or not is_live(instance):
                continue
            self._judged.add(key)
            told = pod.status is not None and pod.status.reason == wire.INTERRUPTED
            if not told:
                yield f"{pod.name} sits on {node.name}, which is taken, and was not told."
            elif not (_promised(truth, pod) or _knows_why(pod)):
                yield f"{pod.name} sits on {node.name}, which is taken, and no room is asked for."


def _promised(truth: Truth, pod: SessionPod) -> bool:
    return any(
        pod.uid in claim.sessions or any(r.session == pod.uid for r in claim.reservations)
        for claim in truth.claims.values()
        if _lasts(claim)
    )


def _lasts(claim: NodeClaim) -> bool:
    return not (claim.deleting or claim.is_true(wire.INTERRUPTED) or claim.is_false(wire.LAUNCHED))


def _knows_why(pod: SessionPod) -> bool:
    return pod.status is not None and "There is no other place yet" in pod.status.message


class LivesUntilTheEnd:
    """A Ready session's pod is deleted by the provisioner only when its node is about to go."""

    name = "I4 nobody is ended early"

    def check(self, truth: Truth, what: str) -> Complaints:
        """Called before each deletion, ``what`` is plural of the kind and name."""
        kind, _, name = what.partition(" ")
        if kind != "pods":
            return
        for pod in truth.active():
            if pod.name == name and pod.ready and pod.node_name:
                node = truth.nodes.get(pod.node_name)
                claim = truth.claims.get(node.claim) if node is not None else None
                yield from self._early(truth, pod, claim)

    def _early(self, truth: Truth, pod: SessionPod, claim: NodeClaim | None) -> Complaints:
        deadline = claim.deadline if claim is not None else None
        if deadline is None:
            yield f"{pod.name} is ended although nobody takes its node."
        elif truth.clock.now() < deadline - DRAIN_SECONDS - 0.001:
            yield f"{pod.name} is ended {deadline - truth.clock.now():.0f} s before it has to be."
