"""What is really so in a simulated world, kept up change by change, for the invariants to ask.

Fed by the hooks of the in-memory cluster and of the simulated cloud, so that it is never late
and never guesses; the provisioner has no access to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ..core import wire
from ..core.layouts import units
from ..core.model import InstanceType, Node, NodeClaim, Resources, SessionPod
from ..core.quantity import format_time
from ..errors import UserError
from ..ports import CLAIMS, NODES, PODS, Clock, Instance, Json
from .cluster import Change

TRACE_LENGTH = 60


@dataclass(frozen=True, slots=True)
class PodStep:
    """A session pod came (``old`` None), changed or went (``new`` None)."""

    old: SessionPod | None
    new: SessionPod | None


@dataclass(frozen=True, slots=True)
class NodeStep:
    """A node came, changed or went."""

    old: Node | None
    new: Node | None


@dataclass(frozen=True, slots=True)
class ClaimStep:
    """A claim came, changed or went."""

    old: NodeClaim | None
    new: NodeClaim | None


@dataclass(frozen=True, slots=True)
class InstanceStep:
    """An instance was launched (``old`` None) or changed its state."""

    old: Instance | None
    new: Instance


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Step = PodStep | NodeStep | ClaimStep | InstanceStep | Tick


@dataclass(slots=True)
class Truth:
    """The state of everything now, and what is known about faults that were planted.

    ``unusable_since`` is when nodes were cordoned or ceased to be Ready.
    ``failures`` counts planted or seen faults that excuse one more launch. ``excused`` are
    instances that misbehave or that a scenario ended: anything may be done to them.
    ``acting_since`` is when the present provisioner was started, None while there is none;
    it has ``shown_within_seconds`` to tell people what has happened. ``noticed`` is when the
    provisioner first received that an instance is interrupted.
    """

    clock: Clock
    types: dict[str, InstanceType]
    pods: dict[str, SessionPod] = field(default_factory=dict)
    loads: dict[str, tuple[str, Resources]] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    claims: dict[str, NodeClaim] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    unusable_since: dict[str, float] = field(default_factory=dict)
    failures: int = 0
    excused: set[str] = field(default_factory=set)
    acting_since: float | None = None
    shown_within_seconds: float = 5.0
    noticed: dict[str, float] = field(default_factory=dict)
    trace: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=TRACE_LENGTH))

    # --- taking in ---------------------------------------------------------------------------

    def note(self, what: str) -> None:
        """A line for the trace."""
        self.trace.append((self.clock.now(), what))

    def story(self) -> str:
        """The recent trace as text."""
        return "\n".join(f"{format_time(at)[11:23]} {what}" for at, what in self.trace)

    def cluster_step(self, change: Change) -> Step | None:
        """Take in a change of the cluster; None when no invariant speaks of it."""
        if change.kind == PODS:
            return self._pod(change.type == "DELETED", change.object)
        if change.kind == NODES:
            return self._node(change.type == "DELETED", change.object)
        if change.kind == CLAIMS:
            return self._claim(change.type == "DELETED", change.object)
        return None

    def _pod(self, gone: bool, pod: Json) -> Step | None:
        uid = pod["metadata"]["uid"]
        self._load(gone, pod)
        new = None if gone or not wire.is_session(pod) else _session(pod)
        old = self.pods.pop(uid, None)
        if new is not None:
            self.pods[uid] = new
        if old is None and new is None:
            return None
        self.note(f"pod {pod['metadata']['name']} {_pod_text(new)}")
        return PodStep(old, new)

    def _load(self, gone: bool, pod: Json) -> None:
        bound = wire.read_bound_pod(pod)
        if gone or bound.finished or not bound.node_name:
            self.loads.pop(bound.uid, None)
        else:
            self.loads[bound.uid] = (bound.node_name, bound.resources)

    def _node(self, gone: bool, body: Json) -> Step:
        name = body["metadata"]["name"]
        old, new = self.nodes.pop(name, None), None if gone else wire.read_node(body)
        if new is not None:
            self.nodes[name] = new
            if new.ready and not new.unschedulable and not new.deleting:
                self.unusable_since.pop(name, None)
            else:
                self.unusable_since.setdefault(name, self.clock.now())
        self.note(f"node {name} {_node_text(new)}")
        return NodeStep(old, new)

    def _claim(self, gone: bool, body: Json) -> Step:
        name = body["metadata"]["name"]
        old, new = self.claims.pop(name, None), None if gone else wire.read_claim(body)
        if new is not None:
            self.claims[name] = new
        self.note(f"claim {name} {_claim_text(new)}")
        return ClaimStep(old, new)

    def instance_step(self, instance: Instance) -> Step:
        """Take in an instance's new state."""
        old = self.instances.get(instance.id)
        self.instances[instance.id] = instance
        self.note(f"instance {instance.id} {instance.instance_type} {instance.state}")
        return InstanceStep(old, instance)

    def excuse(self, instance_id: str) -> None:
        """This instance fails by plan: one more launch is not the provisioner's fault."""
        if instance_id not in self.excused:
            self.excused.add(instance_id)
            self.failures += 1

    # --- questions ---------------------------------------------------------------------------

    def batch_claims(self, batch: str) -> list[NodeClaim]:
        """Claims of a launch batch that exist."""
        return [claim for claim in self.claims.values() if claim.batch.id == batch]

    def launched(self, batch: str) -> int:
        """How many instances were ever launched for a batch."""
        return sum(1 for i in self.instances.values() if i.tags.get(wire.BATCH_TAG) == batch)

    def owners(self, instance: Instance) -> list[NodeClaim]:
        """Claims that have the instance, or may still be given it."""
        batch = instance.tags.get(wire.BATCH_TAG, "")
        return [
            claim
            for claim in self.claims.values()
            if claim.provider_id == instance.provider_id
            or (claim.batch.id == batch and not claim.provider_id)
        ]

    def instance_of(self, claim: NodeClaim) -> Instance | None:
        """The instance whose provider id the claim records."""
        if not claim.provider_id:
            return None
        same = (i for i in self.instances.values() if i.provider_id == claim.provider_id)
        return next(same, None)

    def node_of(self, provider_id: str) -> Node | None:
        """The node of that machine."""
        same = (n for n in self.nodes.values() if provider_id and n.provider_id == provider_id)
        return next(same, None)

    def users_of(self, claim: NodeClaim) -> list[SessionPod]:
        """Sessions on the claim's node, released onto it or planned onto it, that nobody ended."""
        node = self.node_of(claim.provider_id)
        return [pod for pod in self.active() if _uses(pod, claim, node)]

    def active(self) -> Iterator[SessionPod]:
        """Session pods that nobody has asked to end and that have not ended."""
        return (pod for pod in self.pods.values() if not pod.deleting and not pod.finished)

    def load_on(self, node: str) -> Resources:
        """What all pods on a node take together."""
        total = Resources()
        for where, amount in self.loads.values():
            total = total + amount if where == node else total
        return total

    def complete(self, node: Node) -> bool:
        """Whether the node is Ready and reports the GPUs its type and layout have."""
        kind = self.types.get(node.labels.get(wire.INSTANCE_TYPE_LABEL, ""))
        expected = units(kind, node.labels.get(wire.LAYOUT_LABEL, "")) if kind else 0
        return node.ready and node.allocatable.gpus >= expected


