"""Stands in for kube-scheduler where none runs: the simulator and the demo's own API.

Binds pods without gates to a node that fits, by the rules a real scheduler would enforce
(selector, required affinity, taints, room, volumes), least allocated first. A volume that waits
for its first consumer is asked for where the pod is to go, and the pod bound when it is there.
Only through the Cluster port, so that it runs in virtual and in real time.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ..core.model import Node, Resources
from ..core.requirements import untolerated
from ..core.wire import pod_resources, read_node, scheduling_requirements
from ..errors import Conflict, NotFound, Rejected, TransientError
from ..ports import NODES, PODS, VOLUME_CLAIMS, Clock, Cluster
from .mirror import Key, Mirror, key_of
from .volumes import SELECTED_NODE, VolumeView, selected_node

Json = dict[str, Any]

_RETRY_SECONDS = 1.0


class Binder:
    """Watches pods, nodes and volumes and binds what fits."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster, self._clock = cluster, clock
        self._news = asyncio.Event()
        self._pods = Mirror(cluster, clock, PODS, changed=self._news.set)
        self._nodes = Mirror(cluster, clock, NODES, changed=self._news.set)
        self._volumes = VolumeView(cluster, clock, self._news.set)
        # Bound by us, not yet seen bound in the watch: pod uid -> node name.
        self._assumed: dict[str, str] = {}

    async def run(self) -> None:
        """Schedule until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pods.run(), name="binder-pods")
            group.create_task(self._nodes.run(), name="binder-nodes")
            for mirror in self._volumes.mirrors:
                group.create_task(mirror.run(), name="binder-volumes")
            group.create_task(self._loop(), name="binder")

    async def _loop(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            if self._pods.loaded and self._nodes.loaded and self._volumes.loaded:
                await self._pass()

    async def _pass(self) -> None:
        """Every waiting pod once, oldest first."""
        self._forget_seen()
        for key in sorted(self._pods.objects, key=self._age):
            pod = self._pods.objects.get(key)
            if pod is not None and self._waits(pod):
                node = self._choose(pod)
                if node is not None:
                    await self._place(pod, node)

    def _age(self, key: Key) -> tuple[str, Key]:
        return self._pods.objects[key]["metadata"]["creationTimestamp"], key

    def _forget_seen(self) -> None:
        unbound = {
            pod["metadata"]["uid"]
            for pod in self._pods.objects.values()
            if not pod["spec"].get("nodeName")
        }
        self._assumed = {uid: node for uid, node in self._assumed.items() if uid in unbound}

    def _waits(self, pod: Json) -> bool:
        spec, meta = pod["spec"], pod["metadata"]
        return (
            not spec.get("nodeName")
            and not spec.get("schedulingGates")
            and spec.get("schedulerName", "default-scheduler") == "default-scheduler"
            and "deletionTimestamp" not in meta
            and meta["uid"] not in self._assumed
            and (pod.get("status") or {}).get("phase", "Pending") == "Pending"
        )

    def _choose(self, pod: Json) -> Node | None:
        """The fitting node with the largest free share of CPU; by name among equals."""
        needs, size = scheduling_requirements(pod["spec"]), pod_resources(pod["spec"])
        best: tuple[float, str, Node] | None = None
        for key in sorted(self._nodes.objects):
            node = read_node(self._nodes.objects[key])
            free = node.allocatable - self._used(node.name)
            open_for_pod = node.ready and not node.unschedulable and not node.deleting
            accepted = open_for_pod and untolerated(node.taints, needs.tolerations) is None
            if not (accepted and needs.labels_match(node.labels) and size.fits_in(free)):
                continue
            if not self._volumes.allows(pod, node.name, dict(node.labels)):
                continue
            share = free.cpu_millicpu / max(1, node.allocatable.cpu_millicpu)
            if best is None or share > best[0]:
                best = (share, node.name, node)
        return best[2] if best else None

    def _used(self, node_name: str) -> Resources:
        """What is taken there; a terminating pod holds its seat until it is gone."""
        total = Resources()
        for pod in self._pods.objects.values():
            phase = (pod.get("status") or {}).get("phase")
            assumed = self._assumed.get(pod["metadata"]["uid"], "")
            here = (pod["spec"].get("nodeName") or assumed) == node_name
            if here and phase not in ("Succeeded", "Failed"):
                total = total + pod_resources(pod["spec"])
        return total

    async def _place(self, pod: Json, node: Node) -> None:
        """Bind the pod, or ask first for the volumes it needs there."""
        unmade = self._volumes.unmade(pod)
        if not unmade:
            await self._bind(pod, node)
        for claim in unmade:
            if not selected_node(claim):
                await self._ask_for(claim, node)

    async def _ask_for(self, claim: Json, node: Node) -> None:
        namespace, name = key_of(claim)
        patch = {"metadata": {"annotations": {SELECTED_NODE: node.name}}}
        try:
            await self._cluster.patch(VOLUME_CLAIMS, name, patch, namespace=namespace)
        except NotFound:
            return  # The watch will tell.
        except TransientError:
            await self._clock.sleep(_RETRY_SECONDS)
            self._news.set()

    async def _bind(self, pod: Json, node: Node) -> None:
        namespace, name = key_of(pod)
        uid = pod["metadata"]["uid"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node.name},
        }
        self._assumed[uid] = node.name
        try:
            await self._cluster.create(
                PODS, body, namespace=namespace, name=name, subresource="binding"
            )
        except (Conflict, NotFound, Rejected):
            # Gone, gated or bound by somebody else meanwhile: the watch will tell.
            self._assumed.pop(uid, None)
        except TransientError:
            self._assumed.pop(uid, None)
            await self._clock.sleep(_RETRY_SECONDS)
            self._news.set()
