"""What the status page shows: nodes and their seats, who waits and why, claims in flight, money.

The service calls ``read`` with lists of raw JSON and ``render`` once for each kind of viewer:
whoever may see everything, and a user, of whom nothing leaves here but their own sessions.
Times are moments, never ages, so a picture changes only when the cluster does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import Defect
from . import wire
from .layouts import room_of, room_on
from .model import BoundPod, InstanceType, Node, NodeClaim, Resources, SessionPod
from .pricing import session_share_micro
from .progress import ENDED_BADLY, Stage
from .quantity import MICRO_USD, format_time, parse_time
from .snapshot import split_pods

Json = Mapping[str, Any]
May = Callable[[str, str], bool]

_STEP_OF_CLAIM = (
    (wire.INITIALISED, Stage.INITIALISED),
    (wire.REGISTERED, Stage.REGISTERED),
    (wire.LAUNCHED, Stage.BOOTING),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The cluster at one moment, read. ``unreadable`` names claims that we cannot have written.

    ``ready_since``: by pod uid, since when it answers, where the kubelet says so.
    """

    sessions: tuple[SessionPod, ...] = ()
    others: tuple[BoundPod, ...] = ()
    nodes: tuple[Node, ...] = ()
    claims: tuple[NodeClaim, ...] = ()
    types: Mapping[str, InstanceType]
    unreadable: tuple[str, ...] = ()
    ready_since: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who looks: ``everything``, or the sessions that ``may`` (user, server) allows."""

    name: str
    everything: bool = False
    may: May = lambda user, server: False

    def sees(self, user: str, server: str) -> bool:
        """Whether that session is shown."""
        return self.everything or self.may(user, server)


def read(
    *,
    pods: Iterable[Json],
    nodes: Iterable[Json],
    claims: Iterable[Json],
    instance_types: Sequence[InstanceType],
) -> Facts:
    """The facts in lists of JSON objects; one broken claim does not hide the rest."""
    pods = list(pods)
    sessions, others = split_pods(pods)
    readable, unreadable = _split_claims(claims)
    return Facts(
        sessions=tuple(sorted(sessions, key=lambda pod: (pod.request.created_at, pod.uid))),
        others=tuple(others),
        nodes=tuple(wire.read_node(node) for node in nodes),
        claims=tuple(sorted(readable, key=lambda claim: (claim.created_at, claim.name))),
        types={kind.name: kind for kind in instance_types},
        unreadable=tuple(sorted(unreadable)),
        ready_since=dict(row for pod in pods for row in _ready_since(pod)),
    )


def _ready_since(pod: Json) -> Iterator[tuple[str, float]]:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        told = condition.get("lastTransitionTime")
        if condition.get("type") == "Ready" and condition.get("status") == "True" and told:
            yield pod["metadata"]["uid"], parse_time(told)


def _split_claims(claims: Iterable[Json]) -> tuple[list[NodeClaim], list[str]]:
    readable, unreadable = [], []
    for body in claims:
        try:
            readable.append(wire.read_claim(body))
        except Defect:
            unreadable.append(str((body.get("metadata") or {}).get("name")))
    return readable, unreadable


def session_stage(pod: SessionPod) -> Stage:
    """How far a session has come, by its record and by the pod itself."""
    told = pod.status.stage if pod.status else ""
    if told in ENDED_BADLY:
        return Stage(told)
    if pod.ready:
        return Stage.READY
    if pod.node_name:
        return Stage.STARTING if pod.phase == "Running" else Stage.PULLING
    return Stage(told) if told in tuple(Stage) else Stage.REQUESTED


def claim_stage(claim: NodeClaim) -> Stage:
    """How far a claim has come, in the words of its sessions' stages."""
    for condition, stage in _STEP_OF_CLAIM:
        if claim.is_true(condition):
            return stage
    launched = claim.condition(wire.LAUNCHED)
    if launched is None:
        return Stage.PLANNED
    return Stage.FAILED if launched.status is False else Stage.LAUNCHING


def render(facts: Facts, viewer: Viewer) -> dict[str, Any]:
    """Everything the page shows to that viewer, ready for JSON; money in USD per hour."""
    picture = _Picture(facts, viewer)
    nodes, waiting, flights = picture.nodes(), picture.waiting(), picture.flights()
    return {
        "view": "everything" if viewer.everything else "own",
        "viewer": viewer.name,
        "counts": _counts(nodes, waiting, flights),
        "money": picture.money(),
        "nodes": nodes,
        "waiting": waiting,
        "in_flight": flights,
        "unreadable": list(facts.unreadable) if viewer.everything else [],
    }


