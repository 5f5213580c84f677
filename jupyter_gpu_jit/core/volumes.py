"""Where a session may run because of its volumes, or why it has to wait for one.

A volume that exists is in a zone; one that is in use by a single node ties its session to that
node; one that is bound at once must be there before anybody can say where it is; one that waits
for its first consumer is made wherever the session goes, so of those who share it only one is
seated at a time. Works on the API server's JSON. Called where a snapshot is made; what it says
becomes requirements of the session.

Facts: https://kubernetes.io/docs/concepts/storage/persistent-volumes/ and
https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .model import BoundPod, SessionPod, SessionRequest

Json = Mapping[str, Any]
Key = tuple[str, str]
"""Namespace and name of a claim."""

# Drivers name the zone in their own way; a planned node has it only under the first.
ZONE_KEYS = (
    "topology.kubernetes.io/zone",
    "topology.ebs.csi.aws.com/zone",
    "failure-domain.beta.kubernetes.io/zone",
)
_HOST_KEY = "kubernetes.io/hostname"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
"""Volumes of such a class are not made but found: an administrator has put them there."""

# Several zones in one label of a volume are joined by this.
_ZONE_SEPARATOR = "__"
_SINGLE_NODE = frozenset(("ReadWriteOnce", "ReadWriteOncePod"))


# --- which claims a pod uses -------------------------------------------------------------------


def claim_names(spec: Json, pod_name: str = "") -> tuple[str, ...]:
    """Claims that a pod of this spec uses, those made for it alone included, each once."""
    return tuple(dict.fromkeys(_claim_names(spec, pod_name)))


def _claim_names(spec: Json, pod_name: str) -> Iterator[str]:
    for volume in spec.get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield volume["persistentVolumeClaim"]["claimName"]
        elif volume.get("ephemeral"):
            yield f"{pod_name}-{volume['name']}"


def claims_of(pod: Json) -> tuple[Key, ...]:
    """The same of a whole pod, with its namespace."""
    namespace, name = _key(pod)
    return tuple((namespace, claim) for claim in claim_names(pod.get("spec") or {}, name))


def _key(body: Json) -> Key:
    return body["metadata"].get("namespace", ""), _name(body)


def _name(body: Json) -> str:
    return str(body["metadata"]["name"])


# --- what the cluster says about storage -------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Claims, volumes and storage classes by their names."""

    claims: Mapping[Key, Json] = field(default_factory=dict)
    volumes: Mapping[str, Json] = field(default_factory=dict)
    classes: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        *,
        claims: Iterable[Json] = (),
        volumes: Iterable[Json] = (),
        classes: Iterable[Json] = (),
    ) -> Storage:
        """From lists of objects."""
        return cls(
            claims={_key(claim): claim for claim in claims},
            volumes={_name(volume): volume for volume in volumes},
            classes={_name(each): each for each in classes},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """Who uses which claim: ``nodes`` where it is in use now, and the session whose ``turn`` it is.

    The second matters where several sessions that wait share a claim: they are seated one after
    the other, because where the first one goes is where the volume will be.
    """

    nodes: Mapping[Key, str] = field(default_factory=dict)
    turn: Mapping[Key, SessionPod] = field(default_factory=dict)

    @classmethod
    def of(cls, pods: Iterable[SessionPod | BoundPod], in_line: Iterable[SessionPod] = ()) -> Uses:
        """Of all pods, and of those sessions among them that are on their way to a seat."""
        nodes: dict[Key, str] = {}
        for pod in sorted((pod for pod in pods if pod.volume_claims), key=_pod_key):
            # A pod that is finished or going away holds no volume for long.
            if pod.node_name and not pod.finished and not pod.deleting:
                nodes.update(dict.fromkeys(pod.volume_claims, pod.node_name))
        turn: dict[Key, SessionPod] = {}
        for session in sorted(in_line, key=_place_in_line):
            for key in session.volume_claims:
                turn.setdefault(key, session)
        return cls(nodes=nodes, turn=turn)


def _pod_key(pod: SessionPod | BoundPod) -> Key:
    return pod.namespace, pod.name


def _place_in_line(pod: SessionPod) -> tuple[bool, float, str]:
    return not pod.pinned_to, pod.request.created_at, pod.uid


# --- what a session's volumes ask --------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeNeeds:
    """Zones the session may be in (None: any), the only node for it, or why it waits."""

    zones: frozenset[str] | None = None
    node: str = ""
    waits: str = ""

    def together_with(self, other: VolumeNeeds) -> VolumeNeeds:
        """Both at once."""
        zones = _common(self.zones, other.zones)
        waits = self.waits or other.waits
        if zones is not None and not zones:
            waits = waits or "its volumes are in different zones"
        if self.node and other.node and self.node != other.node:
            waits = waits or f"its volumes are in use on {self.node} and on {other.node}"
        return VolumeNeeds(zones=zones, node=self.node or other.node, waits=waits)


ANYWHERE = VolumeNeeds()


def _common(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def resolved(session: SessionPod, storage: Storage, uses: Uses) -> SessionRequest:
    """What a session that waits asks for, its volumes included."""
    if not session.volume_claims:
        return session.request
    return with_volumes(session.request, needs_of(session, storage, uses))


def needs_of(session: SessionPod, storage: Storage, uses: Uses) -> VolumeNeeds:
    """What the volumes of a waiting session ask of its place."""
    needs = ANYWHERE
    for key in session.volume_claims:
        needs = needs.together_with(_claim_needs(key, storage, uses, session))
    return needs


def _claim_needs(key: Key, storage: Storage, uses: Uses, session: SessionPod) -> VolumeNeeds:
    claim = storage.claims.get(key)
    if claim is None:
        return VolumeNeeds(waits=f"its volume claim {key[1]} does not exist yet")
    if "deletionTimestamp" in claim["metadata"]:
        return VolumeNeeds(waits=f"its volume claim {key[1]} is being deleted")
    phase = (claim.get("status") or {}).get("phase")
    if phase == "Lost":
        return VolumeNeeds(waits=f"the volume of its claim {key[1]} is lost")
    if phase != "Bound" and key in uses.nodes:
        # Who runs has it: the news of the pod were faster than those of the claim.
        return VolumeNeeds(waits=f"the volume of its claim {key[1]} is not known yet")
    if phase != "Bound":
        return _unbound(claim, storage).together_with(_in_turn(key, uses, session))
    volume = storage.volumes.get(claim["spec"].get("volumeName") or "")
    if volume is None:
        return VolumeNeeds(waits=f"the volume of its claim {key[1]} is not known yet")
    return _in_use(key, claim, uses, session).together_with(_bound(volume))


def _in_turn(key: Key, uses: Uses, session: SessionPod) -> VolumeNeeds:
    """Whoever comes first decides where the volume is."""
    first = uses.turn.get(key, session)
    if first.uid == session.uid:
        return ANYWHERE
    return VolumeNeeds(waits=f"its volume claim {key[1]} goes to {first.name} first")


def _in_use(key: Key, claim: Json, uses: Uses, session: SessionPod) -> VolumeNeeds:
    """The node where the claim is in use or about to be, if it may be used on one node only."""
    modes = set(claim["spec"].get("accessModes") or ())
    if not modes <= _SINGLE_NODE:
        return ANYWHERE
    node = uses.nodes.get(key, "")
    if not node:
        return _in_turn(key, uses, session)
    if "ReadWriteOncePod" in modes:
        return VolumeNeeds(waits=f"its volume claim {key[1]} is in use by another pod")
    return VolumeNeeds(node=node)


# --- claims without a volume -------------------------------------------------------------------


def _unbound(claim: Json, storage: Storage) -> VolumeNeeds:
    kind = class_of(claim, storage.classes)
    name = _name(claim)
    if kind is None or kind.get("volumeBindingMode") != "WaitForFirstConsumer":
        return VolumeNeeds(waits=f"its volume claim {name} has no volume yet")
    if kind.get("provisioner") == NO_PROVISIONER:
        return _found(claim, kind, storage)
    topologies = kind.get("allowedTopologies") or ()
    rows = [
        [{**row, "operator": "In"} for row in term.get("matchLabelExpressions") or ()]
        for term in topologies
    ]
    return _of_terms(name, rows)


def _found(claim: Json, kind: Json, storage: Storage) -> VolumeNeeds:
    """Where there is a volume that the claim may be given; its size is the scheduler's matter."""
    free = [
        volume
        for _, volume in sorted(storage.volumes.items())
        if volume["spec"].get("storageClassName") == _name(kind)
        and (volume.get("status") or {}).get("phase") == "Available"
    ]
    if not free:
        return VolumeNeeds(waits=f"no volume is left for its claim {_name(claim)}")
    return _any_of([_bound(volume) for volume in free])


def class_of(claim: Json, classes: Mapping[str, Json]) -> Json | None:
    """The claim's storage class; the default one, the newest of several, where it names none."""
    named = claim["spec"].get("storageClassName")
    if named is not None:
        return classes.get(named)
    defaults = [
        kind
        for _, kind in sorted(classes.items())
        if (kind["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
    ]
    return max(defaults, key=_created_at, default=None)


def _created_at(body: Json) -> str:
    return str(body["metadata"].get("creationTimestamp", ""))


# --- volumes -----------------------------------------------------------------------------------


def _bound(volume: Json) -> VolumeNeeds:
    required = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required") or {}
    terms = [term.get("matchExpressions") or () for term in required.get("nodeSelectorTerms") or ()]
    labels = volume["metadata"].get("labels") or {}
    named = next((labels[key] for key in ZONE_KEYS if key in labels), None)
    by_label = ANYWHERE
    if named is not None:
        by_label = VolumeNeeds(zones=frozenset(named.split(_ZONE_SEPARATOR)))
    return _of_terms(_name(volume), terms).together_with(by_label)


def _of_terms(name: str, terms: Iterable[Iterable[Json]]) -> VolumeNeeds:
    """Any of the terms will do; no terms ask for nothing."""
    each = [_of_rows(name, rows) for rows in terms]
    return _any_of(each) if each else ANYWHERE


def _any_of(each: Sequence[VolumeNeeds]) -> VolumeNeeds:
    """One of them will do: zones are joined, and a node counts if all name the same one."""
    fine = [needs for needs in each if not needs.waits]
    if not fine:
        return each[0]
    zones = None
    if all(needs.zones is not None for needs in fine):
        zones = frozenset[str]().union(*(needs.zones or () for needs in fine))
    nodes = {needs.node for needs in fine}
    return VolumeNeeds(zones=zones, node=nodes.pop() if len(nodes) == 1 else "")


def _of_rows(name: str, rows: Iterable[Json]) -> VolumeNeeds:
    needs = ANYWHERE
    for row in rows:
        needs = needs.together_with(_of_row(name, row))
    return needs


def _of_row(name: str, row: Json) -> VolumeNeeds:
    """What one row asks for; what we cannot foresee of a planned node is said, not guessed."""
    values: Sequence[str] = row.get("values") or ()
    if row["operator"] == "In" and row["key"] in ZONE_KEYS:
        return VolumeNeeds(zones=frozenset(values))
    if row["operator"] == "In" and row["key"] == _HOST_KEY and len(values) == 1:
        return VolumeNeeds(node=values[0])
    return VolumeNeeds(waits=f"volume {name} asks for {row['key']} of its node")


def with_volumes(request: SessionRequest, needs: VolumeNeeds) -> SessionRequest:
    """The session with what its volumes ask for among its requirements."""
    asked = request.requirements
    waits, zones = needs.waits, asked.zones
    if needs.zones is not None:
        both = needs.zones & set(asked.zones) if asked.zones else needs.zones
        if not both and not waits:
            waits = (
                f"its volumes are in {' or '.join(sorted(needs.zones))}, it asks for another zone"
            )
        zones = tuple(sorted(both))
    return replace(
        request,
        waits_for=waits,
        requirements=replace(asked, zones=zones, node=needs.node),
    )
