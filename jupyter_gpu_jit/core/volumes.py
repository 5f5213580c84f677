"""Where a session may run because of its volumes, or why it has to wait for one.

A volume that exists is in a zone; one that is in use by a single node ties its session to that
node; one that is bound at once must be there before anybody can say where it is; one that waits
for its first consumer is made wherever the session goes. Works on the API server's JSON. Called
where a snapshot is made; what it says becomes requirements of the session.

Facts: https://kubernetes.io/docs/concepts/storage/persistent-volumes/ and
https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .model import SessionRequest

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
# Several zones in one label of a volume are joined by this.
_ZONE_SEPARATOR = "__"
_SINGLE_NODE = frozenset(("ReadWriteOnce", "ReadWriteOncePod"))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """What the cluster says about storage; ``users`` are the nodes where a claim is in use."""

    claims: Mapping[Key, Json] = field(default_factory=dict)
    volumes: Mapping[str, Json] = field(default_factory=dict)
    classes: Mapping[str, Json] = field(default_factory=dict)
    users: Mapping[Key, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        *,
        claims: Iterable[Json] = (),
        volumes: Iterable[Json] = (),
        classes: Iterable[Json] = (),
        pods: Iterable[Json] = (),
    ) -> Storage:
        """From lists of objects; ``pods`` of all namespaces, to know who uses what."""
        return cls(
            claims={_key(claim): claim for claim in claims},
            volumes={_name(volume): volume for volume in volumes},
            classes={_name(each): each for each in classes},
            users=_users(pods),
        )


def _key(body: Json) -> Key:
    return body["metadata"].get("namespace", ""), _name(body)


def _name(body: Json) -> str:
    return str(body["metadata"]["name"])


def _users(pods: Iterable[Json]) -> dict[Key, str]:
    """Where each claim is in use; a pod that is finished or going away holds none for long."""
    users: dict[Key, str] = {}
    for pod in sorted(pods, key=_key):
        node = (pod.get("spec") or {}).get("nodeName")
        over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if node and not over and "deletionTimestamp" not in pod["metadata"]:
            users.update(dict.fromkeys(claims_of(pod), node))
    return users


def claims_of(pod: Json) -> tuple[Key, ...]:
    """Volume claims a pod uses, those made for it alone included; each is a volume to attach."""
    return tuple(dict.fromkeys(_claim_keys(pod)))


def _claim_keys(pod: Json) -> Iterator[Key]:
    namespace, pod_name = _key(pod)
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield namespace, volume["persistentVolumeClaim"]["claimName"]
        elif "ephemeral" in volume:
            yield namespace, f"{pod_name}-{volume['name']}"


def needs_of(pod: Json, storage: Storage) -> VolumeNeeds:
    """What the volumes of a waiting pod ask of its place."""
    needs = ANYWHERE
    for key in claims_of(pod):
        needs = needs.together_with(_claim_needs(key, storage))
    return needs


def _claim_needs(key: Key, storage: Storage) -> VolumeNeeds:
    claim = storage.claims.get(key)
    if claim is None:
        return VolumeNeeds(waits=f"its volume claim {key[1]} does not exist yet")
    if "deletionTimestamp" in claim["metadata"]:
        return VolumeNeeds(waits=f"its volume claim {key[1]} is being deleted")
    phase = (claim.get("status") or {}).get("phase")
    if phase == "Lost":
        return VolumeNeeds(waits=f"the volume of its claim {key[1]} is lost")
    if phase != "Bound":
        return _unbound(claim, storage)
    volume = storage.volumes.get(claim["spec"].get("volumeName") or "")
    if volume is None:
        return VolumeNeeds(waits=f"the volume of its claim {key[1]} is not known yet")
    return _in_use(key, claim, storage).together_with(_bound(volume))


def _unbound(claim: Json, storage: Storage) -> VolumeNeeds:
    kind = _class_of(claim, storage)
    name = _name(claim)
    if kind is None or kind.get("volumeBindingMode") != "WaitForFirstConsumer":
        return VolumeNeeds(waits=f"its volume claim {name} has no volume yet")
    topologies = kind.get("allowedTopologies") or ()
    rows = [
        [{**row, "operator": "In"} for row in term.get("matchLabelExpressions") or ()]
        for term in topologies
    ]
    return _of_terms(name, rows)


def _class_of(claim: Json, storage: Storage) -> Json | None:
    """The claim's storage class; the default one where it names none."""
    named = claim["spec"].get("storageClassName")
    if named is not None:
        return storage.classes.get(named)
    defaults = (
        kind
        for _, kind in sorted(storage.classes.items())
        if (kind["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
    )
    return next(defaults, None)


def _in_use(key: Key, claim: Json, storage: Storage) -> VolumeNeeds:
    """The node where the claim is in use, if it may be used on one node only."""
    node, modes = storage.users.get(key, ""), set(claim["spec"].get("accessModes") or ())
    if not node or not modes <= _SINGLE_NODE:
        return ANYWHERE
    if "ReadWriteOncePod" in modes:
        return VolumeNeeds(waits=f"its volume claim {key[1]} is in use by another pod")
    return VolumeNeeds(node=node)


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
    """Any of the terms will do: zones are joined, and a node counts if all name the same one."""
    each = [_of_rows(name, rows) for rows in terms]
    fine = [needs for needs in each if not needs.waits]
    if not fine:
        return each[0] if each else ANYWHERE
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
