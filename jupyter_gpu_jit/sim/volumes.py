"""Stands in for the controllers that give claims their volumes, and for a CSI driver.

A claim of a class that binds at once gets a volume in ``zone``; one that waits for its first
consumer gets it in the zone of the node the scheduler (``sim.binder``) has chosen. Through the
Cluster port only, as ``sim.binder``, which asks ``VolumeView`` where a pod's volumes let it go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..core.requirements import LabelRequirement
from ..core.volumes import ZONE_KEYS, Key, claims_of, class_of
from ..core.wire import ZONE_LABEL
from ..errors import Conflict, NotFound, TransientError
from ..ports import NODES, STORAGE_CLASSES, VOLUME_CLAIMS, VOLUMES, Clock, Cluster
from .mirror import Mirror, key_of

Json = dict[str, Any]

SELECTED_NODE = "volume.kubernetes.io/selected-node"
DRIVER = "sim.gpu-jit.io"
_LAZY = "WaitForFirstConsumer"
_RETRY_SECONDS = 1.0


class VolumeView:
    """Claims, volumes and classes as a scheduler sees them."""

    def __init__(self, cluster: Cluster, clock: Clock, changed: Callable[[], None]) -> None:
        self.claims = Mirror(cluster, clock, VOLUME_CLAIMS, changed=changed)
        self.volumes = Mirror(cluster, clock, VOLUMES, changed=changed)
        self.classes = Mirror(cluster, clock, STORAGE_CLASSES, changed=changed)

    @property
    def mirrors(self) -> tuple[Mirror, ...]:
        """To be run by the owner."""
        return (self.claims, self.volumes, self.classes)

    @property
    def loaded(self) -> bool:
        """Whether everything has been listed once."""
        return all(mirror.loaded for mirror in self.mirrors)

    def volume_of(self, claim: Json) -> Json | None:
        """The volume the claim is bound to."""
        if (claim.get("status") or {}).get("phase") != "Bound":
            return None
        return self.volumes.objects.get(("", claim["spec"].get("volumeName", "")))

    def is_lazy(self, claim: Json) -> bool:
        """Whether its volume is made once a node has been chosen."""
        classes = {name: body for (_, name), body in self.classes.objects.items()}
        kind = class_of(claim, classes)
        return kind is not None and kind["volumeBindingMode"] == _LAZY

    def allows(self, pod: Json, name: str, labels: dict[str, str]) -> bool:
        """Whether the pod's volumes can be had on a node of that name with those labels."""
        return all(self._claim_allows(key, name, labels) for key in claims_of(pod))

    def _claim_allows(self, key: Key, name: str, labels: dict[str, str]) -> bool:
        claim = self.claims.objects.get(key)
        if claim is None or "deletionTimestamp" in claim["metadata"]:
            return False
        volume = self.volume_of(claim)
        if volume is not None:
            return _accepts(volume, labels)
        chosen = selected_node(claim)
        return self.is_lazy(claim) and chosen in ("", name)

    def unmade(self, pod: Json) -> list[Json]:
        """Claims of the pod for which a volume is still to be made."""
        claims = (self.claims.objects.get(key) for key in claims_of(pod))
        return [claim for claim in claims if claim is not None and self.volume_of(claim) is None]


def selected_node(claim: Json) -> str:
    """The node for whose pod the volume is to be made, or ""."""
    return str((claim["metadata"].get("annotations") or {}).get(SELECTED_NODE, ""))


def _accepts(volume: Json, labels: dict[str, str]) -> bool:
    required = (volume["spec"].get("nodeAffinity") or {}).get("required") or {}
    terms = required.get("nodeSelectorTerms")
    return not terms or any(all(_rows_match(term, labels)) for term in terms)


def _rows_match(term: Json, labels: dict[str, str]) -> Iterator[bool]:
    for row in term.get("matchExpressions") or ():
        values = tuple(row.get("values") or ())
        yield LabelRequirement(key=row["key"], operator=row["operator"], values=values).matches(
            labels
        )