def is_live(instance: Instance | None) -> bool:
    """Whether it is paid for."""
    return instance is not None and instance.state in ("pending", "running")


def _uses(pod: SessionPod, claim: NodeClaim, node: Node | None) -> bool:
    if pod.node_name:
        return node is not None and pod.node_name == node.name
    return claim.name in (pod.pinned_to, pod.claim)


def _session(pod: Json) -> SessionPod | None:
    try:
        seen = wire.read_session_pod(pod)
    except UserError:
        return None
    # Tolerations and the like are not asked for here; keep the object small.
    return replace(seen, resource_version="")


def _pod_text(pod: SessionPod | None) -> str:
    if pod is None:
        return "is gone"
    where = pod.node_name or (pod.pinned_to and f"-> {pod.pinned_to}") or pod.claim or "nowhere"
    stage = pod.status.stage if pod.status else "-"
    marks = [
        m for m, on in (("gated", pod.gates), ("ready", pod.ready), ("ending", pod.deleting)) if on
    ]
    return f"{stage} {pod.phase} on {where} {' '.join(marks)}".rstrip()


def _node_text(node: Node | None) -> str:
    if node is None:
        return "is gone"
    state = "ready" if node.ready else "not ready"
    state = "cordoned" if node.unschedulable else state
    return f"{state}, {node.allocatable.gpus} GPUs, claim {node.claim or '-'}"


def _claim_text(claim: NodeClaim | None) -> str:
    if claim is None:
        return "is gone"
    true = [c.type for c in claim.conditions if c.status]
    ending = " ending" if claim.deleting else ""
    return f"{' '.join(true) or 'written'} {claim.provider_id or '-'}{ending}"