def _counts(nodes: list[Any], waiting: list[Any], flights: list[Any]) -> dict[str, int]:
    return {
        "running": sum(len(node["sessions"]) for node in nodes),
        "waiting": len(waiting),
        "nodes": len(nodes),
        "in_flight": len(flights),
        "gpus": sum(node["gpus"] for node in nodes),
        "gpus_free": sum(node["gpus_free"] for node in nodes),
    }


class _Picture:
    """The facts by what they refer to each other with, as one viewer may see them."""

    def __init__(self, facts: Facts, viewer: Viewer) -> None:
        self._facts, self._all = facts, viewer.everything
        # A finished pod holds no seat and wants none.
        live = [pod for pod in facts.sessions if not pod.finished]
        self._seen = [p for p in live if viewer.sees(p.request.user, p.request.server)]
        self._claims = {claim.name: claim for claim in facts.claims}
        self._by_claim = {node.claim: node for node in facts.nodes if node.claim}
        self._by_name = {node.name: node for node in facts.nodes}

    # --- nodes ---

    def nodes(self) -> list[dict[str, Any]]:
        """Initialised claims with what sits there, and nodes that sessions sit on without one."""
        running = [c for c in self._facts.claims if claim_stage(c) is Stage.INITIALISED]
        rows = [self._claim_row(claim) for claim in running]
        shown = {row["name"] for row in rows}
        strays = sorted({pod.node_name for pod in self._seen} - shown - {""})
        rows += [self._row(name, self._by_name.get(name), None) for name in strays]
        return [row for row in rows if self._all or row["sessions"]]

    def _claim_row(self, claim: NodeClaim) -> dict[str, Any]:
        node = self._by_claim.get(claim.name)
        return self._row(node.name if node else claim.node_name or claim.name, node, claim)

    def _row(self, name: str, node: Node | None, claim: NodeClaim | None) -> dict[str, Any]:
        here = [pod for pod in self._seen if pod.node_name == name]
        taken = sum(pod.request.resources.gpus for pod in here)
        gpus, other = self._gpus(name, node, taken)
        born = claim.created_at if claim else node.created_at if node else None
        empty = claim.empty_since if claim and self._all else None
        price = claim.usd_per_hour_micro if claim else 0
        return {
            "name": name,
            "state": _node_state(node, claim),
            **self._place(claim, node),
            "usd_per_hour": _usd(price if self._all else sum(map(self._share, here))),
            "created_at": None if born is None else format_time(born),
            "empty_since": None if empty is None else format_time(empty),
            "gpus": gpus,
            "gpus_free": max(0, gpus - taken - other),
            "gpus_other": other,
            "sessions": [self._seated(pod) for pod in here],
        }

    def _gpus(self, name: str, node: Node | None, taken: int) -> tuple[int, int]:
        """GPUs of the node, and those of pods that are no sessions; of a user's, only their own."""
        if not self._all:
            return taken, 0
        loads = [pod for pod in self._facts.others if pod.node_name == name and not pod.finished]
        other = sum(pod.resources.gpus for pod in loads)
        return max(node.allocatable.gpus if node else 0, taken), other

    def _place(self, claim: NodeClaim | None, node: Node | None) -> dict[str, str]:
        labels = node.labels if node else {}
        kind = claim.instance_type if claim else labels.get(wire.INSTANCE_TYPE_LABEL, "")
        known = self._facts.types.get(kind)
        return {
            "instance_type": kind,
            "gpu_model": known.gpu_model if known else "",
            "zone": claim.zone if claim else labels.get(wire.ZONE_LABEL, ""),
            "capacity_type": claim.capacity_type if claim else "",
        }

    # --- sessions ---

    def _named(self, pod: SessionPod) -> dict[str, Any]:
        asked = pod.request
        return {
            "user": asked.user,
            "server": asked.server,
            "profile": asked.profile,
            "gpus": asked.resources.gpus,
            "stage": session_stage(pod).value,
            "usd_per_hour": _usd(self._share(pod)),
        }

    def _seated(self, pod: SessionPod) -> dict[str, Any]:
        since = pod.request.created_at if pod.released_at is None else pod.released_at
        return {**self._named(pod), "since": format_time(since), "ending": pod.deleting}

    def waiting(self) -> list[dict[str, Any]]:
        """Sessions without a node, longest first, each with what it waits for."""
        return [self._waits(p) for p in self._seen if not p.node_name and not p.deleting]

    def _waits(self, pod: SessionPod) -> dict[str, Any]:
        told, eta = pod.status, pod.status.eta_seconds if pod.status else None
        return {
            **self._named(pod),
            "since": format_time(pod.request.created_at),
            "claim": pod.claim,
            "reason": told.reason if told else "",
            "message": told.message if told else "",
            "ready_at": None if told is None or eta is None else format_time(told.since + eta),
        }

    def _share(self, pod: SessionPod) -> int:
        """What the session costs per hour of its node's price, in micro-USD; 0 without a claim."""
        claim = self._claims.get(pod.pinned_to or pod.claim)
        if claim is None:
            return 0
        return session_share_micro(_price(claim), pod.request.resources, self._size(claim))

    def _size(self, claim: NodeClaim) -> Resources:
        node = self._by_claim.get(claim.name)
        kind = self._facts.types.get(_kind(claim))
        if node is not None and claim.is_true(wire.INITIALISED):
            return room_on(node, kind, claim.layout)
        return room_of(kind, claim.layout) if kind else Resources()

    # --- claims in flight ---

    def flights(self) -> list[dict[str, Any]]:
        """Claims whose node is not ready for sessions yet, oldest first."""
        rows = [self._flight(claim) for claim in self._in_flight()]
        return [row for row in rows if self._all or row["sessions"]]

    def _in_flight(self) -> list[NodeClaim]:
        over = (Stage.INITIALISED, Stage.FAILED)
        return [c for c in self._facts.claims if claim_stage(c) not in over]

    def _flight(self, claim: NodeClaim) -> dict[str, Any]:
        best = claim.offerings[0] if claim.offerings else None
        bound = [pod for pod in self._seen if pod.claim == claim.name and not pod.deleting]
        since = max((c.since for c in claim.conditions), default=claim.created_at)
        return {
            "name": claim.name,
            "stage": claim_stage(claim).value,
            "ending": claim.deleting,
            "instance_type": _kind(claim),
            "zone": claim.zone or (best.zone if best else ""),
            "capacity_type": claim.capacity_type or (best.capacity_type.value if best else ""),
            "usd_per_hour": _usd(_price(claim)),
            "offerings": len(claim.offerings),
            "attempt": claim.batch.attempt,
            "created_at": format_time(claim.created_at),
            "since": format_time(since),
            "sessions": [self._named(pod) for pod in bound],
        }

    # --- money ---

    def money(self) -> dict[str, float]:
        """USD per hour now: of whole nodes for who sees everything, of own shares for a user."""
        running, coming = self._node_money() if self._all else self._own_money()
        return {
            "usd_per_hour": _usd(running + coming),
            "running_usd_per_hour": _usd(running),
            "in_flight_usd_per_hour": _usd(coming),
        }

    def _node_money(self) -> tuple[int, int]:
        running = [c for c in self._facts.claims if claim_stage(c) is Stage.INITIALISED]
        return sum(map(_price, running)), sum(map(_price, self._in_flight()))

    def _own_money(self) -> tuple[int, int]:
        seated = [pod for pod in self._seen if pod.node_name]
        coming = [pod for pod in self._seen if not pod.node_name and not pod.deleting]
        return sum(map(self._share, seated)), sum(map(self._share, coming))


def _node_state(node: Node | None, claim: NodeClaim | None) -> str:
    if (claim and claim.deleting) or (node and node.deleting):
        return "Ending"
    if node is None:
        return "Missing"
    if node.unschedulable:
        return "Cordoned"
    return "Ready" if node.ready else "Not ready"


def _kind(claim: NodeClaim) -> str:
    return claim.instance_type or (claim.offerings[0].instance_type if claim.offerings else "")


def _price(claim: NodeClaim) -> int:
    """What was launched, before that the offering it is expected to become."""
    expected = claim.offerings[0].usd_per_hour_micro if claim.offerings else 0
    return claim.usd_per_hour_micro or expected


def _usd(micro: int) -> float:
    return round(micro / MICRO_USD, 6)
