"""A process node: a node agent that runs session pods as local processes.

It stands where a kubelet stands: creates the Node, keeps it Ready and its Lease fresh, reports
its GPUs late, and watches the pods bound to it (``pods`` runs each). Started and stopped by the
demo (``world``) as instances come and go. Speaks to the API server through the Cluster port
only. Simulated: the machine, its GPUs, the image pull. Real: the processes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from ..core.model import InstanceType
from ..core.quantity import format_bytes, format_cpu, format_time
from ..core.wire import GPU_RESOURCE
from ..errors import AlreadyExists, Expired, NotFound, TransientError
from ..ports import LEASES, NODES, PODS, Clock, Cluster, Instance, Json
from ..sim.kubelet import NodeSpec, node_json
from .pods import RETRY_SECONDS, Ground, PodRun, persist
from .processes import Devices, Host

log = logging.getLogger(__name__)
LEASE_NAMESPACE = "kube-node-lease"
RENEW_SECONDS = 10.0
LEASE_SECONDS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """Seconds from a running instance to a Node object, to Ready, to its GPUs; and of a pull."""

    register_seconds: float = 0.0
    ready_seconds: float = 0.0
    gpus_seconds: float = 0.0
    pull_seconds: float = 0.5


class NodeAgent:
    """One process node. ``run`` until cancelled; then all its sessions are killed."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        *,
        instance: Instance,
        instance_type: InstanceType,
        host: Host,
        delays: Delays | None = None,
    ) -> None:
        self._spec = NodeSpec(instance=instance, instance_type=instance_type)
        self.name = self._spec.name
        self._cluster, self._clock = cluster, clock
        self._type = instance_type
        self._delays = delays or Delays()
        self._ground = Ground(
            cluster=cluster,
            clock=clock,
            host=host,
            devices=Devices(self._spec.gpus),
            pull_seconds=self._delays.pull_seconds,
        )
        self._runs: dict[str, PodRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Join, serve until cancelled, take all sessions down."""
        try:
            await self._join()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._become_ready())
                group.create_task(self._keep_lease())
                group.create_task(self._follow_pods())
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- the node ------------------------------------------------------------------------------

    async def _join(self) -> None:
        await self._clock.sleep(self._delays.register_seconds)
        body = node_json(self._spec, self._clock.now())
        await persist(lambda: self._cluster.create(NODES, body))

    async def _become_ready(self) -> None:
        await self._clock.sleep(self._delays.ready_seconds)
        await self._report(gpus=0)
        await self._clock.sleep(self._delays.gpus_seconds)
        await self._report(gpus=self._spec.gpus)

    async def _report(self, *, gpus: int) -> None:
        patch = node_status(self._type, gpus=gpus, now=self._clock.now())
        await persist(lambda: self._cluster.patch(NODES, self.name, patch, subresource="status"))

    async def _keep_lease(self) -> None:
        """The heartbeat that kube-controller-manager reads; without its namespace there is none."""
        while True:
            try:
                await self._renew()
            except NotFound:
                return
            except TransientError as error:
                log.warning("lease not renewed", extra={"node": self.name, "reason": error.reason})
            await self._clock.sleep(RENEW_SECONDS)

    async def _renew(self) -> None:
        spec = {
            "holderIdentity": self.name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": format_time(self._clock.now()),
        }
        body = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self.name, "namespace": LEASE_NAMESPACE},
            "spec": spec,
        }
        try:
            await self._cluster.create(LEASES, body, namespace=LEASE_NAMESPACE)
        except AlreadyExists:
            await self._cluster.patch(LEASES, self.name, {"spec": spec}, namespace=LEASE_NAMESPACE)

    # --- its pods ------------------------------------------------------------------------------

    async def _follow_pods(self) -> None:
        version = ""
        while True:
            try:
                version = version or await self._relist()
                version = await self._follow(version)
            except Expired:
                version = ""
            except TransientError as error:
                log.warning("watch interrupted", extra={"node": self.name, "reason": error.reason})
                version = ""
                await asyncio.sleep(RETRY_SECONDS)

    async def _relist(self) -> str:
        listing = await self._cluster.list(PODS, field_selector=self._selector)
        for pod in listing.items:
            self._see(pod)
        for uid in self._runs.keys() - {pod["metadata"]["uid"] for pod in listing.items}:
            self._runs[uid].end(0)
        return listing.resource_version

    async def _follow(self, version: str) -> str:
        events = self._cluster.watch(PODS, resource_version=version, field_selector=self._selector)
        async for event in events:
            version = event.object["metadata"]["resourceVersion"]
            if event.type == "DELETED":
                self._lost(event.object["metadata"]["uid"])
            elif event.type != "BOOKMARK":
                self._see(event.object)
        return version

    @property
    def _selector(self) -> str:
        return f"spec.nodeName={self.name}"

    def _see(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        if uid not in self._runs:
            self._runs[uid] = PodRun(self._ground, pod)
            task = asyncio.create_task(self._runs[uid].run(), name=f"pod {pod['metadata']['name']}")
            self._tasks[uid] = task
            task.add_done_callback(self._when_done(uid))
        self._runs[uid].see(pod)

    def _lost(self, uid: str) -> None:
        """The object went without us (deleted with grace 0): so does the process."""
        if uid in self._runs:
            self._runs[uid].end(0)

    def _when_done(self, uid: str) -> Callable[[asyncio.Task[None]], None]:
        def done(task: asyncio.Task[None]) -> None:
            self._runs.pop(uid, None)
            self._tasks.pop(uid, None)
            if not task.cancelled() and task.exception() is not None:
                log.error("pod failed", extra={"node": self.name}, exc_info=task.exception())

        return done


def node_status(kind: InstanceType, *, gpus: int, now: float) -> Json:
    """Status patch of a Node that is Ready; ``gpus`` is what its device plugin reported so far."""
    room = kind.allocatable
    amounts = {
        "cpu": format_cpu(room.cpu_millicpu),
        "memory": format_bytes(room.memory_bytes),
        "pods": str(room.pods),
    }
    if gpus:
        amounts[GPU_RESOURCE] = str(gpus)
    moment = format_time(now)[:19] + "Z"
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "process node agent is ready",
        "lastHeartbeatTime": moment,
        "lastTransitionTime": moment,
    }
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
    status = {"conditions": [condition], "addresses": addresses}
    return {"status": {**status, "capacity": amounts, "allocatable": amounts}}