class VolumeMaker:
    """Makes volumes and binds claims to them, one after the other; deletes those nobody claims.

    ``zone``: of volumes that are made before anybody uses them. ``making_seconds``: how long
    each takes. A scenario may set both at any time.
    """

    def __init__(
        self, cluster: Cluster, clock: Clock, *, zone: str, making_seconds: float = 3.0
    ) -> None:
        self._cluster, self._clock = cluster, clock
        self.zone, self.making_seconds = zone, making_seconds
        self._news = asyncio.Event()
        self._view = VolumeView(cluster, clock, self._news.set)
        self._nodes = Mirror(cluster, clock, NODES, changed=self._news.set)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for mirror in (*self._view.mirrors, self._nodes):
                group.create_task(mirror.run())
            group.create_task(self._loop(), name="volumes")

    async def _loop(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            if not (self._view.loaded and self._nodes.loaded):
                continue
            try:
                await self._pass()
            except (Conflict, NotFound):
                continue  # Somebody was faster: the watch tells.
            except TransientError:
                await self._clock.sleep(_RETRY_SECONDS)
                self._news.set()

    async def _pass(self) -> None:
        for key in sorted(self._view.claims.objects):
            claim = self._view.claims.objects.get(key)
            if claim is not None and claim["status"]["phase"] == "Pending":
                await self._serve(claim)
        for key in sorted(self._view.volumes.objects):
            volume = self._view.volumes.objects.get(key)
            if volume is not None:
                await self._keep(volume)

    # --- claims ------------------------------------------------------------------------------

    async def _serve(self, claim: Json) -> None:
        """Give the claim its volume, if it is known where that is to be."""
        named = claim["spec"].get("volumeName")
        volume = self._view.volumes.objects.get(("", named)) if named else self._made(claim)
        if volume is None and not named:
            volume = await self._make(claim)
        if volume is not None:
            await self._bind(claim, volume)

    def _made(self, claim: Json) -> Json | None:
        """The volume that was made for it before we were interrupted."""
        return self._view.volumes.objects.get(("", _volume_name(claim)))

    async def _make(self, claim: Json) -> Json | None:
        zone = await self._zone_for(claim)
        if not zone:
            return None
        await self._clock.sleep(self.making_seconds)
        return await self._cluster.create(VOLUMES, _volume(claim, zone))

    async def _zone_for(self, claim: Json) -> str:
        classes = {name: body for (_, name), body in self._view.classes.objects.items()}
        kind = class_of(claim, classes)
        if kind is None or kind["provisioner"] != DRIVER:
            return ""
        if kind["volumeBindingMode"] != _LAZY:
            return _first_zone(kind) or self.zone
        chosen = selected_node(claim)
        if not chosen:
            return ""
        node = self._nodes.objects.get(("", chosen))
        if node is None:
            await self._choose_again(claim)
            return ""
        return str((node["metadata"].get("labels") or {}).get(ZONE_LABEL, ""))

    async def _choose_again(self, claim: Json) -> None:
        """The chosen node is gone: the scheduler is to choose another."""
        patch = {"metadata": {"annotations": {SELECTED_NODE: None}}}
        namespace, name = key_of(claim)
        await self._cluster.patch(VOLUME_CLAIMS, name, patch, namespace=namespace)

    async def _bind(self, claim: Json, volume: Json) -> None:
        namespace, name = key_of(claim)
        volume_name = volume["metadata"]["name"]
        meta = claim["metadata"]
        ref = {"kind": "PersistentVolumeClaim", "namespace": namespace, "name": name}
        await self._cluster.patch(
            VOLUMES, volume_name, {"spec": {"claimRef": {**ref, "uid": meta["uid"]}}}
        )
        await self._phase(VOLUMES, volume_name, "Bound")
        await self._cluster.patch(
            VOLUME_CLAIMS, name, {"spec": {"volumeName": volume_name}}, namespace=namespace
        )
        await self._phase(VOLUME_CLAIMS, name, "Bound", namespace)

    async def _phase(self, kind: Any, name: str, phase: str, namespace: str = "") -> None:
        patch = {"status": {"phase": phase}}
        await self._cluster.patch(kind, name, patch, namespace=namespace, subresource="status")

    # --- volumes -----------------------------------------------------------------------------

    async def _keep(self, volume: Json) -> None:
        """A new volume is free; one whose claim is gone is deleted or, by its policy, kept."""
        name, phase = volume["metadata"]["name"], volume["status"]["phase"]
        if phase == "Pending" and "claimRef" not in volume["spec"]:
            await self._phase(VOLUMES, name, "Available")
        elif phase == "Bound" and not self._is_claimed(volume):
            if volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
                await self._cluster.delete(VOLUMES, name)
            else:
                await self._phase(VOLUMES, name, "Released")

    def _is_claimed(self, volume: Json) -> bool:
        ref = volume["spec"]["claimRef"]
        claim = self._view.claims.objects.get((ref["namespace"], ref["name"]))
        return claim is not None and claim["metadata"]["uid"] == ref["uid"]


def _first_zone(kind: Mapping[str, Any]) -> str:
    rows = (
        row
        for term in kind.get("allowedTopologies") or ()
        for row in term["matchLabelExpressions"]
        if row["key"] in ZONE_KEYS
    )
    return next((row["values"][0] for row in rows), "")


def _volume_name(claim: Json) -> str:
    return f"pvc-{claim['metadata']['uid']}"


def _volume(claim: Json, zone: str) -> Json:
    """A disk in that zone, as a CSI driver writes it."""
    spec = claim["spec"]
    row = {"key": ZONE_LABEL, "operator": "In", "values": [zone]}
    name = _volume_name(claim)
    return {
        "metadata": {"name": name},
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "csi": {"driver": DRIVER, "volumeHandle": name},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [row]}]}},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec.get("storageClassName", ""),
        },
    }
